"""Silence and deadlines: how long a request is waited for, before its first byte and after it."""

from __future__ import annotations

import asyncio
import functools
from typing import TYPE_CHECKING

from cardan.ledger import Outcome

from tests.fakes.client import chat, connect, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import DONE, HANG, LAST_CHUNK, SSE_HEAD, Seen, Step, chunk, engines, token
from tests.fakes.gateway import serving
from tests.fakes.scripts import asked, begun, says
from tests.fakes.waiting import settle, soon, until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_router.flight import Flight


async def test_a_request_deadline_ends_it_before_and_within_a_stream() -> None:
    clock = ManualClock()
    for steps, last in (((), None), ((SSE_HEAD + token(0),), "deadline_exceeded")):
        async with (
            engines(1, says(*steps, HANG)) as (engine,),
            serving([engine], clock=clock) as served,
            connect(served.port) as client,
        ):
            await client.send(post(chat(stream=True), headers=("x-request-timeout-ms: 1500",)))
            await asked(engine)
            if steps:
                await begun(served)
            clock.advance(1.4)
            served.gateway.sweep()
            await settle()
            assert served.in_flight == 1
            clock.advance(0.2)
            served.gateway.sweep()
            reply = await client.reply()
            assert served.journal.outcomes == [Outcome.DEADLINE]
            if last is None:
                assert (reply.status, reply.json["error"]["code"]) == (504, "deadline_exceeded")
            else:
                assert reply.events[-1]["error"]["code"] == last
            await soon(engine.requests[0].left.wait())


async def test_silence_of_an_engine_is_a_time_out() -> None:
    clock = ManualClock()
    async with (
        engines(3, says(HANG)) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        for times in (1, 2):
            await asked(*fleet, times=times)
            clock.advance(601)
            served.gateway.sweep()
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (504, "engine_timeout")
        assert sum(len(engine.requests) for engine in fleet) == 2


async def test_silence_within_a_stream_is_an_error_event() -> None:
    clock = ManualClock()
    async with (
        engines(1, says(SSE_HEAD + token(0), HANG)) as (engine,),
        serving([engine], clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        await client.read_until(b"t0 ")
        clock.advance(119)
        served.gateway.sweep()
        assert served.in_flight == 1
        clock.advance(2)
        served.gateway.sweep()
        assert b"engine_timeout" in await client.read_until(b"0\r\n\r\n")
        await soon(engine.requests[0].left.wait())
        assert served.journal.outcomes == [Outcome.TIMEOUT]


def holds(flight: Flight, comments: int) -> bool:
    """Has so much come of an answer that is held?"""
    return flight._held.count(b"keep-alive") == comments


async def test_comments_before_the_first_event_are_no_beginning() -> None:
    clock = ManualClock()
    more = [asyncio.Event() for _ in range(3)]

    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD
        for go in more:
            yield go
            yield chunk(b": keep-alive\n\n")
        yield HANG

    async with (
        engines(1, script) as (engine,),
        serving([engine], clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        await until(lambda: engine.requests, "the engine to be asked")
        (flight,) = served.gateway.flights
        for i, go in enumerate(more):
            go.set()
            await until(functools.partial(holds, flight, i + 1), "a comment")
            clock.advance(199)
            served.gateway.sweep()
            assert served.in_flight == 1
        assert flight.exchange.first_byte_at is None
        clock.advance(4)
        served.gateway.sweep()
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (504, "engine_timeout")
        await soon(engine.requests[0].left.wait())


async def test_comments_within_a_stream_are_life() -> None:
    clock = ManualClock()
    more = [asyncio.Event() for _ in range(3)]

    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD + token(0)
        for go in more:
            yield go
            yield chunk(b": keep-alive\n\n")
        yield DONE + LAST_CHUNK

    async with (
        engines(1, script) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        await client.read_until(b"t0 ")
        for go in more:
            clock.advance(119)
            served.gateway.sweep()
            go.set()
            await client.read_until(b": keep-alive")
        assert served.journal.gaps == []
        await until(lambda: served.journal.flights, "the outcome")
        assert served.journal.outcomes == [Outcome.OK]
