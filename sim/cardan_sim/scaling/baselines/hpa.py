"""Kubernetes' HorizontalPodAutoscaler (v2), at its defaults.

desired = ceil(current * metric / target), nothing within a tolerance of 10 %; replicas that are not
ready count as zero when growing; down by the largest recommendation of 300 s, at most all in 15 s;
up at once, by the larger of 100 % and four replicas in 15 s. Synchronised every 15 s.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors

TOLERANCE: Final = 0.1
SYNC_S: Final = 15.0
DOWN_WINDOW_S: Final = 300.0
UP_AT_LEAST: Final = 4


@dataclass(slots=True)
class Bounds:
    """Between how many replicas everybody may choose."""

    least: int = 1
    most: int = 64

    def clamp(self, n: int) -> int:
        """Within the bounds."""
        return max(self.least, min(self.most, n))


@dataclass(slots=True)
class Behaviour:
    """Stabilisation and rate of the default `behavior`."""

    bounds: Bounds
    window: deque[tuple[float, int]] = field(default_factory=deque)

    def limit(self, current: int, wanted: int, now: float) -> int:
        """What of `wanted` is done now."""
        self.window.append((now, wanted))
        while self.window[0][0] < now - DOWN_WINDOW_S:
            self.window.popleft()
        if wanted < current:
            wanted = min(current, max(n for _, n in self.window))
        return self.bounds.clamp(min(wanted, max(2 * current, current + UP_AT_LEAST)))


class Utilisation:
    """HPA on a mean of replicas: `metric` of a scraped sample, to be near `target`."""

    tick_s = SYNC_S

    def __init__(self, metric: Callable[[Sample], float], target: float, bounds: Bounds) -> None:
        """An autoscaler that has seen nothing."""
        self.metric = metric
        self.target = target
        self.behaviour = Behaviour(bounds)

    def look(self, sample: Sample) -> None:
        """It asks the metrics pipeline."""

    def desired(self, sensors: Sensors, now: float) -> int:
        """One synchronisation."""
        replicas = sensors.plant.replicas
        sample = sensors.gauges(now)
        current, ready = replicas.desired, len(replicas.ready)
        if sample is None or not ready:
            return current
        return self.behaviour.limit(current, self._wanted(self.metric(sample), ready, current), now)

    def _wanted(self, value: float, ready: int, current: int) -> int:
        ratio = value / self.target
        if abs(ratio - 1.0) <= TOLERANCE:
            return current
        unready = max(0, current - ready)
        if ratio < 1.0 or not unready:
            return math.ceil(ratio * ready)
        # Growing: who is not ready counts as idle; if that turns the answer, nothing is done.
        damped = ratio * ready / current
        if abs(damped - 1.0) <= TOLERANCE or damped < 1.0:
            return current
        return math.ceil(damped * current)


def gpu_busy(sample: Sample) -> float:
    """Share of time in which a kernel ran (DCGM_FI_DEV_GPU_UTIL)."""
    return sample.busy


def kv_cache(sample: Sample) -> float:
    """Share of the KV cache in use (`vllm:kv_cache_usage_perc`)."""
    return sample.pace.kv_ratio if sample.ready else 0.0
