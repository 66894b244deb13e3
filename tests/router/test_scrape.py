"""Scraping: each dialect by its best path; a failure changes nothing, and its age shows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan_router.config import ScrapeConfig
from cardan_router.fetch import Answer, Fetcher, FetchError, FetchFault
from cardan_router.scrape import COUNTERS_EVERY_S, LOADS_PATH, WITHOUT_METRICS_S, Scraper

from tests.fakes.waiting import DEADLINE_S
from tests.router.stub import Stub, stub

if TYPE_CHECKING:
    from cardan.fleet import EndpointState

VLLM = (
    b'vllm:num_requests_running{engine="0",model_name="m"} 3.0\n'
    b'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0\n'
)
SGLANG = b'sglang:num_running_reqs{engine_type="unified",tp_rank="0",pp_rank="0"} 4.0\n'
SGLANG_COUNTERS = b'sglang:generation_tokens_total{model_name="m"} %d\n'
LOADS = (
    b'{"loads":[{"num_running_reqs":5,"num_waiting_reqs":1,"num_waiting_uncached_tokens":900,'
    b'"max_total_num_tokens":16384,"token_usage":0.5}]}'
)


class WithoutMetrics(Fetcher):
    """Its connection breaks whenever it asks for metrics."""

    async def get(self, origin: str, path: str, timeout_s: float) -> Answer:
        """See `Fetcher`."""
        if path == "/metrics":
            raise FetchError(FetchFault.BROKEN, "cut")
        return await super().get(origin, path, timeout_s)


class Bench:
    """One endpoint that has joined, and a scraper."""

    def __init__(self, engine: Stub, kind: EngineKind) -> None:
        self.results: list[str] = []
        self.now = 100.0
        patient = ScrapeConfig(timeout_s=DEADLINE_S)
        self.scraper = Scraper(Fetcher(), patient, lambda: self.now, self.results.append)
        fleet = Fleet()
        fleet.update([Endpoint(url=engine.url)], Monotonic(0.0))
        self.state: EndpointState = next(iter(fleet.endpoints.values()))
        fleet.introspected(self.state, ["m"], kind)


async def test_vllm_is_read_from_its_metrics() -> None:
    async with stub() as engine:
        engine.answers["/metrics"] = (200, VLLM)
        bench = Bench(engine, EngineKind.VLLM)
        assert await bench.scraper.visit(bench.state) == 1.0
        metrics = bench.state.metrics
        assert metrics is not None
        assert (metrics.running, metrics.waiting, metrics.at) == (3.0, 2.0, 100.0)
        assert metrics.kv_used_ratio is None
        assert engine.asked == ["/metrics"]


async def test_sglang_is_read_from_its_loads() -> None:
    async with stub() as engine:
        engine.answers[LOADS_PATH] = (200, LOADS)
        bench = Bench(engine, EngineKind.SGLANG)
        await bench.scraper.visit(bench.state)
        metrics = bench.state.metrics
        assert metrics is not None
        assert (metrics.running, metrics.waiting_uncached_tokens) == (5.0, 900.0)
        assert engine.asked == [LOADS_PATH, "/metrics"], "which are not there, and not missed"


async def test_sglangs_counters_are_read_now_and_then_and_kept_between() -> None:
    async with stub() as engine:
        engine.answers[LOADS_PATH] = (200, LOADS)
        engine.answers["/metrics"] = (200, SGLANG_COUNTERS % 700)
        bench = Bench(engine, EngineKind.SGLANG)
        for passed_s, generated in ((0.0, 700), (1.0, 700), (COUNTERS_EVERY_S, 900)):
            bench.now += passed_s
            await bench.scraper.visit(bench.state)
            metrics = bench.state.metrics
            assert metrics is not None
            assert (metrics.running, metrics.at) == (5.0, bench.now)
            assert metrics.generation_tokens == generated
            engine.answers["/metrics"] = (200, SGLANG_COUNTERS % 900)
        assert engine.asked == [LOADS_PATH, "/metrics", LOADS_PATH, LOADS_PATH, "/metrics"]
        engine.answers["/metrics"] = (200, SGLANG_COUNTERS % 10)
        bench.state.shadow.insert((1, 2, 3))
        bench.now += COUNTERS_EVERY_S
        await bench.scraper.visit(bench.state)
        assert len(bench.state.shadow) == 0, "a counter fell: the engine has restarted"


async def test_counters_that_cannot_be_read_keep_no_loads_back() -> None:
    async with stub() as engine:
        engine.answers[LOADS_PATH] = (200, LOADS)
        bench = Bench(engine, EngineKind.SGLANG)
        patient = ScrapeConfig(timeout_s=DEADLINE_S)
        bench.scraper.reconfigure(patient, WithoutMetrics(), enabled=True)
        await bench.scraper.visit(bench.state)
        assert bench.results == ["ok"]
        assert bench.state.metrics is not None
        assert bench.state.metrics.generation_tokens is None


@pytest.mark.parametrize("answer", [(500, b""), (200, b"<html>")])
async def test_loads_that_fail_once_are_asked_for_again(answer: tuple[int, bytes]) -> None:
    async with stub() as engine:
        engine.answers[LOADS_PATH] = answer
        engine.answers["/metrics"] = (200, SGLANG)
        bench = Bench(engine, EngineKind.SGLANG)
        await bench.scraper.visit(bench.state)
        assert bench.state.metrics is not None
        assert bench.state.metrics.running == 4.0
        engine.answers[LOADS_PATH] = (200, LOADS)
        bench.now += 1.0
        await bench.scraper.visit(bench.state)
        assert bench.state.metrics.running == 5.0


async def test_what_an_engine_lacks_is_not_held_against_the_next_of_its_name() -> None:
    async with stub() as engine:
        engine.answers["/metrics"] = (200, SGLANG)
        bench = Bench(engine, EngineKind.SGLANG)
        await bench.scraper.visit(bench.state)
        bench.scraper.forget([bench.state])
        await bench.scraper.visit(bench.state)
        assert engine.asked == [LOADS_PATH, "/metrics"] * 2


@pytest.mark.parametrize("status", [404, 405, 501])
async def test_an_sglang_without_loads_is_read_from_its_metrics(status: int) -> None:
    async with stub() as engine:
        engine.answers[LOADS_PATH] = (status, b"")
        engine.answers["/metrics"] = (200, SGLANG)
        bench = Bench(engine, EngineKind.SGLANG)
        for _ in range(2):
            await bench.scraper.visit(bench.state)
        assert bench.state.metrics is not None
        assert bench.state.metrics.running == 4.0
        assert engine.asked == [LOADS_PATH, "/metrics", "/metrics"]


async def test_a_failed_reading_leaves_what_is_known_to_grow_old() -> None:
    async with stub() as engine:
        engine.answers["/metrics"] = (200, VLLM)
        bench = Bench(engine, EngineKind.VLLM)
        await bench.scraper.visit(bench.state)
        known = bench.state.metrics
        engine.answers["/metrics"] = None
        bench.scraper.config = ScrapeConfig(timeout_s=0.1)
        bench.now = 104.0
        await bench.scraper.visit(bench.state)
        assert bench.state.metrics is known
        assert bench.state.fresh_metrics(Monotonic(bench.now)) is None
        assert bench.results == ["ok", "timeout"]


async def test_an_engine_without_metrics_is_asked_rarely() -> None:
    async with stub() as engine:
        bench = Bench(engine, EngineKind.OPENAI)
        assert await bench.scraper.visit(bench.state) == WITHOUT_METRICS_S
        assert bench.state.metrics is None
        assert bench.results == ["no-metrics"]


async def test_nobody_is_asked_before_it_has_joined_or_when_nobody_wants_to_know() -> None:
    async with stub() as engine:
        bench = Bench(engine, EngineKind.VLLM)
        bench.state.models = frozenset()
        await bench.scraper.visit(bench.state)
        bench.state.models = frozenset({"m"})
        bench.scraper.enabled = False
        await bench.scraper.visit(bench.state)
        assert engine.asked == []
