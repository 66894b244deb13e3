"""An engine's answer becomes messages, and nothing that it said is lost."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import orjson
import pytest
from cardan.decision import Reason
from cardan_router.grpc import responses
from cardan_router.grpc.sse import MAX_LINE_BYTES, EventReader, StreamError
from cardan_router.pb.cardan.v1 import inference_pb2, receipt_pb2
from google.protobuf import json_format
from hypothesis import given
from hypothesis import strategies as st

FIXTURES = Path(__file__).parents[3] / "../shared/reference"


def as_dict(message: inference_pb2.GenerateResponse) -> dict[str, object]:
    return json_format.MessageToDict(message, preserving_proto_field_name=True)


def test_a_chunk_of_a_stream_is_a_delta() -> None:
    chunk = {
        "id": "c",
        "object": "chat.completion.chunk",
        "created": 5,
        "model": "m",
        "choices": [
            {"index": 1, "delta": {"content": "ab"}, "logprobs": None, "finish_reason": None}
        ],
    }
    assert as_dict(responses.generated(chunk)) == {
        "id": "c",
        "model": "m",
        "created_s": "5",
        "choices": [{"index": 1, "text": "ab"}],
    }


def test_a_whole_answer_keeps_what_has_no_field() -> None:
    answer = {
        "id": "c",
        "model": "m",
        "choices": [
            {
                "index": 0,
                "message": {
                    "role": "assistant",
                    "content": None,
                    "reasoning_content": "hm",
                    "refusal": "no",
                    "annotations": [1],
                    "tool_calls": [
                        {
                            "id": "t",
                            "type": "function",
                            "index": 0,
                            "function": {"name": "f", "arguments": "{}"},
                        }
                    ],
                },
                "finish_reason": "tool_calls",
                "stop_reason": 128009,
                "logprobs": {"content": [{"token": "a", "logprob": -0.5}]},
                "token_ids": [3, 4],
                "routed_experts": "x",
            }
        ],
        "usage": {
            "prompt_tokens": 15,
            "completion_tokens": 0,
            "total_tokens": 15,
            "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 2},
            "completion_tokens_details": {"reasoning_tokens": 1},
        },
        "prompt_token_ids": [1, 2],
        "system_fingerprint": "vllm-1",
    }
    got = as_dict(responses.generated(answer))
    assert got == {
        "id": "c",
        "model": "m",
        "choices": [
            {
                "role": "assistant",
                "reasoning": "hm",
                "refusal": "no",
                "tool_calls": [{"id": "t", "name": "f", "arguments": "{}", "type": "function"}],
                "finish_reason": "tool_calls",
                "stop_reason": 128009.0,
                "logprobs": {"content": [{"token": "a", "logprob": -0.5}]},
                "token_ids": [3, 4],
                "extra": {"annotations": [1.0], "routed_experts": "x"},
            }
        ],
        "usage": {
            "prompt_tokens": "15",
            "completion_tokens": "0",
            "total_tokens": "15",
            "cached_tokens": "0",
            "reasoning_tokens": "1",
            "extra": {"prompt_tokens_details": {"audio_tokens": 2.0}},
        },
        "prompt_token_ids": [1, 2],
        "extra": {"system_fingerprint": "vllm-1"},
    }


def test_what_the_engine_did_not_count_is_unset_not_zero() -> None:
    usage = responses.generated({"usage": {"prompt_tokens": 3}}).usage
    assert usage.prompt_tokens == 3
    assert not usage.HasField("cached_tokens")
    assert not usage.HasField("completion_tokens")


@pytest.mark.parametrize(
    "answer",
    [
        {"choices": [1]},
        {"choices": [{"index": "x"}]},
        {"choices": [{"delta": {"content": 5}}]},
        {"created": "soon"},
        {"usage": {"prompt_tokens": 1 << 70}},
        {"choices": [{"token_ids": ["a"]}]},
        {"choices": 7},
    ],
)
def test_an_answer_of_another_form_is_an_error_of_the_engine(answer: dict[str, object]) -> None:
    with pytest.raises(responses.AnswerError):
        responses.generated(answer)


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"\xff"])
def test_an_answer_must_be_a_json_object(data: bytes) -> None:
    with pytest.raises(responses.AnswerError):
        responses.parse(data)


def test_vectors_come_as_numbers_or_as_base64() -> None:
    packed = base64.b64encode(struct.pack("<2f", 0.5, -2.0)).decode()
    for vector in ([0.5, -2.0], packed):
        answer = {
            "object": "list",
            "model": "e",
            "data": [{"index": 1, "object": "embedding", "embedding": vector}],
            "usage": {"prompt_tokens": 2, "total_tokens": 2},
        }
        got = responses.embedded(answer)
        assert (got.embeddings[0].index, list(got.embeddings[0].values)) == (1, [0.5, -2.0])
        assert got.usage.prompt_tokens == 2


@pytest.mark.parametrize("vector", ["AAA=", "no base64!", None, {}])
def test_a_vector_of_another_form_is_an_error_of_the_engine(vector: object) -> None:
    with pytest.raises(responses.AnswerError):
        responses.embedded({"data": [{"embedding": vector}]})


def test_a_model_keeps_its_other_fields() -> None:
    got = responses.model({"id": "m", "object": "model", "created": 1, "max_model_len": 4096})
    assert (got.id, got.created_s, dict(got.extra)) == ("m", 1, {"max_model_len": 4096.0})


def test_every_reason_of_the_core_has_a_word_here() -> None:
    words = {value.name for value in receipt_pb2.DecisionReason.DESCRIPTOR.values}
    reasons = {f"DECISION_REASON_{reason.name}" for reason in Reason}
    assert words == reasons | {"DECISION_REASON_UNSPECIFIED"}


def _recorded(kind: str) -> list[Path]:
    return sorted(FIXTURES.glob(f"*-fixtures/*/http/{kind}.response.http"))


def _body(path: Path) -> bytes:
    head, _, body = path.read_bytes().partition(b"\r\n\r\n")
    return _dechunked(body) if b"transfer-encoding: chunked" in head.lower() else body


def _dechunked(body: bytes) -> bytes:
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        length = int(size, 16)
        out, body = out + body[:length], body[length + 2 :]
    return out


@pytest.mark.skipif(not FIXTURES.exists(), reason="recorded engines are not here")
def test_every_recorded_stream_can_be_read() -> None:
    streams = [path for path in _recorded("*") if b"event-stream" in path.read_bytes()[:600]]
    generated = [path for path in streams if path.name.startswith(("chat", "comp"))]
    assert len(generated) >= 8
    for path in generated:
        events = list(EventReader().feed(_body(path)))
        assert events[-1] == b"[DONE]", path
        chunks = [responses.generated(responses.parse(event)) for event in events[:-1]]
        finishes = [c.finish_reason for chunk in chunks for c in chunk.choices if c.finish_reason]
        assert finishes, path


@pytest.mark.skipif(not FIXTURES.exists(), reason="recorded engines are not here")
def test_every_recorded_answer_can_be_read() -> None:
    kinds = ("chat", "chat_logprobs", "chat_tools_required", "comp", "comp_n2", "chat_parts")
    answers = [path for kind in kinds for path in _recorded(kind)]
    answers = [path for path in answers if path.read_bytes().startswith(b"HTTP/1.1 200")]
    assert len(answers) >= 6
    for path in answers:
        response = responses.generated(responses.parse(_body(path)))
        assert response.choices[0].finish_reason, path
        assert response.usage.prompt_tokens > 0, path


def test_events_may_be_cut_anywhere_and_end_in_any_newline() -> None:
    stream = b': ping\r\n\r\ndata: {"a":1}\n\ndata:b\r\ndata: c\r\n\r\nevent: x\n\ndata: [DONE]\n\n'
    expected = [b'{"a":1}', b"b\nc", b"[DONE]"]
    assert list(EventReader().feed(stream)) == expected
    reader = EventReader()
    assert [
        event for i in range(len(stream)) for event in reader.feed(stream[i : i + 1])
    ] == expected


@given(st.lists(st.text(min_size=1).filter(lambda t: not set(t) & set("\r\n"))), st.data())
def test_what_was_sent_as_events_comes_out_as_events(texts: list[str], data: st.DataObject) -> None:
    sent = [orjson.dumps(text) for text in texts]
    stream = b"".join(b"data: " + event + b"\n\n" for event in sent)
    cut = data.draw(st.integers(0, len(stream)))
    reader = EventReader()
    assert [*reader.feed(stream[:cut]), *reader.feed(stream[cut:])] == sent


def test_an_endless_line_is_not_gathered_for_ever() -> None:
    reader = EventReader()
    assert list(reader.feed(b"x" * MAX_LINE_BYTES)) == []
    with pytest.raises(StreamError):
        list(reader.feed(b"x"))
