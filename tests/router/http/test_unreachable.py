"""Engines that cannot be asked now: others are, or a request waits its turn, within limits."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cardan.ledger import Outcome
from cardan.scheduler import AdmissionConfig

from tests.fakes.client import chat, connect, post
from tests.fakes.engine import CLOSE, HANG, Seen, Step, engines, plain
from tests.fakes.gateway import serving
from tests.fakes.scripts import says
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable


async def test_a_dead_engine_costs_no_request() -> None:
    async with engines(3) as fleet, serving(fleet) as served, connect(served.port) as client:
        await fleet[0].stop()
        for _ in range(12):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert served.journal.outcomes == [Outcome.OK] * 12


async def test_no_engine_at_all_is_told_and_waited_for() -> None:
    admission = AdmissionConfig(max_wait_s=1.0)
    async with (
        engines(1) as (engine,),
        serving([engine], admission=admission) as served,
        connect(served.port) as client,
    ):
        await engine.stop()
        await client.send(post(chat()))
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (503, "engine_unreachable")
        assert str(engine.port).encode() not in reply.body
        await engine.start()
        await client.send(post(chat()))
        assert (await client.reply()).status == 200


async def test_requests_over_the_window_wait_their_turn() -> None:
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        yield go
        yield plain()

    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with engines(2, script) as fleet, serving(fleet, admission=admission) as served:

        async def ask() -> int:
            async with connect(served.port) as client:
                await client.send(post(chat()))
                return (await client.reply()).status

        tasks = [asyncio.ensure_future(ask()) for _ in range(6)]
        await until(lambda: len(served.gateway.waiting) == 4, "four to wait")
        await until(lambda: sum(len(engine.requests) for engine in fleet) == 2, "two to run")
        go.set()
        assert await asyncio.gather(*tasks) == [200] * 6


async def test_a_waiting_client_that_leaves_frees_its_place() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with (
        engines(1, says(HANG)) as fleet,
        serving(fleet, admission=admission) as served,
        connect(served.port) as first,
        connect(served.port) as second,
    ):
        await first.send(post(chat()))
        await until(lambda: served.in_flight == 1, "the first to run")
        await second.send(post(chat()))
        await until(lambda: len(served.gateway.waiting) == 1, "the second to wait")
        second.leave()
        await until(lambda: not served.gateway.waiting, "its place to be free")
        assert not served.gateway.scheduler.queue
        assert served.journal.outcomes == [Outcome.CLIENT_LEFT]


async def test_a_kept_connection_that_the_engine_closed_fails_no_request() -> None:
    """The engine closes in the very moment the request is written, again and again."""

    def script(_: Seen) -> Iterable[Step]:
        yield plain()
        yield CLOSE

    async with (
        engines(1, script) as (engine,),
        serving([engine]) as served,
        connect(served.port) as client,
    ):
        for _ in range(30):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert served.journal.outcomes == [Outcome.OK] * 30


async def test_a_request_on_a_connection_that_dies_under_it_is_sent_again_once() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat()))
        assert (await client.reply()).status == 200
        seen_before = len(engine.requests)

        def script(_: Seen) -> Iterable[Step]:
            if len(engine.requests) == seen_before + 1:
                yield CLOSE
            yield plain()

        engine.script = script
        await client.send(post(chat()))
        assert (await client.reply()).status == 200
        assert served.journal.flights[-1].exchange.attempts == 1
