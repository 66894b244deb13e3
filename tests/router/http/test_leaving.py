"""A listener that is being left serves on, tells every client so by the answer it gets, and takes
no connection from a client that may be about to use it.
"""

from __future__ import annotations

import asyncio

from cardan.ledger import Outcome

from tests.fakes.client import chat, connect, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import HANG, SSE_HEAD, engines, token
from tests.fakes.gateway import Served, serving
from tests.fakes.scripts import asked, held_stream, says
from tests.fakes.waiting import settle, soon

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

    async with (
        engines(1, held_stream(go)) as fleet,
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


async def test_shutdown_lets_streams_finish_and_refuses_what_is_new() -> None:
    go = asyncio.Event()

    async with (
        engines(1, held_stream(go)) as fleet,
        serving(fleet) as served,
        connect(served.port) as running,
        connect(served.port) as idle,
    ):
        await running.send(post(chat(stream=True)))
        await running.read_until(b"t0 ")
        ending = asyncio.gather(served.gateway.shutdown(10), served.server.drain(10))
        assert await idle.is_closed()
        async with connect(served.port) as late:
            await late.send(post(chat()))
            reply = await late.reply()
            assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")
            assert reply.header("connection") == "close"
            assert await late.is_closed()
        go.set()
        assert b"[DONE]" in await running.rest()
        finished, _ = await ending
        assert finished


async def test_what_does_not_finish_within_the_grace_is_told_so() -> None:
    async with (
        engines(1, says(SSE_HEAD + token(0), HANG)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        await client.read_until(b"t0 ")
        assert not await served.gateway.shutdown(0.05)
        told = await client.read_until(b"0\r\n\r\n")
        assert b"shutting_down" in told
        assert b"shutting down" in told
        assert served.journal.outcomes == [Outcome.CUT]


async def test_what_has_not_begun_within_the_grace_is_told_to_go_elsewhere() -> None:
    async with (
        engines(1, says(HANG)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        await asked(*fleet)
        assert not await served.gateway.shutdown(0.05)
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (503, "shutting_down")
        assert served.journal.outcomes == [Outcome.SHED]
        await soon(fleet[0].requests[0].left.wait())
