"""Connections to engines: whose they are, how long they are kept, whose fault it is without one."""

from __future__ import annotations

import asyncio
import errno
import time
from typing import TYPE_CHECKING, Any, cast

import pytest
from cardan.health import Verdict
from cardan.ledger import Outcome
from cardan_router.limits import TimeoutsConfig, UpstreamConfig
from cardan_router.upstream.pools import COMPLAIN_S

from tests.fakes.client import chat, connect, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import CLOSE, DONE, LAST_CHUNK, SSE_HEAD, Seen, Step, engines, plain, token
from tests.fakes.gateway import serving
from tests.fakes.waiting import soon, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_router.flight import Flight
    from cardan_router.upstream.connection import EngineConnection

    from tests.fakes.gateway import Served

FULL = plain(b"{}", "503 Service Unavailable")


def gone(served: Served) -> None:
    """Discovery names no endpoint any more."""
    now = served.gateway.clock()
    served.gateway.endpoints_left(served.gateway.fleet.update([], now))


@pytest.mark.parametrize("refusal", [[FULL], [FULL[:-2], FULL[-2:]]], ids=["one read", "two"])
async def test_a_connection_that_brought_a_refusal_serves_its_next_request_to_the_end(
    refusal: list[bytes],
) -> None:
    clock = ManualClock()
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        if len(engine.requests) == 1:
            yield from refusal
        else:
            yield SSE_HEAD + token(0)
            yield go
            yield DONE + LAST_CHUNK

    async with engines(1, script) as (engine,), serving([engine], clock=clock) as served:
        async with connect(served.port) as client:
            await client.send(post(chat()))
            assert (await client.reply()).status == 503
            (pool,) = served.gateway.upstreams.pools.values()
            await until(lambda: len(pool) == 1, "the connection to be idle")
            await client.send(post(chat(stream=True)))
            told = await client.read_until(b"t0 ")
            clock.advance(60)
            served.gateway.sweep()
            go.set()
            told += await client.read_until(b"0\r\n\r\n")
            assert b"[DONE]" in told
        assert engine.connections == 1


async def test_what_is_idle_has_nothing_to_discard() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat()))
        await client.reply()
        (pool,) = served.gateway.upstreams.pools.values()
        (connection,) = pool._idle
        connection.discard()
        assert not pool._discarding
        assert pool.take(served.gateway.clock()) is connection
        connection.abandon()


async def test_a_pool_goes_with_its_last_connection() -> None:
    clock = ManualClock()
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        await client.reply()
        assert len(served.gateway.upstreams.pools) == 1
        clock.advance(10)

        def is_forgotten() -> bool:
            served.gateway.sweep()
            return not served.gateway.upstreams.pools

        await until(is_forgotten, "the pool to be forgotten")
        await client.send(post(chat()))
        assert (await client.reply()).status == 200


async def test_a_retry_at_an_endpoint_that_left_leaves_no_pool_behind() -> None:
    clock = ManualClock()
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        if len(engine.requests) == 2:
            yield go
            yield CLOSE
        yield plain()

    async with engines(1, script) as (engine,), serving([engine], clock=clock) as served:
        async with connect(served.port) as client:
            await client.send(post(chat()))
            await client.reply()
            await client.send(post(chat()))
            await until(lambda: len(engine.requests) == 2, "the second to be on its way")
            gone(served)
            go.set()
            assert (await client.reply()).status == 200

            def is_forgotten() -> bool:
                clock.advance(1)
                served.gateway.sweep()
                return not served.gateway.upstreams.pools

            await until(is_forgotten, "the pool to be forgotten")
        await until(lambda: not engine.open_connections, "the connection to be closed")


async def test_nothing_is_read_over_for_an_engine_that_left() -> None:
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        yield go
        yield b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\n\r\n"
        yield asyncio.Event()

    async with (
        engines(1, script) as (engine,),
        serving([engine]) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        await until(lambda: engine.requests, "the engine to be asked")
        gone(served)
        go.set()
        assert (await client.reply()).status == 503
        await soon(engine.requests[0].left.wait())


def fail_dials(monkeypatch: pytest.MonkeyPatch, error: OSError) -> None:
    async def fail(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("cardan_router.upstream.pools.Pool._connect", fail)


@pytest.mark.parametrize("code", [errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL])
async def test_want_of_sockets_here_is_no_fault_of_the_endpoint(
    code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = ManualClock()
    async with engines(2) as fleet, serving(fleet, clock=clock) as served:
        fail_dials(monkeypatch, OSError(code, "for want of something"))
        async with connect(served.port) as client:
            for seconds in (0.0, 1.0, COMPLAIN_S):
                clock.advance(seconds)
                await client.send(post(chat()))
                reply = await client.reply()
                assert (reply.status, reply.json["error"]["code"]) == (500, "internal_error")
        states = served.gateway.fleet.endpoints.values()
        assert {state.health.verdict(clock()) for state in states} == {Verdict.HEALTHY}
        assert served.journal.outcomes == [Outcome.INTERNAL] * 3
        assert caplog.text.count("for want of something") == 2


async def test_a_certificate_that_cannot_be_read_is_no_fault_of_the_endpoint() -> None:
    upstream = UpstreamConfig(tls_ca="/nowhere/ca.pem")

    class Secure:
        url = "https://127.0.0.1:9"

    fleet: list[Any] = [Secure()]
    async with serving(fleet, upstream=upstream) as served, connect(served.port) as client:
        await client.send(post(chat()))
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (500, "internal_error")
        (state,) = served.gateway.fleet.endpoints.values()
        assert state.health.reachable


async def test_an_engine_that_refuses_connections_is_unreachable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        fail_dials(monkeypatch, ConnectionRefusedError(errno.ECONNREFUSED, "refused"))
        await client.send(post(chat()))
        assert (await client.reply()).json["error"]["code"] == "engine_unreachable"
        (state,) = served.gateway.fleet.endpoints.values()
        assert not state.health.reachable


class Caller:
    """Waits for a connection."""

    def __init__(self) -> None:
        self.told: asyncio.Future[EngineConnection | None] = asyncio.Future()

    def on_dialled(self, connection: EngineConnection) -> bool:
        self.told.set_result(connection)
        return True

    def on_unreachable(self) -> None:
        self.told.set_result(None)


async def test_a_loop_that_was_late_looks_at_its_sockets_before_it_says_unreachable() -> None:
    """uvloop runs timers before it polls; a starved process must not think all engines dead."""
    timeouts = TimeoutsConfig(connect_s=0.05)
    async with engines(1) as (engine,), serving([engine], timeouts=timeouts) as served:
        caller = Caller()
        served.gateway.upstreams.pool(engine.url).dial(cast("Flight", caller))
        await asyncio.sleep(0)  # it dials, and then this process gets no turn for a while
        time.sleep(0.2)  # noqa: ASYNC251 - the loop is to be late
        connection = await soon(caller.told)
        assert connection is not None
        connection.abandon()
