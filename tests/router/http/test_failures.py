"""Whatever an engine does wrong before its first byte: a request goes elsewhere, within limits."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from cardan.ledger import Outcome
from cardan.lifecycle import Failure

from tests.fakes.client import chat, connect, post
from tests.fakes.draining import drain
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
)
from tests.fakes.gateway import Served, serving
from tests.fakes.scripts import first_is, says, well
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan_router.record import FlightRecord

    from tests.fakes.client import RawClient
    from tests.fakes.engine import FakeEngine


FULL = {"error": {"message": "The request queue is full.", "type": "x", "param": None, "code": 503}}
DYING = "EngineCore encountered an issue. See stack trace (above) for the root cause."
FIXTURE_DYING = {"error": {"message": DYING, "type": "InternalServerError", "code": 500}}


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


async def answered_elsewhere(
    steps: list[Step], fleet: list[FakeEngine], served: Served, client: RawClient
) -> FlightRecord:
    """What is known of a request that met these steps first, and was then answered whole."""
    await first_is(fleet, *steps)
    await client.send(post(chat(stream=True)))
    reply = await client.reply()
    assert reply.status == 200
    assert reply.events[-1] == "[DONE]"
    (flight,) = served.journal.flights
    assert flight.exchange.attempts == 2
    return flight


@pytest.mark.parametrize("steps", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_goes_elsewhere_and_is_no_fault_of_the_endpoint(steps: list[Step]) -> None:
    async with engines(3) as fleet, serving(fleet) as served, connect(served.port) as client:
        flight = await answered_elsewhere(steps, fleet, served, client)
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
        await answered_elsewhere(steps, fleet, served, client)


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


async def test_an_engine_that_dies_while_its_connections_are_in_use_fails_no_request() -> None:
    """A killed process closes its connections first and its listener last: it accepts once more."""
    async with engines(2) as fleet, serving(fleet) as served, connect(served.port) as client:
        for _ in range(8):  # until one of the two has answered on a connection that is kept
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        dying = max(fleet, key=lambda engine: len(engine.requests))
        dying.script = says(RESET)
        for _ in range(8):
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert Failure.CUT in {f for one in served.journal.flights for f in one.exchange.retried}


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
    drain(served.gateway.fleet, url)  # type: ignore[arg-type]


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
