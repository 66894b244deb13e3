"""Calls of `Inference` over a real port: what goes in, what comes out, and how it ends."""

from __future__ import annotations

import asyncio

import grpc
import orjson
import pytest
from cardan.policies import policy_named
from cardan.queues import QueuesConfig
from cardan.scheduler import AdmissionConfig
from cardan_router.keys import Caller
from cardan_router.limits import LimitsConfig
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2, receipt_pb2
from google.protobuf import json_format
from grpc import aio

from tests.fakes.ports import held_port
from tests.fakes.waiting import until
from tests.router.grpc.calls import failed, piece_of, read, text_of
from tests.router.grpc.door import MODEL, chat, door, failure
from tests.router.grpc.engine import DONE, Ask, chunk, engine, event, write_json, write_stream_head


class OneKey:
    """Knows one key."""

    def find(self, key: str) -> Caller | None:
        return Caller("alice") if key == "secret-of-alice" else None


async def test_a_stream_is_the_unary_answer_in_pieces() -> None:
    async with engine() as one, door([one.url]) as gate:
        pieces = await read(gate.inference.Generate(chat()))
        whole = await gate.inference.GenerateUnary(chat())
        assert text_of(pieces) == text_of([whole]) == "w0 w1 w2 "
        assert pieces[-1].usage == whole.usage
        assert (whole.usage.completion_tokens, whole.usage.cached_tokens) == (3, 2)
        assert [ask.path for ask in one.asks] == ["/v1/chat/completions"] * 2
        assert one.asks[0].body["stream_options"] == {"include_usage": True}
        assert "stream" not in one.asks[1].body


async def test_text_and_token_ids_go_to_completions() -> None:
    async with engine() as one, door([one.url]) as gate:
        for request in (
            inference_pb2.GenerateRequest(model=MODEL, text="once"),
            inference_pb2.GenerateRequest(token_ids=prompt_pb2.TokenIds(ids=[1, 2, 3])),
        ):
            assert text_of(await read(gate.inference.Generate(request))) == "w0 w1 w2 "
        assert [ask.path for ask in one.asks] == ["/v1/completions"] * 2
        assert [ask.body["prompt"] for ask in one.asks] == ["once", [1, 2, 3]]


async def test_texts_become_vectors() -> None:
    async with engine() as one, door([one.url]) as gate:
        request = inference_pb2.EmbedRequest(
            model=MODEL,
            inputs=[inference_pb2.EmbedInput(text="a"), inference_pb2.EmbedInput(text="bcd")],
            explain=True,
        )
        answer = await gate.inference.Embed(request)
        assert [list(e.values) for e in answer.embeddings] == [[0.0, 1.0], [1.0, 3.0]]
        assert answer.receipt.endpoint == "e0"


async def test_the_models_of_the_fleet_are_listed() -> None:
    async with engine() as one, door([one.url]) as gate:
        answer = await gate.inference.ListModels(inference_pb2.ListModelsRequest())
        assert [model.id for model in answer.models] == [MODEL]


