"""A listener that is being left serves on, tells every client so by the answer it gets, and takes
no connection from a client that may be about to use it.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from tests.fakes.client import chat, connect, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import DONE, LAST_CHUNK, SSE_HEAD, Seen, Step, engines, token
from tests.fakes.gateway import Served, serving
from tests.fakes.waiting import settle, soon

if TYPE_CHECKING:
    from collections.abc import Iterable

IDLE_S = 15.0


def leave(served: Served) -> asyncio.Task[None]:
    """What the front doors do when their process is told to go."""
    served.server.draining = True
    return asyncio.ensure_future(served.server.emptied(IDLE_S))


async def test_who_asks_is_answered_and_told_to_go() -> None:
    async with (
        engines(1) as fleet,
        serving(fleet) as served,
        connect(served.port) as kept,
    ):
        await kept.send(post(chat()))
        assert (await kept.reply()).keep_alive
        left = leave(served)
        async with connect(served.port) as fresh:
            for client in (kept, fresh):
                await client.send(post(chat()))
                reply = await client.reply()
                assert (reply.status, reply.header("connection")) == (200, "close")
                assert await client.is_closed()
        await soon(left)


async def test_a_stream_that_began_before_keeps_its_connection_for_the_next_request() -> None:
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD + token(0)
        yield go
        yield token(1) + DONE + LAST_CHUNK

    async with (
        engines(1, script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        await client.read_until(b"t0 ")
        left = leave(served)
        go.set()
        await client.read_until(b"0\r\n\r\n")
        await client.send(post(chat(stream=True)))  # its answer's head had said nothing
        reply = await client.reply()
        assert (reply.status, reply.events[-1]) == (200, "[DONE]")
        assert reply.header("connection") == "close"
        await soon(left)


async def test_an_idle_connection_is_closed_only_when_no_client_would_use_it_any_more() -> None:
    clock = ManualClock()
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as idle,
    ):
        await idle.send(post(chat()))
        await idle.reply()
        left = leave(served)
        clock.advance(IDLE_S - 1)
        served.gateway.sweep()
        await settle()
        assert not left.done()
        assert served.server.connections == 1
        clock.advance(1)
        served.gateway.sweep()
        assert await idle.is_closed()
        await soon(left)
