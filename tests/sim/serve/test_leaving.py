"""A client that leaves: when each make notices, and that nothing is computed for it after."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.fakes.waiting import soon, until
from tests.sim.serve.servers import running
from tests.sim.serve.wire import connect

if TYPE_CHECKING:
    from cardan_sim.serve.app import EngineServer

CHAT = "/v1/chat/completions"


def long(**rest: Any) -> dict[str, Any]:
    """A chat that would take a minute."""
    return {"messages": [{"role": "user", "content": "on and on"}], "max_tokens": 30_000} | rest


def alive(server: EngineServer) -> int:
    """Requests the engine still has."""
    return server.context.engine.running + server.context.engine.waiting


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_a_running_stream_is_aborted_at_once(make: str) -> None:
    async with running(make=make) as server:
        async with connect(server.url) as wire:
            await wire.send("POST", CHAT, long(stream=True))
            await wire.head()
            await wire.chunk()
            assert alive(server) == 1
        await until(lambda: alive(server) == 0, "the abort")
        assert server.context.engine.stats.finished["abort"] == 1
        assert server.context.records.last[-1].outcome == "left"


@pytest.mark.parametrize("make", ["vllm", "sglang"])
async def test_half_closing_is_leaving(make: str) -> None:
    async with running(make=make) as server, connect(server.url) as wire:
        await wire.send("POST", CHAT, long(stream=True))
        await wire.head()
        wire.writer.write_eof()
        await until(lambda: alive(server) == 0, "the abort")
        rest = await wire.reader.read()
        assert b"[DONE]" not in rest


async def test_vllm_notices_at_once_that_the_client_of_a_whole_answer_left() -> None:
    async with running() as server:
        async with connect(server.url) as wire:
            await wire.send("POST", CHAT, long())
            await until(lambda: alive(server) == 1, "the request to run")
        await until(lambda: alive(server) == 0, "the abort")


async def test_a_queued_request_leaves_the_queue() -> None:
    async with running(max_num_seqs=1) as server, connect(server.url) as first:
        await first.send("POST", CHAT, long(stream=True))
        async with connect(server.url) as queued:
            await queued.send("POST", CHAT, long(stream=True))
            await until(lambda: server.context.engine.waiting == 1, "the queue")
        await until(lambda: server.context.engine.waiting == 0, "the abort")
        assert server.context.engine.running == 1


async def test_sglang_polls_for_the_client_of_a_whole_answer() -> None:
    """Every 4 s on the engine's clock; here that clock runs ten times as fast."""
    async with running(make="sglang", time_scale=0.1) as server:
        began = time.monotonic()
        async with connect(server.url) as wire:
            await wire.send("POST", CHAT, long())
            await until(lambda: alive(server) == 1, "the request to run")
        await until(lambda: alive(server) == 0, "the abort")
        assert time.monotonic() - began > 0.39
        assert server.context.engine.stats.finished["abort"] == 1


async def test_a_connection_serves_one_request_after_another() -> None:
    async with running() as server, connect(server.url) as wire:
        for stream in (False, True, False):
            await wire.send("POST", CHAT, long(max_tokens=3, stream=stream))
            assert (await wire.answer()).status == 200
        ports = {record.connection for record in server.context.records.last}
        assert len(ports) == 1


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    async with running(keep_alive_s=0.1) as server, connect(server.url) as wire:
        await wire.send("POST", CHAT, long(max_tokens=1))
        await wire.answer()
        assert await soon(wire.reader.read()) == b""
