"""A full queue is refused as recorded: 503 before the head in vLLM, inside a 200 in SGLang."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.engines.recordings import answer_shape, folder, load
from tests.contract.engines.test_recorded_http import replay
from tests.fakes.waiting import until
from tests.sim.serve.servers import running
from tests.sim.serve.wire import connect

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from cardan_sim.serve.app import EngineServer

VLLM = ["overload_503", "overload_503_chat", "overload_503_stream", "overload_messages"]
SGLANG = [
    "full_chat",
    "full_chat_stream",
    "full_completions",
    "full_completions_stream",
    "full_generate",
    "full_generate_stream",
    "full_messages",
    "full_ready",
]


@contextlib.asynccontextmanager
async def full(key: str | None = None, **given: Any) -> AsyncIterator[EngineServer]:
    """A server with two requests running and four queued, and no room for more."""
    sizes = {"max_num_seqs": 2, "max_queued": 4, "task": "generate", "api_key": key}
    async with running(**(sizes | given)) as server, contextlib.AsyncExitStack() as stack:
        for number in range(6):
            wire = await stack.enter_async_context(connect(server.url))
            body = {"prompt": f"request {number}", "max_tokens": 5000, "stream": True}
            await wire.send(
                "POST",
                "/v1/completions",
                body | {"priority": 100},
                {"Authorization": f"Bearer {key}"},
            )
        engine = server.context.engine
        await until(lambda: (engine.running, engine.waiting) == (2, 4), "a full queue")
        yield server


@pytest.mark.parametrize("name", [*VLLM, "health_while_full"])
async def test_a_full_vllm_refuses_as_recorded(name: str) -> None:
    exchange = load(folder("vllm", "S-overload-keepalive"), name)
    async with full() as server:
        mine = await replay(server.url, exchange)
    assert answer_shape(mine) == answer_shape(exchange.answer)


@pytest.mark.parametrize("name", SGLANG)
async def test_a_full_sglang_refuses_as_recorded(name: str) -> None:
    exchange = load(folder("sglang", "C-key-priority-full"), name)
    async with full("key-1", make="sglang", priority_scheduling=True) as server:
        mine = await replay(server.url, exchange)
    assert answer_shape(mine) == answer_shape(exchange.answer)


async def test_the_refusal_inside_a_stream_is_the_recorded_event_byte_for_byte() -> None:
    exchange = load(folder("sglang", "C-key-priority-full"), "full_chat_stream")
    async with full("key-1", make="sglang", priority_scheduling=True) as server:
        mine = await replay(server.url, exchange)
    assert mine.body == exchange.answer.body


async def test_a_queued_vllm_stream_sends_comments_before_its_first_event() -> None:
    exchange = load(folder("vllm", "S-overload-keepalive"), "queued_2")
    assert exchange.answer.body.startswith(b": keep-alive\n\n")
    async with (
        running(max_num_seqs=1, sse_keep_alive_s=0.05) as server,
        connect(server.url) as wire,
    ):
        async with connect(server.url) as first:
            body = {"prompt": "first", "max_tokens": 4000, "stream": True}
            await first.send("POST", "/v1/completions", body)
            await until(lambda: server.context.engine.running == 1, "the first to run")
            await wire.send("POST", "/v1/completions", body)
            await wire.head()
            assert await wire.chunk() == b": keep-alive\n\n"
        while (chunk := await wire.chunk()) == b": keep-alive\n\n":
            pass
        assert chunk.startswith(b'data: {"id":"cmpl-')
