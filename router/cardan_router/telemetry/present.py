"""What is true now: the gauges, read from the live objects when somebody looks."""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING

from cardan.health import Verdict
from cardan.instants import Monotonic

from cardan_router.about import PYTHON, VERSION
from cardan_router.standing import standing
from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.fleet import EndpointState, Fleet
    from cardan.scheduler import Scheduler

    from cardan_router.telemetry.registry import Labels, Registry, Spec

    Rows = Iterable[tuple[Labels, float]]

PAGE_BYTES = resource.getpagesize()


class Present:
    """Binds the gauges of a registry to a scheduler and its fleet."""

    def __init__(
        self,
        registry: Registry,
        scheduler: Scheduler,
        joined: Callable[[EndpointState], bool],
        clock: Callable[[], float],
    ) -> None:
        self._registry = registry
        self._scheduler = scheduler
        self._fleet: Fleet = scheduler.fleet
        self._joined = joined
        self._clock = clock
        self._cpu_counted_s = 0.0
        self._bind()

    def now(self) -> Monotonic:
        """The process's clock."""
        return Monotonic(self._clock())

    def refresh(self) -> None:
        """Bring counters up to date that are read, not counted. Call it before a snapshot."""
        cpu_s = time.process_time()
        self._registry.counter(metrics.CPU).add((), cpu_s - self._cpu_counted_s)
        self._cpu_counted_s = cpu_s

    def state_of(self, state: EndpointState) -> str:
        """One word for how an endpoint is doing."""
        if not self._joined(state):
            return "joining"
        if state.draining:
            return "draining"
        return standing(state, self.now()).value

    def _bind(self) -> None:
        each = self._each
        gauge = self._registry.gauge
        gauge(metrics.IN_FLIGHT, each(lambda s: s.load.in_flight))
        gauge(metrics.WAITING, each(lambda s: len(s.load.waiting)))
        gauge(metrics.PREFILL_RATE, each(lambda s: s.speed.rate_tokens_per_s()))
        gauge(metrics.ENGINE_RUNNING, each(lambda s: s.metrics.running if s.metrics else None))
        gauge(metrics.ENGINE_WAITING, each(lambda s: s.metrics.waiting if s.metrics else None))
        gauge(
            metrics.ENGINE_KV_USED, each(lambda s: s.metrics.kv_used_ratio if s.metrics else None)
        )
        gauge(
            metrics.SCRAPE_AGE, each(lambda s: self._clock() - s.metrics.at if s.metrics else None)
        )
        gauge(metrics.ENDPOINT_STATE, self._states)
        gauge(metrics.FLEET_ENDPOINTS, self._fleet_sizes)
        self.one(metrics.QUEUED, lambda: len(self._scheduler.queue))
        self.one(metrics.QUEUED_BYTES, lambda: self._scheduler.queued_bytes)
        self.one(metrics.SATURATION, self._saturation)
        self.one(metrics.RSS, resident_bytes)
        gauge(metrics.BUILD, self._build)

    def one(self, spec: Spec, read: Callable[[], float]) -> None:
        """Bind a gauge that has one series."""
        self._registry.gauge(spec, lambda: [((), read())])

    def some(self, spec: Spec, read: Callable[[], float | None]) -> None:
        """Bind a gauge that has one series, or none while there is nothing to say."""

        def rows() -> Rows:
            value = read()
            return [] if value is None else [((), value)]

        self._registry.gauge(spec, rows)

    def _each(self, read: Callable[[EndpointState], float | None]) -> Callable[[], Rows]:
        """A gauge with a series for each endpoint; None is no series, never zero."""

        def rows() -> Rows:
            for state in self._fleet.endpoints.values():
                value = read(state)
                if value is not None:
                    yield (state.id,), value

        return rows

    def _states(self) -> Rows:
        for state in self._fleet.endpoints.values():
            yield (state.id, self.state_of(state)), 1

    def _fleet_sizes(self) -> Rows:
        states = [(state, self.state_of(state)) for state in self._fleet.endpoints.values()]
        for model in self._fleet.models():
            words = [word for state, word in states if model in state.models]
            yield (model, "all"), len(words)
            yield (model, "routable"), words.count(Verdict.HEALTHY.value)

    def _saturation(self) -> float:
        limits = self._scheduler.admission
        return max(
            len(self._scheduler.queue) / max(1, limits.max_queued_requests),
            self._scheduler.queued_bytes / max(1, limits.max_queued_bytes),
        )

    def _build(self) -> Rows:
        policy = str(self._scheduler.policy.__struct_config__.tag)
        yield (VERSION, PYTHON, policy), 1


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
