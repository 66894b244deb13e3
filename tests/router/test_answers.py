"""What is read out of engines' answers, as they were recorded."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cardan.lifecycle import Failure
from cardan_router import answers

SHARED = Path(__file__).parents[2] / "../shared/reference"

SGLANG_FULL = (
    b'{"error":{"object":"error","message":"The request queue is full.",'
    b'"type":"SERVICE_UNAVAILABLE","param":null,"code":503}}'
)


@pytest.mark.parametrize(
    ("held", "event"),
    [
        (b"", None),
        (b": keep-alive\n\n", None),
        (b"data: {", None),
        (b"data: {}\n", b"{}"),
        (b"data:{}\r\n\r\n", b"{}"),
        (b": hi\n\nevent: message_start\ndata: {}\n\ndata: 2\n\n", b"{}"),
        (b"event: data: x\n", None),
    ],
)
def test_the_first_event_is_found_behind_comments(held: bytes, event: bytes | None) -> None:
    assert answers.first_event(held) == event


@pytest.mark.parametrize(
    ("event", "failure"),
    [
        (SGLANG_FULL, Failure.REFUSED),
        (b'{"type":"error","error":{"type":"overloaded_error"}}', Failure.REFUSED),
        (b'{"error":{"message":"EngineCore encountered an issue. x","code":500}}', Failure.RESET),
        (b'{"error":{"message":"too long","code":400}}', None),
        (b'{"choices":[{"delta":{"content":"error"}}]}', None),
        (b'{"error":null,"choices":[]}', None),
        (b'{"error"', None),
    ],
)
def test_a_first_event_tells_whether_to_go_elsewhere(event: bytes, failure: Failure | None) -> None:
    assert answers.failure_of_event(event) is failure


@pytest.mark.parametrize(
    ("tail", "counts"),
    [
        ([b'{"usage":{"prompt_tokens":5,"completion_tokens":2}}'], (5, 2, None)),
        (
            [
                b'data: {"usage":{"prompt_tokens":5,"prompt_tokens_details":',
                b'{"cached_tokens":4}}}',
            ],
            (5, None, 4),
        ),
        (
            [b'{"usage": {"input_tokens": 9, "output_tokens": 1, "cache_read_input_tokens": 8}}'],
            (9, 1, 8),
        ),
        ([b'{"usage":{"prompt_tokens":1}}\n\ndata: {"usage":null}'], (1, None, None)),
        ([b'{"usage":{"prompt_tokens":-1,"completion_tokens":"x"}}'], (None, None, None)),
        (
            [b'{"text":"\\"usage\\":{}","usage":{"prompt_tokens":3,"prompt_tokens_details":null}}'],
            (3, None, None),
        ),
    ],
)
def test_usage_is_found_at_the_end(
    tail: list[bytes], counts: tuple[int | None, int | None, int | None]
) -> None:
    usage = answers.usage_in(b"".join(tail))
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.cached_tokens) == counts


@pytest.mark.parametrize("tail", [[], [b""], [b'{"usage":'], [b'{"usage":null}'], [b"\xff\x00"]])
def test_no_usage_is_none_and_not_zero(tail: list[bytes]) -> None:
    assert answers.usage_in(b"".join(tail)) is None


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"object":"error","message":"m","type":"t","param":null,"code":400}', "m"),
        (b'{"detail":"Not Found"}', "Not Found"),
        (b"Internal Server Error", "the engine answered with an error"),
        (b"[]", "the engine answered with an error"),
        (b'{"error":"text"}', "text"),
        (b'{"error":{"message":"kept"}}', "kept"),
    ],
)
def test_errors_take_the_nested_form(body: bytes, message: str) -> None:
    assert json.loads(answers.nested_error(body))["error"]["message"] == message


def recorded(folder: str, pattern: str) -> list[Path]:
    """Recorded answers; skips where the recordings are not at hand."""
    found = sorted((SHARED / folder).glob(pattern))
    if not found:
        pytest.skip("the recorded engines are not beside this checkout")
    return found


def test_a_dying_vllm_is_recognised_in_what_was_recorded() -> None:
    for path in recorded("vllm-fixtures/shutdown", "engine_sigkill.*.response.http"):
        text = path.read_bytes()
        assert answers.failure_of_error(text) is Failure.RESET
    late = recorded("vllm-fixtures/shutdown", "*timeout_30.late.response.http")[0].read_bytes()
    assert answers.failure_of_error(late) is Failure.REFUSED


def test_errors_in_recorded_streams_are_seen() -> None:
    for path in recorded("vllm-fixtures/shutdown", "engine_sigkill.*stream*.response.http"):
        if b"data: {" in path.read_bytes():
            assert answers.has_error(path.read_bytes())
