"""Whatever an engine or a client does wrong, a request has one honest end.

Before the first byte a request goes elsewhere within its limits; after it, never.
"""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING

import pytest
from cardan.ledger import Outcome
from cardan.scheduler import AdmissionConfig

from tests.fakes.client import chat, connect, get, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import (
    CLOSE,
    DONE,
    HANG,
    LAST_CHUNK,
    RESET,
    SSE_HEAD,
    FakeEngine,
    Script,
    Seen,
    Step,
    chunk,
    engines,
    event,
    plain,
    token,
)
from tests.fakes.gateway import Served, serving
from tests.fakes.waiting import settle, soon, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan_router.flight import Flight

FULL = {"error": {"message": "The request queue is full.", "type": "x", "param": None, "code": 503}}
DYING = "EngineCore encountered an issue. See stack trace (above) for the root cause."
FIXTURE_DYING = {"error": {"message": DYING, "type": "InternalServerError", "code": 500}}


def well(seen: Seen) -> Iterable[Step]:
    """A short stream or a plain answer, as asked."""
    if seen.json.get("stream"):
        yield SSE_HEAD + token(0) + token(1) + DONE + LAST_CHUNK
    else:
        yield plain()


def says(*steps: Step) -> Script:
    """A script of fixed steps."""

    def script(_: Seen) -> Iterable[Step]:
        yield from steps

    return script


async def asked(*fleet: FakeEngine, times: int = 1) -> None:
    """Wait until these engines have been asked so often in all."""
    await until(lambda: sum(len(e.requests) for e in fleet) == times, "the engines to be asked")


async def begun(served: Served) -> None:
    """Wait until an answer has begun."""
    await until(lambda: any(f.status for f in served.gateway.flights), "an answer to begin")


async def first_is(fleet: list[FakeEngine], *steps: Step) -> None:
    """Whichever engine is asked first does this, the others are well."""
    asked: list[bool] = []

    def script(seen: Seen) -> Iterable[Step]:
        if asked:
            yield from well(seen)
        else:
            asked.append(True)
            yield from steps

    for engine in fleet:
        engine.script = script


REFUSALS = {
    "503": [plain(json.dumps(FULL).encode(), "503 Service Unavailable")],
    "503 in two reads": [
        b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 10\r\n\r\n",
        b"0123456789",
    ],
    "503 without length": [b"HTTP/1.1 503 Service Unavailable\r\n\r\nbusy", CLOSE],
    "429": [plain(b"{}", "429 Too Many Requests")],
    "a refusal inside a 200 stream": [SSE_HEAD + chunk(event(FULL)) + DONE + LAST_CHUNK],
    "the same in pieces, after comments": [
        SSE_HEAD,
        chunk(b": keep-alive\n\n"),
        chunk(event(FULL)[:9]),
        chunk(event(FULL)[9:]),
        DONE,
        LAST_CHUNK,
    ],
    "an Anthropic overload inside a stream": [
        SSE_HEAD
        + chunk(b"event: error\n" + event({"type": "error", "error": {"type": "overloaded_error"}}))
        + LAST_CHUNK
    ],
    "500 from an engine that drains": [
        plain(
            b'{"error":{"message":"cannot schedule new futures after shutdown"}}',
            "500 Internal Server Error",
        )
    ],
}


