"""Reading the engines' own metrics: at most once a second each, never in a request's way.

SGLang is asked for `/v1/loads`: 1 KB in a millisecond, where its `/metrics` is 270 KB in ten and
lags by forty decoding steps. Where that path is missing, and from all others, `/metrics`; where it
fails, for once.
A reading is stamped with the time it was asked for: what it tells can only be older than its
arrival. A failed one changes nothing; what is known grows old, and routing stops trusting it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

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

    def reconfigure(self, config: ScrapeConfig, fetcher: Fetcher, *, enabled: bool) -> None:
        """Take a new configuration."""
        self.config = config
        self.enabled = enabled
        self._fetcher = fetcher

    def forget(self, states: list[EndpointState]) -> None:
        """These endpoints have left."""
        self._without_loads.difference_update(states)

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
                return found
            if answer.status in NO_SUCH_PATH:
                self._without_loads.add(state)
        at = self._clock()
        answer = await self._get(state, METRICS_PATH)
        return read_metrics(state.engine, answer.body, at) if answer.status == 200 else None

    async def _get(self, state: EndpointState, path: str) -> Answer:
        return await self._fetcher.get(state.endpoint.url, path, self.config.timeout_s)
