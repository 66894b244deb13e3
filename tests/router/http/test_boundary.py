"""A fault of the gateway's own ends one request: it is told, its lease closed, no other is hurt."""

from __future__ import annotations

import asyncio
import functools
import json
from typing import TYPE_CHECKING, Any

import pytest
from cardan.endpoint import Endpoint
from cardan.ledger import Outcome
from cardan.scheduler import AdmissionConfig
from cardan_router.flight import Flight
from cardan_router.http.answer import Answer
from cardan_router.http.connection import HttpConnection
from cardan_router.upstream.connection import EngineConnection

from tests.fakes.client import chat, connect, get, post
from tests.fakes.clock import ManualClock
from tests.fakes.engine import DONE, HANG, LAST_CHUNK, SSE_HEAD, Seen, Step, engines, plain, token
from tests.fakes.gateway import MODEL, serving
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tests.fakes.gateway import Served


class Bug(Exception):  # noqa: N818 - not an error anybody expects
    """What nobody thought of."""


def broken(*_: Any, **__: Any) -> Any:
    """A function with a bug."""
    raise Bug


class Unwilling(list[float]):
    """Takes nothing."""

    append = broken


def well(seen: Seen) -> Iterable[Step]:
    """A stream or a plain answer, as asked."""
    if seen.json.get("stream"):
        yield SSE_HEAD + token(0)
        yield token(1) + DONE + LAST_CHUNK
    else:
        yield plain()


class InReads:
    """An engine whose first answer comes in as many reads as it has pieces."""

    def __init__(self, *pieces: bytes) -> None:
        self.pieces = pieces
        self.is_asked = False
        self.go = [asyncio.Event() for _ in pieces]

    def script(self, seen: Seen) -> Iterable[Step]:
        """See `FakeEngine`."""
        if self.is_asked:
            yield from well(seen)
            return
        self.is_asked = True
        for piece, go in zip(self.pieces, self.go, strict=True):
            yield go
            yield piece

    async def answer(self, served: Served) -> None:
        """Let piece after piece go when the one before it has been looked at."""
        for go in self.go:
            before = progress(served)
            if before:
                go.set()
                await until(functools.partial(has_moved, served, before), "a piece to be seen")


def progress(served: Served) -> list[tuple[int, int]]:
    """How far each flight has come."""
    return [(flight._phase, flight.reads) for flight in served.gateway.flights]


def has_moved(served: Served, before: list[tuple[int, int]]) -> bool:
    """Has one come further, or ended?"""
    return progress(served) != before


# The call with a bug, and an answer that comes to it.
WHERE = {
    "on_dialled": (plain(),),
    "on_whole": (plain(),),
    "on_head": (plain()[:-20], plain()[-20:]),
    "on_data": (SSE_HEAD + token(0), token(1) + DONE + LAST_CHUNK),
    "on_end": (SSE_HEAD + token(0), token(1) + DONE + LAST_CHUNK),
}


