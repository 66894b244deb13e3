"""Knative's KPA on concurrency: a stable window of 60 s and a panic window of 6 s.

Every 2 s: desired = ceil(mean requests in flight / target) over each window, between half of what
is ready and a thousand times that. Panic begins when the short window asks for twice what is ready,
and ends after a stable window without that; in panic it only grows. The target is 70 % of a
container's concurrency (100 by default). Its own proxies report every second.
"""

from __future__ import annotations

import math
from collections import deque
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cardan_sim.scaling.baselines.hpa import Bounds
    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors

CONCURRENCY: Final = 100.0
UTILISATION: Final = 0.7
STABLE_S: Final = 60.0
PANIC_S: Final = 6.0
PANIC_AT: Final = 2.0
MOST_DOWN: Final = 2.0
MOST_UP: Final = 1000.0


class Kpa:
    """The pod autoscaler of Knative Serving."""

    tick_s = 2.0

    def __init__(self, bounds: Bounds, *, concurrency: float = CONCURRENCY) -> None:
        """An autoscaler that has seen nothing."""
        self.bounds = bounds
        self.target = concurrency * UTILISATION
        self._seen: deque[tuple[float, float]] = deque()
        self._panic_at: float | None = None
        self._panic_most = 0

    def look(self, sample: Sample) -> None:
        """What the queue proxies report, every second."""
        self._seen.append((sample.at, sample.queued + sample.running + sample.held))
        while self._seen[0][0] <= sample.at - STABLE_S:
            self._seen.popleft()

    def desired(self, sensors: Sensors, now: float) -> int:
        """One tick."""
        ready = max(1, len(sensors.plant.replicas.ready))
        stable, panic = self._ask(now - STABLE_S, ready), self._ask(now - PANIC_S, ready)
        if panic / ready >= PANIC_AT:
            self._panic_at = now
        if self._panic_at is None:
            return self.bounds.clamp(stable)
        if now - self._panic_at > STABLE_S:
            self._panic_at, self._panic_most = None, 0
            return self.bounds.clamp(stable)
        self._panic_most = max(self._panic_most, stable, panic, ready)
        return self.bounds.clamp(self._panic_most)

    def _ask(self, since: float, ready: int) -> int:
        seen = [n for at, n in self._seen if at > since]
        mean = sum(seen) / len(seen) if seen else 0.0
        most, least = math.ceil(MOST_UP * ready), math.floor(ready / MOST_DOWN)
        return max(least, min(most, math.ceil(mean / self.target)))
