"""Reading the engines' own metrics: at most once a second each, never in a request's way.

SGLang is asked for `/v1/loads`: 1 KB in a millisecond, where its `/metrics` is 270 KB in ten and
lags by forty decoding steps. What only that tells, its counters, is read now and then. Where the
path is missing, and from all others, `/metrics`; where it fails, for once.
A reading is stamped with the time it was asked for: what it tells can only be older than its
arrival. A failed one changes nothing; what is known grows old, and routing stops trusting it.
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import msgspec
from cardan.endpoint import EngineKind
from cardan.exposition import read_loads, read_metrics

from cardan_router.fetch import FetchError
from cardan_router.probe import NO_SUCH_PATH

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.fleet import EndpointState
    from cardan.metrics import EngineMetrics

    from cardan_router.config import ScrapeConfig
    from cardan_router.fetch import Answer, Fetcher

LOADS_PATH = "/v1/loads?include=all"
METRICS_PATH = "/metrics"
# An engine without metrics is asked again now and then: it may be replaced by one that has them.
WITHOUT_METRICS_S = 30.0
# How often SGLang's counters are read: twice within the half minute over which rates are taken.
COUNTERS_EVERY_S = 15.0
COUNTERS = (
    *("prefix_queries_tokens", "prefix_hits_tokens"),
    *("prompt_tokens", "generation_tokens", "preemptions"),
)


class Scraper:
    """Reads one endpoint at a time; `visit` is for `cardan_router.rounds.Rounds`."""

    def __init__(
        self,
        fetcher: Fetcher,
        config: ScrapeConfig,
        clock: Callable[[], float],
        on_scrape: Callable[[str], None],
    ) -> None:
        self.config = config
        self.enabled = True
        self._fetcher = fetcher
        self._clock = clock
        self._on_scrape = on_scrape
        self._without_loads: set[EndpointState] = set()
        self._counters_due: dict[EndpointState, float] = {}

    def reconfigure(self, config: ScrapeConfig, fetcher: Fetcher, *, enabled: bool) -> None:
        """Take a new configuration."""
        self.config = config
        self.enabled = enabled
        self._fetcher = fetcher

    def forget(self, states: list[EndpointState]) -> None:
        """These endpoints have left."""
        self._without_loads.difference_update(states)
        for state in states:
            self._counters_due.pop(state, None)

    async def visit(self, state: EndpointState) -> float:
        """Read one endpoint; returns seconds until the next time."""
        if not self.enabled or not state.models:  # without models: who it is is not known yet
            return self.config.interval_s
        try:
            found = await self._read(state)
        except FetchError as error:
            self._on_scrape(error.fault.value)
            return self.config.interval_s
        if found is None:
            self._on_scrape("no-metrics")
            return WITHOUT_METRICS_S
        self._on_scrape("ok")
        state.observe(found)
        return self.config.interval_s

    async def _read(self, state: EndpointState) -> EngineMetrics | None:
        if state.engine is EngineKind.SGLANG and state not in self._without_loads:
            at = self._clock()
            answer = await self._get(state, LOADS_PATH)
            found = read_loads(answer.body, at) if answer.status == 200 else None
            if found is not None:
                return await self._with_counters(state, found)
            if answer.status in NO_SUCH_PATH:
                self._without_loads.add(state)
        return await self._read_metrics(state)

    async def _read_metrics(self, state: EndpointState) -> EngineMetrics | None:
        at = self._clock()
        answer = await self._get(state, METRICS_PATH)
        return read_metrics(state.engine, answer.body, at) if answer.status == 200 else None

    async def _with_counters(self, state: EndpointState, found: EngineMetrics) -> EngineMetrics:
        """Loads, with the counters as they are now or were when they were last read."""
        told = state.metrics
        if self._clock() >= self._counters_due.get(state, 0.0):
            self._counters_due[state] = self._clock() + COUNTERS_EVERY_S
            with contextlib.suppress(FetchError):  # loads came, and are what is routed by
                told = await self._read_metrics(state) or told
        if told is None:
            return found
        return msgspec.structs.replace(found, **{name: getattr(told, name) for name in COUNTERS})

    async def _get(self, state: EndpointState, path: str) -> Answer:
        return await self._fetcher.get(state.endpoint.url, path, self.config.timeout_s)
