"""What a client sends reaches an engine whole, and what the engine says comes back whole."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING

import pytest
from cardan.ledger import Outcome

from tests.fakes.client import chat, connect, get, post
from tests.fakes.engine import (
    CLOSE,
    DONE,
    LAST_CHUNK,
    SSE_HEAD,
    Seen,
    Step,
    chunk,
    engines,
    event,
    plain,
    token,
)
from tests.fakes.gateway import serving
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterable


def stream(tokens: int) -> list[bytes]:
    """A whole stream."""
    usage = {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": tokens}}
    parts = [SSE_HEAD, *(token(i) for i in range(tokens)), chunk(event(usage))]
    return [*parts, DONE, LAST_CHUNK]


async def test_a_plain_answer_comes_back_with_its_usage_recorded() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(chat()))
        reply = await client.reply()
        assert reply.status == 200
        assert reply.json["choices"][0]["message"]["content"] == "hello"
        assert reply.header("server") is None
        assert reply.header("x-request-id")
        (flight,) = served.journal.flights
        assert flight.exchange.outcome is Outcome.OK
        assert flight.usage is not None
        assert (flight.usage.prompt_tokens, flight.usage.cached_tokens) == (12, 8)


async def test_every_byte_of_the_body_reaches_the_engine() -> None:
    body = (
        b'{ "model":"m",\n\t"messages":[{"role":"user","content":"\\u00e9\\/"}],'
        b' "x-unknown": 1.50e3}'
    )
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(body))
        assert (await client.reply()).status == 200
        assert engine.requests[0].body == body


async def test_a_stream_comes_back_in_order_as_it_is_made() -> None:
    go = asyncio.Event()

    def script(_: Seen) -> Iterable[Step]:
        parts = stream(20)
        yield from parts[:3]
        yield go
        yield from parts[3:]

    async with (
        engines(1, script) as (engine,),
        serving([engine]) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True)))
        first = await client.read_until(b"t1 ")
        assert b"t2 " not in first
        go.set()
        rest = await client.read_until(b"0\r\n\r\n")
        text = (first + rest).decode()
        positions = [text.index(f"t{i} ") for i in range(20)]
        assert positions == sorted(positions)
        (flight,) = served.journal.flights
        assert flight.is_stream
        assert flight.usage is not None
        assert flight.usage.completion_tokens == 20


@pytest.mark.parametrize("size", [0, 1, 65_535, 70_000, 1_000_000])
async def test_bodies_of_any_size_pass_both_ways(size: int) -> None:
    filler = "x" * size

    def script(seen: Seen) -> Iterable[Step]:
        yield plain(seen.body)

    async with (
        engines(1, script) as (engine,),
        serving([engine]) as served,
        connect(served.port) as client,
    ):
        for _ in range(2):
            await client.send(post(chat(filler)))
            reply = await client.reply()
            assert reply.json["messages"][0]["content"] == filler
        assert engine.connections == 1


async def test_a_chunked_request_is_gathered_and_sent_with_its_length() -> None:
    body = json.dumps(chat("chunked")).encode()
    head = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: g\r\ncontent-type: application/json\r\n"
        b"transfer-encoding: chunked\r\n\r\n"
    )
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(head + b"5;ext=1\r\n" + body[:5] + b"\r\n")
        await client.send(b"%x\r\n" % len(body[5:]) + body[5:] + b"\r\n0\r\nx-trailer: 1\r\n\r\n")
        assert (await client.reply()).status == 200
        assert engine.requests[0].body == body
        assert engine.requests[0].header("transfer-encoding") is None


async def test_a_request_in_single_bytes_is_understood() -> None:
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        for byte in post(chat("slowly")):
            await client.send(bytes([byte]))
            await asyncio.sleep(0)
        assert (await client.reply()).status == 200


async def test_pipelined_requests_are_answered_in_order() -> None:
    def script(seen: Seen) -> Iterable[Step]:
        yield plain(seen.body)

    async with (
        engines(3, script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        requests = [post(chat(f"number {i}")) for i in range(10)]
        await client.send(b"".join(requests) + get("/v1/models") + requests[0])
        for i in range(10):
            assert (await client.reply()).json["messages"][0]["content"] == f"number {i}"
        assert (await client.reply()).json["object"] == "list"
        assert (await client.reply()).status == 200


async def test_a_thousand_pipelined_local_requests_do_not_recurse() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(get("/v1/models") * 1000)
        for _ in range(1000):
            assert (await client.reply()).status == 200


async def test_a_thousand_pipelined_chunked_requests_do_not_recurse() -> None:
    one = (
        b"GET /v1/models HTTP/1.1\r\nhost: g\r\ntransfer-encoding: chunked\r\n\r\n"
        b"2\r\nhi\r\n0\r\n\r\n"
    )
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(one * 1000)
        for _ in range(1000):
            assert (await client.reply()).status == 200


async def test_http_1_0_gets_a_body_that_ends_with_the_connection() -> None:
    def script(_: Seen) -> Iterable[Step]:
        yield from stream(5)

    async with (
        engines(1, script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat(stream=True), version="1.0"))
        reply = await client.reply()
        assert reply.header("transfer-encoding") is None
        assert reply.header("connection") == "close"
        assert reply.events[-1] == "[DONE]"
        assert await client.is_closed()


async def test_http_1_0_with_keep_alive_may_ask_again() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        for _ in range(2):
            await client.send(post(chat(), headers=("connection: keep-alive",), version="1.0"))
            reply = await client.reply()
            assert reply.header("connection") == "keep-alive"


async def test_an_answer_that_ends_with_its_connection_is_framed_anew() -> None:
    def script(_: Seen) -> Iterable[Step]:
        yield b"HTTP/1.0 200 OK\r\ncontent-type: application/json\r\n\r\n"
        yield b'{"a": '
        yield b"1}"
        yield CLOSE

    async with (
        engines(1, script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        for _ in range(2):
            await client.send(post(chat()))
            reply = await client.reply()
            assert reply.header("transfer-encoding") == "chunked"
            assert reply.json == {"a": 1}


async def test_connection_close_is_honoured() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(post(chat(), headers=("connection: close",)))
        assert (await client.reply()).header("connection") == "close"
        assert await client.is_closed()


async def test_expect_100_continue_is_answered_before_the_body() -> None:
    request = post(chat("expected"), headers=("expect: 100-continue",))
    split = request.index(b"\r\n\r\n") + 4
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(request[:split])
        assert (await client.reply()).status == 100
        await client.send(request[split:])
        assert (await client.reply()).status == 200
        assert engine.requests[0].header("expect") is None


async def test_interim_answers_of_an_engine_are_skipped() -> None:
    def script(_: Seen) -> Iterable[Step]:
        yield b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n"
        yield plain()

    async with (
        engines(1, script) as fleet,
        serving(fleet) as served,
        connect(served.port) as client,
    ):
        await client.send(post(chat()))
        assert (await client.reply()).status == 200


async def test_models_are_the_fleets_and_each_can_be_asked_for() -> None:
    models = ("m", "org/with space")
    async with (
        engines(2) as fleet,
        serving(fleet, models=models) as served,
        connect(served.port) as client,
    ):
        await client.send(get("/v1/models"))
        assert [model["id"] for model in (await client.reply()).json["data"]] == list(models)
        await client.send(get("/v1/models/org%2Fwith%20space"))
        assert (await client.reply()).json["id"] == "org/with space"
        await client.send(get("/v1/models/none"))
        reply = await client.reply()
        assert (reply.status, reply.json["error"]["code"]) == (404, "model_not_found")


async def test_head_and_options_have_no_body() -> None:
    async with engines(1) as fleet, serving(fleet) as served, connect(served.port) as client:
        await client.send(get("/v1/models", method="HEAD"))
        reply = await client.reply(is_head=True)
        assert reply.status == 200
        assert int(reply.header("content-length") or 0) > 0
        await client.send(get("/v1/chat/completions", method="OPTIONS"))
        reply = await client.reply()
        assert (reply.status, reply.header("allow")) == (204, "OPTIONS, POST")
        assert reply.header("access-control-allow-origin") is None


async def test_a_missing_model_is_the_only_one_there_is() -> None:
    body = chat()
    del body["model"]
    async with engines(1) as (engine,), serving([engine]) as served, connect(served.port) as client:
        await client.send(post(body))
        assert (await client.reply()).status == 200
        assert engine.requests[0].json == body
        assert served.journal.flights[0].call.view.model == "m"


async def test_hundreds_of_streams_at_once_are_all_whole() -> None:
    count, tokens = 500, 8
    all_here = asyncio.Event()

    def script(seen: Seen) -> Iterable[Step]:
        name = seen.json["messages"][0]["content"]
        yield SSE_HEAD + chunk(event({"name": name}))
        yield all_here
        for i in range(tokens):
            yield token(i)
        yield DONE + LAST_CHUNK

    async def one(i: int, port: int) -> None:
        async with connect(port) as client:
            await client.send(post(chat(f"stream {i}", stream=True)))
            reply = await client.reply()
            assert reply.events[0] == {"name": f"stream {i}"}
            texts = [e["choices"][0]["delta"]["content"] for e in reply.events[1:-1]]
            assert texts == [f"t{k} " for k in range(tokens)]
            assert reply.events[-1] == "[DONE]"

    async with engines(4, script) as fleet, serving(fleet) as served:
        tasks = [asyncio.ensure_future(one(i, served.port)) for i in range(count)]
        await until(lambda: sum(e.open_connections for e in fleet) >= count, "all to run", 30)
        assert served.in_flight == count
        all_here.set()
        await asyncio.gather(*tasks)
        assert served.journal.outcomes == [Outcome.OK] * count
