"""Malformed and hostile HTTP: never a crash, never an engine asked wrongly, always 4xx or a close.

Each case is sent to a living gateway. It must answer with an error (or close), the engine must get
nothing from it, nothing that follows the bad bytes may be taken for a request, and the gateway must
serve the next client.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import pytest
from cardan.policies import DualMap
from cardan_router.limits import HttpConfig, LimitsConfig

from tests.fakes.client import chat, connect, get, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import engines
from tests.fakes.gateway import serving
from tests.fakes.waiting import settle, soon, until
from tests.router.http.malformed import BODIES, EARLY, PATHS, RAW, SMUGGLED, UNWANTED, P, head

if TYPE_CHECKING:
    from tests.fakes.client import Reply
    from tests.fakes.gateway import Served


def test_the_table_is_long_enough() -> None:
    assert len(RAW) + len(PATHS) + len(BODIES) >= 60


@pytest.mark.parametrize("data", RAW.values(), ids=RAW.keys())
@pytest.mark.parametrize("cut", [None, 7], ids=["whole", "in pieces"])
async def test_bad_bytes_end_the_connection_and_reach_no_engine(
    data: bytes, cut: int | None
) -> None:
    clock = ManualClock()
    async with engines(1) as (engine,), serving([engine], clock=clock) as served:
        async with connect(served.port) as client:
            pieces = [data + SMUGGLED] if cut is None else [data[:cut], data[cut:] + SMUGGLED]
            with contextlib.suppress(ConnectionError):
                for piece in pieces:
                    await client.send(piece)
                    await asyncio.sleep(0)
            reading = asyncio.ensure_future(client.rest())

            def is_over() -> bool:
                clock.advance(1)  # what waits for more runs out of time
                served.gateway.sweep()
                return reading.done()

            await until(is_over, "the connection to be closed")
            answer = await reading
        await _assert_refused(answer)
        assert engine.requests == []
        assert served.in_flight == 0
        async with connect(served.port) as client:
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert [seen.json["messages"][0]["content"] for seen in engine.requests] == ["hello"]


async def _assert_refused(answer: bytes) -> None:
    """An error with a body in OpenAI's form, at least the first time; no 200 ever."""
    assert b"HTTP/1.1 2" not in answer
    if answer:
        status = int(answer.split(b" ", 2)[1])
        assert 400 <= status <= 505
        first_head, _, rest = answer.partition(b"\r\n\r\n")
        assert b"x-request-id: " in first_head
        if b"content-length: 0" not in first_head:
            length = int(first_head.split(b"content-length: ")[1].split(b"\r\n")[0])
            assert json.loads(rest[:length])["error"]["message"]


@pytest.mark.parametrize(("status", "data"), UNWANTED.values(), ids=UNWANTED.keys())
async def test_what_nobody_does_here_is_refused_and_the_next_request_served(
    status: int, data: bytes
) -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(data + post(chat("next")))
        assert (await client.reply()).status == status
        assert (await client.reply()).status == 200
        assert [seen.json["messages"][0]["content"] for seen in engine.requests] == ["next"]


@pytest.mark.parametrize("data", PATHS.values(), ids=PATHS.keys())
async def test_no_path_but_the_listed_ones_reaches_an_engine(data: bytes) -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(data)
        reply = await client.reply()
        assert reply.status in (404, 405)
        assert reply.json["error"]["code"] in ("unknown_url", "method_not_allowed")
        assert engine.requests == []


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
async def test_a_wrong_body_is_told_and_the_connection_lives_on(body: bytes) -> None:
    async with (
        engines(1) as (engine,),
        serving([engine], policy=DualMap()) as served,
        connect(served.port) as client,
    ):
        await client.send(post(body))
        reply = await client.reply()
        assert reply.status in (400, 404)
        assert reply.json["error"]["type"] == "invalid_request_error"
        assert engine.requests == []
        await client.send(post(chat()))
        assert (await client.reply()).status == 200


async def test_the_query_of_a_target_reaches_no_engine() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), f"{P}?admin=1&x=/flush_cache%0d%0a"))
        assert (await client.reply()).status == 200
        assert engine.requests[0].line == f"POST {P} HTTP/1.1"


async def test_an_absolute_target_means_its_path() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat(), f"http://gateway{P}"))
        assert (await client.reply()).status == 200
        assert engine.requests[0].line == f"POST {P} HTTP/1.1"


