"""An oracle with foresight: it knows the load of every second to come, and what a replica can do.

For each moment it takes the fewest replicas that hold `share` of the first tokens in time with the
queues at rest, asks for each a cold start ahead of need, and lets go of it at once unless it would
be back within a cold start (starting again would hold its GPU longer than keeping it). `share` is
then lowered as far as the whole of the measured part still reaches the target: what misses here
pays for what is better there. So it is the cheapest of a family, not a proven optimum; nobody
without foresight gets near it by luck, for it spends nothing on doubt.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.scaling.loop import Figures, Run, close
from cardan_sim.scaling.queues import settled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.scaling.offered import Offered
    from cardan_sim.scaling.plant import PlantSettings, Sample
    from cardan_sim.scaling.sensors import Sensors
    from cardan_sim.scaling.workloads import Workload

# Needs are looked at so far apart: shorter changes than this no schedule can follow.
GRID_S: Final = 15.0
# Shares that are tried for a moment, as halvings of this range find them.
_SHARES: Final = (0.90, 0.99)
_HALVINGS: Final = 5
_ROUNDS: Final = 40
# A fleet in which nobody waits; and how near to that the oracle goes where even that is too slow.
_ENDLESS: Final = 10_000
_CLOSE: Final = 0.005


class Outcome(NamedTuple):
    """The cheapest schedule found, and what it came to."""

    share: float
    run: Run
    figures: Figures


class Schedule:
    """A controller that reads its answer from a table of times."""

    tick_s = GRID_S

    def __init__(self, counts: Sequence[int]) -> None:
        """`counts[i]` from i * GRID_S on."""
        self.counts = counts

    def look(self, sample: Sample) -> None:
        """It knows."""

    def desired(self, sensors: Sensors, now: float) -> int:  # noqa: ARG002 - looks at nothing
        """What the table says."""
        return self.counts[min(int(now / GRID_S), len(self.counts) - 1)]


def foresee(workload: Workload, settings: PlantSettings, target: float) -> Outcome:
    """The cheapest schedule that reaches `target` after the part that is for tuning."""
    low, high = _SHARES
    best = _try(workload, settings, high)
    for _ in range(_HALVINGS):
        share = (low + high) / 2
        tried = _try(workload, settings, share)
        if tried.figures.attainment >= target:
            best, high = tried, share
        else:
            low = share
    return best


def _try(workload: Workload, settings: PlantSettings, share: float) -> Outcome:
    """One schedule, on starts that take exactly as long as is said."""
    sure = replace(settings, cold_start_jitter=0.0)
    counts = ahead(needs(workload, sure, share), sure.cold_start_s)
    run = close(workload, replace(sure, replicas=counts[0]), Schedule(counts))
    return Outcome(share, run, run.figures(workload.tuned_s, float(int(workload.length_s))))


def needs(workload: Workload, settings: PlantSettings, share: float) -> list[int]:
    """Replicas that each interval of the grid needs."""
    counts, n = [], 1
    for i in range(math.ceil(workload.length_s / GRID_S)):
        offered = workload.at((i + 0.5) * GRID_S)
        n = least(offered, settings, share, n)
        counts.append(n)
    return counts


def least(offered: Offered, settings: PlantSettings, share: float, near: int = 1) -> int:
    """The fewest replicas that hold `share` in time at rest; the search begins `near`.

    Where prompts are so long that no number of replicas does, the fewest that come close.
    """
    share = min(share, _best(offered, settings, share))
    n = max(1, near)
    while n > 1 and at_rest(offered, settings, n - 1) >= share:
        n -= 1
    while at_rest(offered, settings, n) < share:
        n += 1
    return n


def _best(offered: Offered, settings: PlantSettings, share: float) -> float:
    """What a fleet reaches in which nobody waits: all of `share`, or a little less than it can."""
    idle = at_rest(offered, settings, _ENDLESS)
    return share if idle >= share else idle - _CLOSE


def at_rest(offered: Offered, settings: PlantSettings, n: int) -> float:
    """Share of first tokens in time when `n` replicas have had this load for long.

    Prompts and decoding slow each other: the fixed point is iterated from an idle engine up, so
    that an overload shows as a batch beyond what fits.
    """
    each, mix = offered.requests_per_s / n, offered.mix
    batch = busy = 0.0
    pace = settings.engine.pace(mix, mix.hit_ratio, batch, busy)
    for _ in range(_ROUNDS):
        new_busy, new_batch = each * pace.prefill_s, each * mix.output_tokens * pace.itl_s
        if new_busy >= 1.0 or new_batch > settings.engine.room(mix):
            return 0.0
        if abs(new_batch - batch) < 1e-3 and abs(new_busy - busy) < 1e-5:
            break
        batch, busy = new_batch, new_busy
        pace = settings.engine.pace(mix, mix.hit_ratio, batch, busy)
    return 1.0 - settled(busy).late(pace.prefill_s, settings.slo_ttft_s)


def ahead(counts: Sequence[int], cold_start_s: float) -> list[int]:
    """Each moment's count is the largest that is needed until a replica asked for now is ready."""
    reach = math.ceil(cold_start_s / GRID_S) + 1
    window: deque[int] = deque()  # indices of a falling sequence: the first is the largest
    out = [0] * len(counts)
    for i in range(len(counts) - 1, -1, -1):
        while window and counts[window[-1]] <= counts[i]:
            window.pop()
        window.append(i)
        while window[0] > i + reach:
            window.popleft()
        out[i] = counts[window[0]]
    return out
