"""After its first byte an answer goes nowhere else: what breaks it off has one honest end."""

from __future__ import annotations

import json

import pytest
from cardan.ledger import Outcome

from tests.fakes.client import chat, connect, post
from tests.fakes.engine import (
    CLOSE,
    DONE,
    HANG,
    LAST_CHUNK,
    RESET,
    SSE_HEAD,
    Step,
    chunk,
    engines,
    event,
    plain,
    token,
)
from tests.fakes.gateway import serving
from tests.fakes.scripts import says
from tests.fakes.waiting import soon, until


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