async def test_metadata_is_read_as_headers_are() -> None:
    async with engine() as one, door([one.url]) as gate:
        metadata = (
            ("x-request-id", "mine-1"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-slo-ttft-ms", "1234"),
            ("authorization", "Bearer not-for-engines"),
            ("x-data-parallel-rank", "3"),
            ("x-blob-bin", b"\x00"),
        )
        call = gate.inference.GenerateUnary(chat(), metadata=metadata)
        await call
        assert dict(await call.trailing_metadata())["x-request-id"] == "mine-1"
        headers = one.asks[0].headers
        assert headers["x-request-id"] == "mine-1"
        assert headers["traceparent"].startswith("00-4bf9")
        assert headers["content-type"] == "application/json"
        assert not {"authorization", "x-data-parallel-rank", "te", "x-blob-bin"} & set(headers)


async def test_a_wrong_header_is_named() -> None:
    async with engine() as one, door([one.url]) as gate:
        got = await failed(
            gate.inference.GenerateUnary(chat(), metadata=(("x-slo-ttft-ms", "soon"),))
        )
        assert (got.code, got.field) == ("INVALID_ARGUMENT", "x-slo-ttft-ms")


async def test_engine_control_fields_never_reach_an_engine() -> None:
    async with engine() as one, door([one.url]) as gate:
        request = chat()
        request.extra.update({"bootstrap_host": "evil", "guided_regex": "a+"})
        await gate.inference.GenerateUnary(request)
        assert "bootstrap_host" not in one.asks[0].body
        assert one.asks[0].body["guided_regex"] == "a+"


async def test_a_receipt_comes_in_the_message_or_in_the_metadata_as_asked() -> None:
    async with engine() as one, engine() as two, door([one.url, two.url]) as gate:
        pieces = await read(gate.inference.Generate(chat(explain=True)))
        assert pieces[0].receipt.endpoint == "e0"
        assert not any(piece.HasField("receipt") for piece in pieces[1:])
        metadata = (("x-cardan-explain", "1"), ("x-request-id", "mine-2"))
        call = gate.inference.Generate(chat(), metadata=metadata)
        pieces = await read(call)
        assert dict(await call.initial_metadata())["x-request-id"] == "mine-2"
        assert '"endpoint":"e1"' in dict(await call.initial_metadata())["x-cardan-explain"]
        assert not pieces[0].HasField("receipt")


async def test_the_receipt_as_a_message_says_all_that_the_one_in_json_says() -> None:
    async with engine() as one, door([one.url], policy=policy_named("dualmap")) as gate:
        call = gate.inference.GenerateUnary(
            chat(explain=True), metadata=(("x-cardan-explain", "1"),)
        )
        answer = await call
        told = orjson.loads(dict(await call.initial_metadata())["x-cardan-explain"])
        assert told.pop("request_id") == dict(await call.trailing_metadata())["x-request-id"]
        message = json_format.MessageToDict(
            answer.receipt,
            preserving_proto_field_name=True,
            always_print_fields_with_no_presence=True,
        )
        assert message.keys() == told.keys()
        assert message["candidates"][0].keys() == told["candidates"][0].keys()
        assert message["predicted_ttft_s"] == told["predicted_ttft_s"]
        assert message["reason"] == f"DECISION_REASON_{told['reason'].upper()}"


async def test_without_the_key_nobody_is_let_in() -> None:
    async with engine() as one, door([one.url], keys=OneKey()) as gate:
        for metadata in ((), (("authorization", "Bearer wrong"),)):
            got = await failed(gate.inference.GenerateUnary(chat(), metadata=metadata))
            assert (got.code, got.reason) == ("UNAUTHENTICATED", "INVALID_API_KEY")
        with pytest.raises(aio.AioRpcError) as raised:
            await read(gate.inference.Generate(chat()))
        assert raised.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert not one.asks
        await gate.inference.GenerateUnary(
            chat(), metadata=(("authorization", "Bearer secret-of-alice"),)
        )


async def test_an_unknown_model_is_not_found() -> None:
    async with engine() as one, door([one.url]) as gate:
        request = chat()
        request.model = "other"
        got = await failed(gate.inference.GenerateUnary(request))
        assert (got.code, got.reason) == ("NOT_FOUND", "MODEL_NOT_FOUND")


async def test_a_wrong_request_names_its_field() -> None:
    async with engine() as one, door([one.url]) as gate:
        got = await failed(gate.inference.GenerateUnary(inference_pb2.GenerateRequest(model=MODEL)))
        assert (got.code, got.field) == ("INVALID_ARGUMENT", "prompt")
        assert not one.asks


async def test_a_full_queue_says_when_to_come_again() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_queued_requests=1)
    async with engine() as one, door([one.url], admission=admission) as gate:
        one.go_on.clear()
        calls = [asyncio.ensure_future(read(gate.inference.Generate(chat()))) for _ in range(2)]
        await until(lambda: len(gate.gateway.scheduler.queue) == 1)
        got = await failed(gate.inference.GenerateUnary(chat()))
        assert (got.code, got.reason) == ("RESOURCE_EXHAUSTED", "QUEUE_FULL")
        assert got.retry_s == 1.0
        one.go_on.set()
        assert [text_of(pieces) for pieces in await asyncio.gather(*calls)] == ["w0 w1 w2 "] * 2


async def test_the_receipt_of_who_waited_its_turn_says_where() -> None:
    admission = AdmissionConfig(queues=QueuesConfig(window=1))
    async with engine() as one, door([one.url], admission=admission) as gate:
        one.go_on.clear()
        first = asyncio.ensure_future(read(gate.inference.Generate(chat(max_tokens=1))))
        await until(lambda: gate.open_leases == 1)
        second = asyncio.ensure_future(gate.inference.GenerateUnary(chat(explain=True)))
        await until(lambda: len(gate.gateway.scheduler.queues or ()) == 1)
        one.go_on.set()
        await first
        told = (await second).receipt.assigned
        assert (told.endpoint, told.migrations) == ("e0", 0)
        assert told.waited_s > 0
        assert told.reason == receipt_pb2.DECISION_REASON_POLICY