@pytest.mark.parametrize("where", WHERE)
async def test_a_bug_in_a_flight_is_told_and_the_next_request_served(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = InReads(*WHERE[where])
    async with (
        engines(1, engine.script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        with monkeypatch.context() as patched:
            patched.setattr(Flight, where, broken)
            await client.send(post(chat()))
            await until(lambda: served.gateway.flights or served.journal.flights, "a flight")
            await engine.answer(served)
            reply = await client.reply()
        engine.is_asked = True
        has_begun = where == "on_end"
        assert b"internal_error" in reply.body
        assert reply.status == (200 if has_begun else 500)
        assert served.journal.outcomes == [Outcome.CUT if has_begun else Outcome.INTERNAL]
        assert served.in_flight == 0
        await client.send(post(chat()))
        assert (await client.reply()).status == 200
        await until(lambda: fleet[0].open_connections == 1, "the other connection to be closed")


@pytest.mark.parametrize("stream", [True, False])
async def test_a_bug_in_the_telling_is_a_cut(stream: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with engines(1, well) as fleet, serving(fleet) as served:
        with monkeypatch.context() as patched:
            patched.setattr(Answer, "head", broken)
            patched.setattr(Answer, "reject", broken)
            async with connect(served.port) as client:
                await client.send(post(chat(stream=stream)))
                assert b"200 OK" not in await client.rest()
                await until(lambda: served.journal.flights, "the outcome")
        assert served.in_flight == 0


async def test_a_head_that_cannot_be_written_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        for _ in range(2):  # once on a fresh connection, once on a kept one
            with monkeypatch.context() as patched:
                patched.setattr(EngineConnection, "send", broken)
                await client.send(post(chat()))
                assert (await client.reply()).status == 500
            await client.send(post(chat()))
            assert (await client.reply()).status == 200
        assert served.journal.outcomes == [Outcome.INTERNAL, Outcome.OK] * 2


@pytest.mark.parametrize("stream", [True, False])
async def test_a_receipt_names_endpoints_in_any_script(stream: bool) -> None:
    async with engines(1, well) as (engine,), serving([engine]) as served:
        named = Endpoint(url=engine.url, name="gpu-東京 \u007f", models=(MODEL,))
        served.gateway.fleet.update([named], served.gateway.clock())
        async with connect(served.port) as client:
            await client.send(post(chat(stream=stream), headers=("x-cardan-explain: 1",)))
            reply = await client.reply()
            assert reply.status == 200
            told = reply.header("x-cardan-explain")
            assert told is not None
            assert told.isascii()
            assert told.isprintable()
            assert json.loads(told)["endpoint"] == "gpu-東京 \x7f"


async def test_one_flight_with_a_bug_does_not_keep_the_others_from_their_deadlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    check = Flight.check

    def sometimes(flight: Flight, now: Any) -> None:
        if flight.call.view.request_id == "bad":
            raise Bug
        check(flight, now)

    monkeypatch.setattr(Flight, "check", sometimes)
    async with (
        engines(1, lambda _: [HANG]) as fleet,
        serving(fleet) as served,
        connect(served.port) as bad,
        connect(served.port) as good,
    ):
        await bad.send(post(chat(), headers=("x-request-id: bad",)))
        await good.send(post(chat(), headers=("x-request-timeout-ms: 1",)))
        assert (await bad.reply()).status == 500
        assert (await good.reply()).status == 504


async def test_a_sweeper_with_a_bug_is_told_of_once_and_the_others_are_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    called: list[float] = []
    async with engines(1) as fleet, serving(fleet) as served:
        served.gateway.sweepers[:0] = [broken]
        served.gateway.sweepers.append(called.append)
        served.gateway.sweep()
        served.gateway.sweep()
        assert len(called) >= 2
        assert caplog.text.count("Traceback") == 1


@pytest.mark.parametrize("told", [True, False])
async def test_a_bug_that_meets_one_who_waits_is_its_own_alone(
    told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wake = Flight.wake
    reject = Answer.reject

    def seldom(answer: Answer, *given: Any) -> None:
        if answer.request_id == "bad":
            raise Bug
        reject(answer, *given)

    if not told:
        monkeypatch.setattr(Answer, "reject", seldom)

    def sometimes(flight: Flight, now: Any) -> bool:
        if flight.call.view.request_id == "bad":
            raise Bug
        return wake(flight, now)

    monkeypatch.setattr(Flight, "wake", sometimes)
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with (
        engines(1, lambda _: [HANG]) as fleet,
        serving(fleet, admission=admission) as served,
        connect(served.port) as first,
        connect(served.port) as bad,
        connect(served.port) as good,
    ):
        await first.send(post(chat()))
        await until(lambda: served.in_flight, "the first to run")
        await bad.send(post(chat(), headers=("x-request-id: bad",)))
        await good.send(post(chat()))
        if told:
            assert (await bad.reply()).status == 500
        else:
            assert b"500" not in await bad.rest(), "a cut is all that can be told"
        assert len(served.gateway.scheduler.queue) == 1
        fleet[0].script = well
        first.leave()
        assert (await good.reply()).status == 200


async def test_a_recorder_with_a_bug_loses_records_and_nothing_else(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with engines(1, well) as fleet, serving(fleet) as served, connect(served.port) as client:
        with monkeypatch.context() as patched:
            patched.setattr(served.journal, "flight_ended", broken)
            for stream in (True, False):
                await client.send(post(chat(stream=stream)))
                assert (await client.reply()).status == 200
        assert served.in_flight == 0


async def test_a_stream_with_a_bug_in_its_middle_ends_with_an_error_event(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = InReads(SSE_HEAD + token(0), token(1), DONE + LAST_CHUNK)
    async with engines(1, engine.script) as fleet, serving(fleet) as served:
        monkeypatch.setattr(served.journal, "gaps", Unwilling())
        async with connect(served.port) as client:
            await client.send(post(chat(stream=True)))
            await until(lambda: served.gateway.flights, "a flight")
            await engine.answer(served)
            reply = await client.reply()
            assert reply.events[-1]["error"]["code"] == "internal_error"
            assert b"[DONE]" not in reply.body
        assert served.journal.outcomes == [Outcome.CUT]


async def test_one_client_with_a_bug_does_not_keep_the_others_from_their_deadlines(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = ManualClock()
    async with (
        engines(1) as fleet,
        serving(fleet, clock=clock) as served,
        connect(served.port) as one,
        connect(served.port) as other,
    ):
        await until(lambda: served.server.connections == 2, "both to be connected")
        with monkeypatch.context() as patched:
            patched.setattr(HttpConnection, "check", broken)
            clock.advance(2)
            served.gateway.sweep()
        assert await one.is_closed()
        assert await other.is_closed()


async def test_get_is_not_allowed_where_post_is() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(get("/v1/chat/completions"))
        reply = await client.reply()
        assert (reply.status, reply.header("allow")) == (405, "OPTIONS, POST")
        assert reply.json["error"]["code"] == "method_not_allowed"
