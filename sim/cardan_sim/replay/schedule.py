"""When each request of a trace is due: the recorded order, at the speed one asked for."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.traces import TraceRequest


class ScheduleError(ValueError):
    """A trace that cannot be played at the speed asked for."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast to play: `rate_rps` requests a second in the mean, or `speed` times as recorded.

    `seed` draws the arrivals (Poisson) of a file that has no times, which needs a rate.
    """

    rate_rps: float | None = None
    speed: float = 1.0
    seed: int = 0


def due_times(requests: Sequence[TraceRequest], pace: Pace) -> list[float]:
    """Seconds after the start at which each request is due, never decreasing, from 0.

    A rate scales all recorded gaps by one factor, so bursts keep their shape. Raises
    ScheduleError where the trace has no times and no rate says how to make some.
    """
    arrivals = [request.arrival_s for request in requests if request.arrival_s is not None]
    if len(arrivals) < len(requests):
        return _poisson(len(requests), pace)
    offsets_s = [arrival - arrivals[0] for arrival in arrivals]
    span_s = offsets_s[-1] if offsets_s else 0.0
    if pace.rate_rps is None or span_s == 0:
        return [offset_s / pace.speed for offset_s in offsets_s]
    # Shares of the span first: one factor for all would overflow for a span next to nothing.
    return [offset_s / span_s * (len(arrivals) - 1) / pace.rate_rps for offset_s in offsets_s]


def _poisson(count: int, pace: Pace) -> list[float]:
    if pace.rate_rps is None:
        raise ScheduleError("this trace has no times: give --rate, in requests a second")
    rng = random.Random(pace.seed)
    due_s = [0.0]
    for _ in range(count - 1):
        due_s.append(due_s[-1] + rng.expovariate(pace.rate_rps))
    return due_s[:count]
