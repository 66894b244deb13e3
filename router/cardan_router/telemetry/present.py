"""What is true now: the gauges, read from the live objects when somebody looks."""

from __future__ import annotations

import resource
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from cardan.health import Verdict
from cardan.instants import Monotonic

from cardan_router.about import PYTHON, VERSION
from cardan_router.standing import standing
from cardan_router.telemetry import metrics, moving
from cardan_router.telemetry.recorder import OTHER_MODEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.fleet import EndpointState, Fleet
    from cardan.scheduler import Scheduler

    from cardan_router.telemetry.masses import HotKey, KeyMasses
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
        gauge(
            metrics.ENGINE_GENERATED,
            each(lambda s: s.metrics.generation_tokens if s.metrics else None),
        )
        gauge(metrics.ENDPOINT_STATE, self._states)
        gauge(metrics.FLEET_ENDPOINTS, self._fleet_sizes)
        gauge(metrics.HELD, self._held)
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

    def hot_keys(self, masses: KeyMasses) -> None:
        """Bind what is told of hot prefixes."""

        def rows(read: Callable[[HotKey], float]) -> Callable[[], Rows]:
            return lambda: [((hot.model, hot.key), read(hot)) for hot in masses.hot()]

        def owners() -> Rows:
            return [((h.model, h.key, owner), 1) for h in masses.hot() for owner in h.owners]

        self._registry.gauge(moving.KEY_SHARE, rows(lambda hot: hot.share))
        self._registry.gauge(moving.KEY_HIT_TOKENS, rows(lambda hot: hot.hit_tokens))
        self._registry.gauge(moving.KEY_BLOCKS, rows(lambda hot: hot.blocks))
        self._registry.gauge(moving.KEY_OWNER, owners)

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

    def _held(self) -> Rows:
        """A model that nobody knows is no label: clients may call it anything."""
        fleet, now = self._fleet, self.now()
        held = Counter(exchange.request.model for exchange in self._scheduler.queue)
        known = {*fleet.models(), *fleet.overlay.sleepers()}
        known.update(model for model in held if fleet.memory.recalls(model, now))
        for model in sorted(known):
            yield (model,), held.pop(model, 0)
        if held:
            yield (OTHER_MODEL,), held.total()

    def _saturation(self) -> float:
        scheduler = self._scheduler
        limits, holding = scheduler.admission, scheduler.holding
        return max(
            (len(scheduler.queue) - holding.requests) / max(1, limits.max_queued_requests),
            (scheduler.queued_bytes - holding.bytes) / max(1, limits.max_queued_bytes),
        )

    def _build(self) -> Rows:
        policy = str(self._scheduler.policy.__struct_config__.tag)
        yield (VERSION, PYTHON, policy), 1


def resident_bytes() -> int:
    """Resident memory of this process."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * PAGE_BYTES