async def test_an_engine_that_is_gone_is_unavailable_and_says_when_to_come_again() -> None:
    with held_port() as port:
        async with door([f"http://127.0.0.1:{port}"]) as gate:
            got = await failed(gate.inference.GenerateUnary(chat()))
        assert (got.code, got.reason, got.retry_s) == ("UNAVAILABLE", "ENGINE_UNREACHABLE", 1.0)


async def test_an_engines_own_error_keeps_its_message() -> None:
    async def refuse(ask: Ask, out: asyncio.StreamWriter) -> None:
        error = {"message": "too long", "type": "x", "param": "messages", "code": 400}
        await write_json(out, {"error": error}, 400)

    async with engine() as one, door([one.url]) as gate:
        one.behave = refuse
        got = await failed(gate.inference.GenerateUnary(chat()))
        assert got[:2] == ("INVALID_ARGUMENT", "ENGINE_INVALID_ARGUMENT")
        assert (got.field, got.message) == ("messages", "too long")


async def test_an_error_inside_a_stream_ends_the_stream_with_a_status() -> None:
    async def break_off(ask: Ask, out: asyncio.StreamWriter) -> None:
        write_stream_head(out)
        out.write(event(chunk(ask, "a")))
        out.write(event({"error": {"message": "boom", "code": 500}}) + DONE)
        out.write_eof()

    async with engine() as one, door([one.url]) as gate:
        one.behave = break_off
        call = gate.inference.Generate(chat())
        assert text_of([await piece_of(call)]) == "a"
        with pytest.raises(aio.AioRpcError) as raised:
            await call.read()
        assert failure(raised.value)[:2] == ("INTERNAL", "ENGINE_INTERNAL")


async def test_an_engine_that_dies_in_a_stream_never_looks_like_an_end() -> None:
    async def die(ask: Ask, out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n")
        out.write(b"transfer-encoding: chunked\r\n\r\n")
        data = event(chunk(ask, "a"))
        out.write(b"%x\r\n%b\r\n" % (len(data), data))
        await out.drain()
        out.transport.abort()

    async with engine() as one, door([one.url]) as gate:
        one.behave = die
        with pytest.raises(aio.AioRpcError) as raised:
            await read(gate.inference.Generate(chat()))
        assert failure(raised.value).reason == "ENGINE_CUT"


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"choices":7}'])
async def test_an_answer_that_cannot_be_read_is_the_engines_fault(body: bytes) -> None:
    async def babble(ask: Ask, out: asyncio.StreamWriter) -> None:
        out.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))

    async with engine() as one, door([one.url]) as gate:
        one.behave = babble
        got = await failed(gate.inference.GenerateUnary(chat()))
        assert (got.code, got.reason) == ("INTERNAL", "ENGINE_ANSWER")


async def test_a_bug_of_ours_does_not_tell_its_text(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with engine() as one, door([one.url]) as gate:

        def explode(*_: object, **__: object) -> None:
            raise ZeroDivisionError("internals")

        monkeypatch.setattr(gate.gateway, "admit", explode)
        got = await failed(gate.inference.GenerateUnary(chat()))
        assert (got.code, got.reason) == ("INTERNAL", "INTERNAL_ERROR")
        assert "internals" not in got.message
        assert "internals" in caplog.text


async def test_a_message_over_the_limit_is_refused() -> None:
    limits = LimitsConfig(max_body_bytes=10_000)
    async with engine() as one, door([one.url], limits=limits) as gate:
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.inference.GenerateUnary(chat("x" * 20_000))
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        got = await failed(gate.inference.GenerateUnary(chat("\x01" * 5_000)))
        assert (got.code, got.reason) == ("RESOURCE_EXHAUSTED", "REQUEST_TOO_LARGE")
        assert not one.asks


async def test_many_streams_at_once_keep_their_order() -> None:
    async with engine() as one, engine() as two, door([one.url, two.url]) as gate:
        calls = [read(gate.inference.Generate(chat(max_tokens=20))) for _ in range(100)]
        expected = "".join(f"w{i} " for i in range(20))
        assert {text_of(pieces) for pieces in await asyncio.gather(*calls)} == {expected}
        assert gate.open_leases == 0
