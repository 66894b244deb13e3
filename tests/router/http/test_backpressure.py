"""A slow side slows the other; nothing piles up in between."""

from __future__ import annotations

import asyncio
import resource
from typing import TYPE_CHECKING

import pytest
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan_router.http.routes import Local, Response
from cardan_router.limits import LimitsConfig

from tests.fakes.client import chat, connect, get, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import HANG, Seen, Step, engines
from tests.fakes.gateway import serving
from tests.fakes.waiting import settle, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from tests.fakes.client import RawClient
    from tests.fakes.gateway import Served

PIECE = b"x" * 65_536


class Flood:
    """An answer of `pieces` pieces; counts what has been taken from it."""

    def __init__(self, pieces: int, *, sized: bool) -> None:
        self.pieces = pieces
        self.sized = sized
        self.sent = 0

    def script(self, _: Seen) -> Iterable[Step]:
        length = self.pieces * len(PIECE)
        framing = f"content-length: {length}" if self.sized else "transfer-encoding: chunked"
        yield f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n{framing}\r\n\r\n".encode()
        for _i in range(self.pieces):
            yield PIECE if self.sized else b"%x\r\n%b\r\n" % (len(PIECE), PIECE)
            self.sent += len(PIECE)
        if not self.sized:
            yield b"0\r\n\r\n"


async def is_stuck(client: RawClient, data: bytes) -> bool:
    """Send until nothing more is taken; False if 100 MB are."""
    for _ in range(100_000_000 // len(data)):
        try:
            async with asyncio.timeout(0.3):
                await client.send(data)
        except TimeoutError:
            return True
    return False


def is_over(served: Served) -> Callable[[], bool]:
    """Look at deadlines at once, and tell whether all flights have ended."""

    def look() -> bool:
        served.server._checked_at = Monotonic(0.0)
        served.gateway.sweep()
        return not served.gateway.flights

    return look


@pytest.mark.parametrize("sized", [True, False])
async def test_a_reader_that_stalls_stops_the_engine_and_then_gets_everything(sized: bool) -> None:
    flood = Flood(3200, sized=sized)  # 200 MB
    async with (
        engines(1, flood.script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        client.pause()
        before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        await client.send(post(chat()))
        await until(lambda: flood.sent, "the flood to begin")
        seen = -1
        while seen != flood.sent:  # until nothing moves any more
            seen = flood.sent
            await settle(200)
        # The kernel's buffers hold megabytes on both sides; we hold next to nothing.
        assert flood.sent < 40_000_000
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb
        assert grown_kb < 8_000  # of which the fakes' own buffers are the larger part
        client.resume()
        total = 0
        while total < flood.pieces * len(PIECE):
            total += len(await client.read_some())
        await until(lambda: served.journal.flights, "the outcome")
        assert served.journal.outcomes == [Outcome.OK]
        assert served.journal.flights[0].bytes_out == flood.pieces * len(PIECE)


async def test_a_reader_that_stalls_for_too_long_is_cut() -> None:
    clock = ManualClock()
    flood = Flood(800, sized=True)
    async with (
        engines(1, flood.script) as (engine,),
        serving([engine], clock=clock) as served,
        connect(served.port) as client,
    ):
        client.pause()
        await client.send(post(chat()))
        await until(lambda: any(f._paused for f in served.gateway.flights), "a stall")
        clock.advance(200)  # longer than an engine may be silent, but that is not its fault
        served.gateway.sweep()
        await settle()
        assert served.in_flight == 1
        clock.advance(101)
        served.gateway.sweep()
        await soon(engine.requests[0].left.wait())
        assert served.journal.outcomes == [Outcome.CLIENT_LEFT]


async def test_a_client_that_pipelines_without_end_is_read_no_further() -> None:
    async with (
        engines(1, lambda _: [HANG]) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        await until(lambda: served.in_flight, "the first to run")
        assert await is_stuck(client, PIECE)
        (connection,) = served.server._connections
        assert len(connection._held) < 600_000
        client.reset()
        await until(is_over(served), "the lost client to be noticed")
        assert served.journal.outcomes == [Outcome.CLIENT_LEFT]


async def test_a_client_that_reads_no_answers_gets_no_more_of_them() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        client.pause()
        assert await is_stuck(client, get("/v1/models") * 500)
        (connection,) = served.server._connections
        transport = connection._transport
        assert transport is not None
        assert transport.get_write_buffer_size() < 1_000_000
        client.resume()
        assert (await client.reply()).status == 200
        client.reset()


async def test_a_client_that_never_reads_is_not_waited_for_when_its_connection_closes() -> None:
    """Too little is unsent for writing to be paused, so nothing else would ever end it."""
    clock = ManualClock()
    big = Local("/big", lambda _: Response(200, b"x" * 20_000))
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock, routes=(big,)) as served,
        connect(served.port) as client,
    ):
        client.pause()
        await until(lambda: served.server._connections, "the client")
        (connection,) = served.server._connections
        transport = connection._transport
        assert transport is not None
        while not transport.get_write_buffer_size():
            await client.send(get("/big"))
            await settle(5)
        await settle(50)
        assert connection._stalled_since is None
        for seconds in (76, 299):  # keep_alive_s, then less than stalled_reader_s
            clock.advance(seconds)
            served.gateway.sweep()
            await settle()
            assert served.server.connections == 1
        assert transport.is_closing()
        clock.advance(2)
        served.gateway.sweep()
        await until(lambda: not served.server.connections, "the connection to be gone")


async def test_bodies_are_buffered_to_the_limit_and_no_further() -> None:
    limits = LimitsConfig(max_body_bytes=100_000)
    head = b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"
    async with engines(1) as (engine,), serving([engine], limits=limits) as served:
        async with connect(served.port) as client:
            await client.send(head)
            for _ in range(3):
                await client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            await settle()
            await client.send(b"8000\r\n" + b"x" * 0x8000 + b"\r\n")
            reply = await client.reply()
            assert (reply.status, reply.json["error"]["code"]) == (413, "request_too_large")
        assert engine.requests == []


async def test_a_client_that_leaves_while_stalled_closes_the_engine() -> None:
    flood = Flood(1600, sized=False)
    async with engines(1, flood.script) as (engine,), serving([engine]) as served:
        async with connect(served.port) as client:
            client.pause()
            await client.send(post(chat()))
            await until(lambda: any(f._paused for f in served.gateway.flights), "a stall")
            client.reset()
        await soon(engine.requests[0].left.wait())
        await until(lambda: served.journal.flights, "the outcome")
        assert served.journal.outcomes == [Outcome.CLIENT_LEFT]
