"""Introspection and health: who joins when, and what each engine's word is worth."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet, FleetConfig
from cardan.health import HealthConfig, Verdict
from cardan.instants import Monotonic
from cardan_router.config import ProbeConfig
from cardan_router.discovery import Membership
from cardan_router.fetch import Fetcher
from cardan_router.gateway import OWNER
from cardan_router.probe import MAX_RETRY_S, Prober

from tests.fakes.waiting import DEADLINE_S
from tests.router.stub import Stub, model_list, stub

if TYPE_CHECKING:
    from cardan.fleet import EndpointState

# Patient, where an answer comes; who is silent is waited for but shortly.
PATIENT = FleetConfig(health=HealthConfig(probe_timeout_s=DEADLINE_S, consecutive_probes=2))
IMPATIENT = FleetConfig(health=HealthConfig(probe_timeout_s=0.1, consecutive_probes=2))


class Bench:
    """A fleet of one endpoint and its prober."""

    def __init__(self, endpoint: Endpoint, reintrospect_s: float = 1000.0) -> None:
        self.results: list[str] = []
        self.now = time.monotonic()
        self.fleet = Fleet(PATIENT)
        self.prober = Prober(
            self.fleet,
            Fetcher(),
            ProbeConfig(reintrospect_s=reintrospect_s),
            lambda: self.now,
            self.results.append,
        )
        Membership(self.fleet, lambda: self.now, self.prober.forget).report("config", [endpoint])
        self.state: EndpointState = self.fleet.endpoints[endpoint.id]

    async def visit(self) -> float:
        return await self.prober.visit(self.state)

    def verdict(self) -> Verdict:
        return self.state.health.verdict(Monotonic(self.now))

    def routable(self, model: str = "m") -> bool:
        pool = self.fleet.pool(model, Monotonic(self.now))
        return pool is not None and bool(pool.routable)


def bench_of(engine: Stub, **options: float) -> Bench:
    """A bench for one stub."""
    return Bench(Endpoint(url=engine.url), **options)


@pytest.mark.parametrize("kind", [EngineKind.VLLM, EngineKind.SGLANG])
async def test_an_engine_joins_by_what_its_models_say(kind: EngineKind) -> None:
    async with stub() as engine:
        (engine.vllm if kind is EngineKind.VLLM else engine.sglang)("m", "m-lora")
        bench = bench_of(engine)
        assert not bench.routable()
        await bench.visit()
        assert bench.state.engine is kind
        assert bench.state.models == {"m", "m-lora"}
        assert bench.routable()
        assert bench.prober.joined(bench.state)


async def test_sglang_is_never_asked_for_its_slow_health_nor_for_its_secrets() -> None:
    async with stub() as engine:
        engine.sglang("m")
        bench = bench_of(engine)
        for _ in range(3):
            await bench.visit()
        assert set(engine.asked) == {"/v1/models", "/ready"}


@pytest.mark.parametrize(
    ("path", "body", "kind"),
    [
        ("/version", b'{"version":"0.32.0"}', EngineKind.VLLM),
        ("/server_info", b'{"api_key":"s"}', EngineKind.SGLANG),
        ("/get_server_info", b"{}", EngineKind.SGLANG),
        ("/nothing", b"", EngineKind.OPENAI),
    ],
)
async def test_an_engine_whose_models_do_not_tell_is_known_by_its_paths(
    path: str, body: bytes, kind: EngineKind
) -> None:
    async with stub() as engine:
        engine.vllm("m").sglang("m").answers["/v1/models"] = (200, b'{"data":[{"id":"m"}]}')
        engine.answers[path] = (200, body)
        bench = bench_of(engine)
        await bench.visit()
        assert bench.state.engine is kind
        assert bench.routable()


async def test_a_gateway_is_no_engine_unless_somebody_says_so() -> None:
    async with stub() as gateway:
        gateway.answers["/v1/models"] = (200, model_list(OWNER, "m"))
        found = bench_of(gateway)
        await found.visit()
        assert not found.routable()
        assert found.results == ["introspection-failed"]
        chained = Bench(Endpoint(url=gateway.url, engine=EngineKind.OPENAI))
        await chained.visit()
        assert chained.routable()


@pytest.mark.parametrize(
    "answer",
    [None, (503, b""), (401, b"{}"), (200, b"<html>"), (200, b'{"data":[]}'), (200, b'{"data":3}')],
)
async def test_an_engine_that_does_not_tell_does_not_join_and_is_asked_again(
    answer: tuple[int, bytes] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with stub() as engine:
        engine.vllm("m").answers["/v1/models"] = answer
        bench = bench_of(engine)
        with monkeypatch.context() as impatient:
            impatient.setattr("cardan_router.probe.INTROSPECT_TIMEOUT_S", 0.1)
            waits = [await bench.visit() for _ in range(2)]
        assert waits[0] < waits[1] <= MAX_RETRY_S
        assert not bench.routable()
        engine.vllm("m")
        await bench.visit()
        assert bench.routable()


async def test_a_starting_sglang_that_tells_its_models_joins_only_when_ready() -> None:
    async with stub() as engine:
        engine.sglang("m").answers["/ready"] = (503, b"")
        bench = bench_of(engine)
        await bench.visit()
        assert not bench.routable()
        engine.answers["/ready"] = (200, b"")
        await bench.visit()
        assert bench.routable()


async def test_a_visit_that_begins_after_its_endpoint_has_left_asks_and_remembers_nothing() -> None:
    async with stub() as engine:
        engine.vllm("m")
        bench = bench_of(engine)
        bench.prober.forget(bench.fleet.update([], Monotonic(bench.now)))
        await bench.visit()
        assert engine.asked == []
        assert not bench.prober._known


async def test_an_endpoint_whose_models_are_configured_waits_for_its_first_probe_too() -> None:
    async with stub() as engine:
        engine.vllm("other")
        bench = Bench(Endpoint(url=engine.url, models=("m",)))
        assert not bench.routable()
        await bench.visit()
        assert bench.routable()
        assert bench.state.models == {"m"}


@pytest.mark.parametrize("kind", [EngineKind.VLLM, EngineKind.SGLANG])
async def test_an_engine_that_says_503_of_itself_is_left_alone_at_once(kind: EngineKind) -> None:
    async with stub() as engine:
        (engine.vllm if kind is EngineKind.VLLM else engine.sglang)("m")
        bench = bench_of(engine)
        await bench.visit()
        engine.answers["/health"] = engine.answers["/ready"] = (503, b"")
        await bench.visit()
        assert bench.verdict() is Verdict.NOT_READY
        assert not bench.routable()
        engine.answers["/health"] = engine.answers["/ready"] = (200, b"")
        await bench.visit()
        assert bench.routable()


async def test_an_engine_that_is_gone_is_down_and_comes_back_with_its_new_models() -> None:
    async with stub() as engine:
        engine.vllm("m")
        bench = bench_of(engine)
        await bench.visit()
        await engine.stop()
        await bench.visit()
        assert bench.verdict() is Verdict.DOWN
        engine.vllm("m2")
        await engine.start()
        await bench.visit()
        assert bench.verdict() is Verdict.HEALTHY
        assert bench.state.models == {"m2"}


async def test_slow_probes_eject_only_when_they_repeat() -> None:
    async with stub() as engine:
        engine.vllm("m")
        bench = bench_of(engine)
        await bench.visit()
        engine.answers["/health"] = None
        bench.fleet.config = IMPATIENT
        await bench.visit()
        assert bench.verdict() is Verdict.HEALTHY
        await bench.visit()
        assert bench.verdict() is Verdict.EJECTED


@pytest.mark.parametrize("status", [401, 403, 404, 405])
async def test_a_health_path_that_is_not_there_or_locked_is_no_failure(status: int) -> None:
    async with stub() as engine:
        engine.vllm("m").answers["/health"] = (status, b"")
        bench = bench_of(engine)
        for _ in range(5):
            await bench.visit()
        assert bench.verdict() is Verdict.HEALTHY
        assert bench.routable()


async def test_models_are_asked_for_again_now_and_then() -> None:
    async with stub() as engine:
        engine.vllm("m")
        bench = bench_of(engine, reintrospect_s=30.0)
        await bench.visit()
        engine.vllm("m", "adapter")
        await bench.visit()
        assert bench.state.models == {"m"}
        bench.now += 31
        await bench.visit()
        assert bench.state.models == {"m", "adapter"}


async def test_what_has_left_is_forgotten() -> None:
    async with stub() as engine:
        engine.vllm("m")
        bench = bench_of(engine)
        await bench.visit()
        bench.prober.forget([bench.state])
        assert not bench.prober.joined(bench.state)


async def test_whom_discovery_holds_is_not_asked_until_it_lets_go() -> None:
    async with stub() as engine:
        bench = bench_of(engine.vllm("m"))
        held = {bench.state}
        bench.prober.held = held.__contains__
        await bench.visit()
        assert not engine.asked
        assert not bench.routable()
        held.clear()
        await bench.visit()
        assert bench.routable()


async def test_a_probe_in_the_air_makes_nobody_well_who_is_held_meanwhile() -> None:
    async with stub() as engine:
        bench = bench_of(engine.vllm("m"))
        await bench.visit()
        assert bench.routable()
        asked: list[EndpointState] = []

        def held(state: EndpointState) -> bool:
            """Not when the visit begins, but when its answer is there."""
            asked.append(state)
            if len(asked) > 1:
                state.health.engine_not_ready()
                bench.fleet.touch()
            return len(asked) > 1

        bench.prober.held = held
        await bench.visit()
        assert bench.verdict() is Verdict.NOT_READY
        assert not bench.routable()
