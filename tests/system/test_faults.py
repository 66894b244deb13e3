"""Engines die, gateways stop, clients leave: nothing is lost that need not be."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.fakes.ports import held_port
from tests.fakes.waiting import DEADLINE_S
from tests.system.load import Stream, chat, stream_chat
from tests.system.processes import Child, get_json, status_of, until

if TYPE_CHECKING:
    from tests.system.processes import Processes

MODEL = "llama-3.1-8b"
pytestmark = pytest.mark.slow


def body(i: int, tokens: int) -> dict[str, Any]:
    """Prompts of about 1,000 tokens in ten families."""
    return chat(MODEL, f"family {i % 10} " + f"w{i % 10} " * 1000 + f"question {i}", tokens)


async def run_load(url: str, count: int, tokens: int, gap_s: float, when_half: Any) -> list[Stream]:
    """Start `count` streams `gap_s` apart; call `when_half` after half of them have started."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=120)
    ) as session:
        tasks = []
        for i in range(count):
            tasks.append(asyncio.create_task(stream_chat(session, url, body(i, tokens))))
            await asyncio.sleep(gap_s)
            if i == count // 2:
                when_half()
        return await asyncio.gather(*tasks)


@pytest.mark.parametrize("kind", ["vllm", "sglang"])
async def test_a_killed_engine_loses_no_request_that_had_not_begun(
    procs: Processes, kind: str
) -> None:
    engines = procs.engines(3, "--engine", kind, "--model", MODEL)
    router = procs.router(engines)
    streams = await run_load(router.url, 90, 60, 0.02, engines[0].kill)
    assert not [s for s in streams if s.lost]
    cut = [s for s in streams if not s.complete]
    assert len(cut) < 60
    for stream in cut:
        assert stream.tokens > 0
        assert stream.error is not None
        assert stream.error["code"]


async def test_sigterm_lets_every_running_stream_complete_and_exits_0(procs: Processes) -> None:
    engines = procs.engines(2, "--engine", "vllm", "--model", MODEL)
    router = procs.router(engines)

    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=60)
    ) as session:
        tasks = [
            asyncio.create_task(stream_chat(session, router.url, body(i, 200))) for i in range(40)
        ]
        await asyncio.to_thread(
            until, lambda: sum(begun(e) for e in engines) == 40, "all streams to begin"
        )
        router.process.send_signal(signal.SIGTERM)
        streams = await asyncio.gather(*tasks)
    assert all(stream.complete for stream in streams)
    assert await asyncio.to_thread(router.process.wait, DEADLINE_S) == 0


def running(engine: Child) -> int:
    """How many requests the engine has, running or waiting."""
    state = get_json(engine.url + "/sim/state")
    return int(state["running"]) + int(state["waiting"])


def begun(engine: Child) -> int:
    """How many it has, or has had."""
    state = get_json(engine.url + "/sim/state")
    return int(state["running"] + state["waiting"] + sum(state["finished"].values()))


async def test_a_client_that_leaves_stops_the_engine(procs: Processes) -> None:
    engine = procs.engines(1, "--engine", "vllm", "--model", MODEL)[0]
    router = procs.router([engine])
    async with aiohttp.ClientSession() as session:
        answer = await session.post(
            f"{router.url}/v1/chat/completions", json={**body(0, 4000), "stream": True}
        )
        await answer.content.readline()
        assert running(engine) == 1
        answer.close()
    await asyncio.to_thread(until, lambda: running(engine) == 0, "the engine to stop")
    assert get_json(engine.url + "/sim/state")["finished"]["abort"] == 1


def test_an_engine_that_returns_gets_traffic_again(procs: Processes) -> None:
    options = ("--model", MODEL, "--time-scale", "0.1")
    second = procs.engines(1, *options)[0]
    with held_port() as port:
        first = procs.start("first", "engine", "--listen", f"127.0.0.1:{port}", *options)
        router = procs.router([first, second], "--policy", "round-robin")
        first.kill()
        assert asyncio.run(complete(router.url, 10)) == 10
        returned = procs.start("returned", "engine", "--listen", f"127.0.0.1:{port}", *options)
        until(lambda: status_of(returned.url + "/health") == 200, "the engine to be back")

        def served() -> bool:
            asyncio.run(complete(router.url, 4))
            return len(get_json(returned.url + "/sim/state")["requests"]) > 0

        until(served, "traffic at the engine that returned")


async def complete(url: str, count: int) -> int:
    """How many of `count` short chats come back complete."""
    async with aiohttp.ClientSession() as session:
        streams = [await stream_chat(session, url, body(i, 2)) for i in range(count)]
    return sum(stream.complete for stream in streams)