@pytest.mark.parametrize("steps", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_goes_elsewhere_and_is_no_fault_of_the_endpoint(steps: list[Step]) -> None:
    async with engines(3) as fleet, serving(fleet) as served, connect(served.port) as client:
        await first_is(fleet, *steps)
        await client.send(post(chat(stream=True)))
        reply = await client.reply()
        assert reply.status == 200
        assert reply.events[-1] == "[DONE]"
        (flight,) = served.journal.flights
        assert flight.exchange.attempts == 2
        assert flight.exchange.outcome is Outcome.OK
        assert all(s.health.failures == 0 for s in served.gateway.fleet.endpoints.values())


BREAKS = {
    "reset before any byte": [RESET],
    "close before any byte": [CLOSE],
    "half a head": [b"HTTP/1.1 200 OK\r\ncontent-le", CLOSE],
    "not HTTP": [b"\x16\x03\x01 hello\r\n\r\n"],
    "a folded header": [b"HTTP/1.1 200 OK\r\na: b\r\n c\r\ncontent-length: 0\r\n\r\n"],
    "both framings": [
        b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n"
    ],
    "two lengths": [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n"],
    "an upgrade": [b"HTTP/1.1 101 Switching Protocols\r\n\r\n"],
    "a head of a stream, then nothing": [SSE_HEAD, CLOSE],
    "a head of a stream, comments, then nothing": [SSE_HEAD, chunk(b": hi\n\n"), RESET],
    "a head with a length, then nothing": [b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", CLOSE],
    "a bad first chunk": [SSE_HEAD + b"zz\r\n"],
    "a core that died, as an error": [
        plain(json.dumps(FIXTURE_DYING).encode(), "500 Internal Server Error")
    ],
    "a core that died, as the first event": [
        SSE_HEAD + chunk(event(FIXTURE_DYING)) + DONE + LAST_CHUNK
    ],
}


@pytest.mark.parametrize("steps", BREAKS.values(), ids=BREAKS.keys())
async def test_a_break_before_the_first_byte_goes_elsewhere(steps: list[Step]) -> None:
    async with engines(3) as fleet, serving(fleet) as served, connect(served.port) as client:
        await first_is(fleet, *steps)
        await client.send(post(chat(stream=True)))
        reply = await client.reply()
        assert reply.status == 200
        assert reply.events[-1] == "[DONE]"
        (flight,) = served.journal.flights
        assert flight.exchange.attempts == 2


@pytest.mark.parametrize("steps", BREAKS.values(), ids=BREAKS.keys())
async def test_a_poisonous_request_visits_two_engines_and_no_more(steps: list[Step]) -> None:
    async with engines(5, says(*steps)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            reply = await client.reply()
        assert reply.status == 502
        assert reply.json["error"]["code"] == "engine_reset"
        assert sum(len(engine.requests) for engine in fleet) == 2


async def test_a_poisonous_request_over_kept_connections_visits_two_engines() -> None:
    """An engine that dies at once looks like a keep-alive that timed out; it is still counted."""
    async with engines(5) as fleet, serving(fleet) as served, connect(served.port) as client:
        for _ in range(5):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        for engine in fleet:
            engine.script = says(RESET)
        await client.send(post(chat("poison")))
        assert (await client.reply()).status == 502
        killed = {
            engine.port for engine in fleet for seen in engine.requests if b"poison" in seen.body
        }
        assert len(killed) <= 2


async def test_a_request_that_kills_engines_kills_two_at_most() -> None:
    """A killed engine refuses the next connection, which by itself says nothing."""
    async with engines(5) as fleet, serving(fleet) as served, connect(served.port) as client:
        for _ in range(5):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        killing: list[asyncio.Task[None]] = []

        def die(engine: FakeEngine) -> Script:
            def script(_: Seen) -> Iterable[Step]:
                killing.append(asyncio.ensure_future(engine.stop()))
                yield HANG

            return script

        for engine in fleet:
            engine.script = die(engine)
        await client.send(post(chat("poison")))
        reply = await client.reply()
        await asyncio.gather(*killing)
        assert len(killing) == 2
        assert reply.status in (502, 503)


async def test_a_500_is_an_answer_and_is_not_tried_elsewhere() -> None:
    error = {
        "error": {"message": "boom", "type": "InternalServerError", "param": None, "code": 500}
    }
    answer = plain(json.dumps(error).encode(), "500 Internal Server Error")
    async with engines(3, says(answer)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat()))
            reply = await client.reply()
        assert (reply.status, reply.json) == (500, error)
        assert sum(len(engine.requests) for engine in fleet) == 1
        assert served.journal.outcomes == [Outcome.ENGINE_ERROR]


def begins_to_drain(served: Served, url: str) -> None:
    served.gateway.fleet.drain(url)  # type: ignore[arg-type]


def leaves_the_fleet(served: Served, url: str) -> None:
    fleet = served.gateway.fleet
    others = [state.endpoint for state in fleet.endpoints.values() if state.id != url]
    fleet.update(others, served.gateway.clock())


@pytest.mark.parametrize("goes", [begins_to_drain, leaves_the_fleet])
async def test_a_500_of_an_endpoint_that_goes_is_tried_elsewhere(
    goes: Callable[[Served, str], None],
) -> None:
    async with engines(2) as fleet, serving(fleet) as served, connect(served.port) as client:
        for state in served.gateway.fleet.endpoints.values():
            state.health.not_ready = False
        go = asyncio.Event()
        await first_is(fleet, go, plain(b"{}", "500 Internal Server Error"))
        await client.send(post(chat()))
        await until(lambda: any(e.requests for e in fleet), "the request to arrive")
        goes(served, next(e.url for e in fleet if e.requests))
        go.set()
        assert (await client.reply()).status == 200


async def test_flat_errors_come_back_nested() -> None:
    flat = {
        "object": "error",
        "message": "too long",
        "type": "BadRequest",
        "param": None,
        "code": 400,
    }
    answer = plain(json.dumps(flat).encode(), "400 Bad Request")
    async with engines(1, says(answer)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat()))
            reply = await client.reply()
        assert reply.status == 400
        assert reply.json == {
            "error": {"message": "too long", "type": "BadRequest", "param": None, "code": 400}
        }
        assert served.journal.outcomes == [Outcome.CLIENT_ERROR]


async def test_all_engines_full_is_503_with_retry_after() -> None:
    answer = plain(json.dumps(FULL).encode(), "503 Service Unavailable")
    async with (
        engines(6, says(answer)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        reply = await client.reply()
        assert (reply.status, reply.header("retry-after")) == (503, "1")
        assert reply.json["error"]["code"] == "engine_overloaded"
        assert sum(len(engine.requests) for engine in fleet) == 4
        for engine in fleet:
            engine.script = well
        await client.send(post(chat()))
        assert (await client.reply()).status == 200


async def test_a_dead_engine_costs_no_request() -> None:
    async with engines(3) as fleet, serving(fleet) as served, connect(served.port) as client:
        await fleet[0].stop()
        for _ in range(12):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert served.journal.outcomes == [Outcome.OK] * 12


async def test_no_engine_at_all_is_told_and_waited_for() -> None:
    admission = AdmissionConfig(max_wait_s=0.3)
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


async def test_a_stream_that_is_cut_ends_with_an_error_event() -> None:
    steps = (SSE_HEAD + token(0), token(1), RESET)
    async with engines(3, says(*steps)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            reply = await client.reply()
            assert reply.complete
            assert reply.events[-1]["error"]["code"] == "engine_cut"
            assert "[DONE]" not in reply.events
        assert sum(len(engine.requests) for engine in fleet) == 1
        assert served.journal.outcomes == [Outcome.CUT]


async def test_a_stream_that_is_cut_within_a_chunk_still_ends_with_an_error_event() -> None:
    steps = (SSE_HEAD + token(0), token(1)[:-9], RESET)
    async with (
        engines(1, says(*steps)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        reply = await client.reply()
        assert reply.complete
        last = reply.body.rstrip().split(b"\n\n")[-1]
        assert json.loads(last.removeprefix(b"data: "))["error"]["code"] == "engine_cut"


async def test_a_plain_answer_that_is_cut_is_never_a_short_body() -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 100\r\n\r\n"
    async with (
        engines(1, says(head + b'{"a":', CLOSE)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        with pytest.raises(ConnectionError):
            await client.reply()


async def test_an_answer_that_is_cut_resets_a_client_that_knows_no_framing() -> None:
    head = (
        b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
    )
    async with (
        engines(1, says(head, chunk(b'{"a":'), HANG)) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(), version="1.0"))
        await client.read_until(b'{"a":')
        await fleet[0].stop()
        with pytest.raises(ConnectionResetError):
            await client.read_some()


async def test_an_error_event_inside_a_stream_is_an_engine_error() -> None:
    broken = {"error": {"message": "EngineCore died", "type": "x", "param": None, "code": 500}}
    steps = (SSE_HEAD + token(0), chunk(event(broken)), DONE, LAST_CHUNK)
    async with engines(1, says(*steps)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            reply = await client.reply()
            assert reply.events[1] == broken
        assert served.journal.outcomes == [Outcome.ENGINE_ERROR]


async def test_the_word_error_in_a_text_is_no_error() -> None:
    said = {"choices": [{"index": 0, "delta": {"content": 'say "error" {"error": {"code": 503}}'}}]}
    value = {"choices": [{"index": 0, "delta": {"content": "error"}}]}
    steps = (SSE_HEAD + chunk(event(said)), chunk(event(value)), DONE, LAST_CHUNK)
    async with engines(2, says(*steps)) as fleet, serving(fleet) as served:
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            assert (await client.reply()).events == [said, value, "[DONE]"]
        assert served.journal.outcomes == [Outcome.OK]


@pytest.mark.parametrize("how", ["leave", "reset", "half_close"])
@pytest.mark.parametrize("silent", [True, False])
async def test_a_client_that_leaves_closes_the_engines_connection(how: str, silent: bool) -> None:
    steps: list[Step] = [] if silent else [SSE_HEAD + token(0)]
    async with engines(1, says(*steps, HANG)) as (engine,), serving([engine]) as served:
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            await until(lambda: engine.requests, "the engine to be asked")
            if not silent:
                await client.read_until(b"t0 ")
            getattr(client, how)()
            await soon(engine.requests[0].left.wait())
        await until(lambda: served.journal.flights, "the outcome")
        assert served.journal.outcomes == [Outcome.CLIENT_LEFT]
        assert served.in_flight == 0


async def test_an_engine_that_says_more_than_its_length_is_not_used_again() -> None:
    body = plain(b"{}")
    async with (
        engines(1, says(body + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil")) as (engine,),
        serving([engine]) as served,
        connect(served.port) as client,
    ):
        for _ in range(3):
            await client.send(post(chat()))
            assert (await client.reply()).body == b"{}"
        assert engine.connections == 3


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


async def test_shutdown_lets_streams_finish_and_refuses_what_is_new() -> None:
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        yield SSE_HEAD + token(0)
        yield go
        yield token(1) + DONE + LAST_CHUNK

    async with (
        engines(1, script) as fleet,
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


async def test_get_is_not_allowed_where_post_is() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(get("/v1/chat/completions"))
        reply = await client.reply()
        assert (reply.status, reply.header("allow")) == (405, "OPTIONS, POST")
        assert reply.json["error"]["code"] == "method_not_allowed"