@pytest.mark.parametrize("data", EARLY.values(), ids=EARLY.keys())
async def test_a_body_over_the_limit_is_refused_before_it_is_sent(data: bytes) -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(data)
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (413, "request_too_large")
        assert reply.header("connection") == "close"
        assert engine.requests == []


async def test_a_client_that_goes_on_sending_still_sees_why_it_was_refused() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(head("content-length: 99999999"))
        for _ in range(20):
            await client.send(b"x" * 50_000)
        assert (await client.reply()).status == 413


@pytest.mark.parametrize("begin", [b"POST /v1", b"GET / HTTP/1.1\r\nhost: g\r\nx: ", b"\r\n", b"G"])
async def test_a_head_that_never_ends_is_cut_while_others_are_served(begin: bytes) -> None:
    clock = ManualClock()
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as slow,
        connect(served.port) as other,
    ):
        await slow.send(begin)
        reading = asyncio.ensure_future(slow.rest())
        seconds = 0
        while not reading.done() and seconds < 30:
            clock.advance(1)
            seconds += 1
            served.gateway.sweep()
            with contextlib.suppress(ConnectionError):
                await slow.send(b"X")
            await other.send(get("/v1/models"))
            assert (await other.reply()).status == 200
        answer = await reading
        assert 9 <= seconds <= 13
        assert b" 408 " in answer.split(b"\r\n")[0]


async def test_a_body_that_trickles_is_cut() -> None:
    clock = ManualClock()
    async with engines(1) as (engine,), serving([engine], clock=clock) as served:
        async with connect(served.port) as client:
            await client.send(head("content-length: 5000"))
            reading = asyncio.ensure_future(client.reply())

            async def trickle() -> None:
                while not reading.done():
                    await client.send(b"x")
                    clock.advance(9.8)
                    served.gateway.sweep()
                    await settle()

            await soon(trickle())
            reply = await reading
            assert (reply.status, reply.json["error"]["code"]) == (408, "request_timeout")
        assert engine.requests == []


async def test_an_idle_connection_is_closed_after_its_time() -> None:
    clock = ManualClock()
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as client,
    ):
        await client.send(get("/v1/models"))
        await client.reply()
        clock.advance(74)
        served.gateway.sweep()
        await client.send(get("/v1/models"))
        assert (await client.reply()).status == 200
        clock.advance(76)
        served.gateway.sweep()
        assert await client.is_closed()


async def test_a_head_that_cannot_be_read_is_answered_in_its_own_terms() -> None:
    """After HEAD, with an id and an origin, of HTTP/1.0: nothing of that is this one's."""
    first = ("x-request-id: FIRST", "origin: https://a.b", "connection: keep-alive")
    http = HttpConfig(cors_origins=("*",))
    for bad in (b"BAD\x00 / HTTP/1.1\r\n\r\n", b"GET /v1/models HT"):
        clock = ManualClock()
        async with (
            engines(1) as fleet,
            serving(fleet, clock=clock, http=http) as served,
            connect(served.port) as client,
        ):
            for request in (
                post(chat(), headers=first),
                get("/v1/models", first, method="HEAD").replace(b"HTTP/1.1", b"HTTP/1.0"),
            ):
                await client.send(request)
                is_head = request.startswith(b"HEAD")
                assert (await client.reply(is_head=is_head)).header("x-request-id") == "FIRST"
            await client.send(bad)
            reading = asyncio.ensure_future(client.reply())

            def is_answered(
                clock: ManualClock = clock,
                served: Served = served,
                reading: asyncio.Future[Reply] = reading,
            ) -> bool:
                clock.advance(1)
                served.gateway.sweep()
                return reading.done()

            await until(is_answered, "an answer")
            reply = await reading
            assert reply.status in (400, 408)
            assert reply.json["error"]["message"]
            assert (reply.header("x-request-id") or "").startswith("req-")
            assert reply.header("access-control-allow-origin") is None
            assert reply.header("connection") == "close"
            assert served.journal.refused[0][1] == ""


async def test_more_clients_than_allowed_are_turned_away() -> None:
    async with (
        engines(1) as fleet,
        serving(fleet, limits=LimitsConfig(max_connections=1)) as served,
    ):
        async with connect(served.port) as first:
            await first.send(get("/v1/models"))
            await first.reply()
            async with connect(served.port) as second:
                assert await second.is_closed()
        async with connect(served.port) as third:
            await third.send(get("/v1/models"))
            assert (await third.reply()).status == 200
