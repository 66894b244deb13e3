"""Real processes: `cardan router --grpc` before simulated engines, called as a user calls it."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import grpc
import pytest
from cardan_router.pb.cardan.v1 import inference_pb2, inference_pb2_grpc, prompt_pb2
from grpc import aio

from tests.system.processes import Child, Processes, get_json, processes, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.slow

MODEL = "tiny"
# Twenty times slower than the engine's own pace: a stream of a thousand tokens lasts for ever.
SLOW = ("--model", MODEL, "--time-scale", "20")


@pytest.fixture(scope="module")
def procs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with processes(tmp_path_factory.mktemp("grpc")) as group:
        yield group


@pytest.fixture(scope="module")
def engines(procs: Processes) -> list[Child]:
    return procs.engines(2, *SLOW)


def request(max_tokens: int, text: str = "tell me more " * 200) -> inference_pb2.GenerateRequest:
    return inference_pb2.GenerateRequest(
        model=MODEL, text=text, sampling=prompt_pb2.Sampling(max_tokens=max_tokens)
    )


def running(engines: list[Child]) -> int:
    states = [get_json(engine.url + "/sim/state") for engine in engines]
    return sum(state["running"] + state["waiting"] for state in states)


def aborted(engines: list[Child]) -> int:
    states = [get_json(engine.url + "/sim/state") for engine in engines]
    return sum(state["finished"].get("abort", 0) for state in states)


@pytest.fixture(scope="module")
def router(procs: Processes, engines: list[Child]) -> Child:
    return procs.router(engines, "--grpc", "127.0.0.1:0", "--access-log", "off")


async def test_cancelling_stops_the_engine(engines: list[Child], router: Child) -> None:
    before = await asyncio.to_thread(aborted, engines)
    async with aio.insecure_channel(router.grpc_target) as channel:
        call = inference_pb2_grpc.InferenceStub(channel).Generate(request(4000))
        await call.read()
        assert await asyncio.to_thread(running, engines) == 1
        call.cancel()
        await asyncio.to_thread(until, lambda: running(engines) == 0, "the engine to stop")
        assert await asyncio.to_thread(aborted, engines) == before + 1


async def test_a_deadline_stops_the_engine(engines: list[Child], router: Child) -> None:
    async with aio.insecure_channel(router.grpc_target) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        with pytest.raises(aio.AioRpcError) as raised:
            await stub.GenerateUnary(request(4000), timeout=0.5)
        assert raised.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        await asyncio.to_thread(until, lambda: running(engines) == 0, "the engine to stop")


async def test_sigterm_lets_running_streams_end(procs: Processes, engines: list[Child]) -> None:
    router = procs.router(engines, "--grpc", "127.0.0.1:0", "--access-log", "off")
    async with aio.insecure_channel(router.grpc_target) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        calls = [stub.Generate(request(20)) for _ in range(4)]
        for call in calls:
            await call.read()
        ending = asyncio.create_task(asyncio.to_thread(router.terminate))
        for call in calls:
            last = inference_pb2.GenerateResponse()
            while isinstance(piece := await call.read(), inference_pb2.GenerateResponse):
                last = piece
            assert last.usage.completion_tokens == 20
            assert await call.code() is grpc.StatusCode.OK
        assert await ending == 0


async def test_workers_share_the_port(procs: Processes, engines: list[Child]) -> None:
    router = procs.router(engines, "--grpc", "127.0.0.1:0", "--workers", "2")
    for _ in range(8):
        options = (("grpc.use_local_subchannel_pool", 1),)  # a connection of its own each time
        async with aio.insecure_channel(router.grpc_target, options=options) as channel:
            stub = inference_pb2_grpc.InferenceStub(channel)
            answer = await stub.GenerateUnary(request(1, "hi"), wait_for_ready=True, timeout=20)
            assert answer.usage.completion_tokens == 1
    assert await asyncio.to_thread(router.terminate) == 0
    lines = [line for line in router.output().splitlines() if line.startswith("{")]
    assert [json.loads(line)["outcome"] for line in lines] == ["ok"] * 8
