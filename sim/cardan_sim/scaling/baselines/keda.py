"""KEDA on `vllm:num_requests_waiting`, as the vLLM production stack's chart sets it up.

The scaled object becomes an HPA with an external metric of type AverageValue: desired =
ceil(waiting / threshold), threshold 5, polled every 15 s. The chart's query is of one engine; here
it is the sum over engines, which is kinder. `cooldownPeriod` concerns the way to zero alone.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

from cardan_sim.scaling.baselines.hpa import SYNC_S, TOLERANCE, Behaviour, Bounds

if TYPE_CHECKING:
    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors

THRESHOLD: Final = 5.0


class Waiting:
    """As many replicas as there are `threshold`s of waiting requests."""

    tick_s = SYNC_S

    def __init__(self, bounds: Bounds, *, threshold: float = THRESHOLD) -> None:
        """An autoscaler that has seen nothing."""
        self.threshold = threshold
        self.behaviour = Behaviour(bounds)

    def look(self, sample: Sample) -> None:
        """It asks the metrics pipeline."""

    def desired(self, sensors: Sensors, now: float) -> int:
        """One synchronisation."""
        current = sensors.plant.replicas.desired
        sample = sensors.gauges(now)
        if sample is None:
            return current
        waiting = sample.waiting + sample.held
        ratio = waiting / (self.threshold * max(1, current))
        steady = abs(ratio - 1.0) <= TOLERANCE
        wanted = current if steady else math.ceil(waiting / self.threshold)
        return self.behaviour.limit(current, wanted, now)
