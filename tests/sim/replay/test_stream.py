"""An answer is understood the same however the network cuts it, and its errors have kinds."""

from __future__ import annotations

import itertools
import json

import pytest
from cardan_sim.replay.sample import Sample
from cardan_sim.replay.stream import BodyReader, StreamReader
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.replay.standin import event

DONE = b"data: [DONE]\n\n"
ROLE = event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
TOKEN = event({"choices": [{"delta": {"content": " a"}}]})
USAGE = event(
    {
        "choices": [],
        "usage": {
            "prompt_tokens": 100,
            "completion_tokens": 2,
            "prompt_tokens_details": {"cached_tokens": 64},
        },
    }
)
WHOLE = ROLE + b": a comment\n\n" + TOKEN + TOKEN + USAGE + DONE


def read(*chunks: bytes) -> tuple[Sample, str | None]:
    """Feed chunks at 1 s, 2 s, …"""
    sample = Sample(due_s=0.0, sent_s=0.0)
    reader = StreamReader(sample)
    for second, chunk in enumerate(chunks, 1):
        reader.feed(chunk, float(second))
    return sample, reader.end()


def test_the_first_content_counts_and_not_the_event_that_names_the_role() -> None:
    sample, error = read(ROLE, TOKEN, TOKEN, USAGE + DONE)
    assert error is None
    assert sample.first_s == 2.0
    assert list(sample.gaps_s) == [1.0]
    assert (sample.prompt_tokens, sample.cached_tokens, sample.output_tokens) == (100, 64, 2)


@given(cuts=st.lists(st.integers(0, len(WHOLE)), max_size=12), crlf=st.booleans())
def test_where_the_bytes_are_cut_changes_nothing_but_the_times(cuts: list[int], crlf: bool) -> None:
    stream = WHOLE.replace(b"\n", b"\r\n") if crlf else WHOLE
    # A cut inside a CR LF pair is the network's right too.
    edges = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    sample, error = read(*(stream[a:b] for a, b in itertools.pairwise(edges)))
    assert error is None
    assert len(sample.gaps_s) == 1
    assert (sample.prompt_tokens, sample.cached_tokens) == (100, 64)


@pytest.mark.parametrize(
    "message",
    [
        {"choices": [{"text": "a"}]},
        {"choices": [{"delta": {"reasoning_content": "hm"}}]},
        {"choices": [{"delta": {"tool_calls": [{"index": 0}]}}]},
        {"choices": [{"delta": {}}, {"delta": {"content": "a"}}]},
    ],
)
def test_output_of_any_kind_is_content(message: dict[str, object]) -> None:
    assert read(event(message))[0].first_s == 1.0


@pytest.mark.parametrize(
    ("stream", "kind"),
    [
        (ROLE + TOKEN, "cut"),
        (b"", "cut"),
        (event({"error": {"message": "full", "code": 503}}) + DONE, "error event"),
        (b"data: {nonsense\n\n" + DONE, "event is not JSON"),
        (b"data: [1]\n\n" + DONE, "event is not an object"),
    ],
)
def test_a_stream_that_does_not_come_whole_says_how(stream: bytes, kind: str) -> None:
    assert read(stream)[1] == kind


def test_a_usage_without_details_leaves_the_cached_tokens_unknown() -> None:
    sample, _ = read(event({"usage": {"prompt_tokens": 7}}) + DONE)
    assert (sample.prompt_tokens, sample.cached_tokens) == (7, None)


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b'{"data": [], "usage": {"prompt_tokens": 7}}', None),
        (b'{"error": {"message": "no"}}', "error answer"),
        (b"<html>", "answer is not JSON"),
        (b"[]", "answer is not an object"),
    ],
)
def test_an_answer_in_one_body_is_read_too(answer: bytes, kind: str | None) -> None:
    sample = Sample(due_s=0.0, sent_s=0.0)
    reader = BodyReader(sample)
    reader.feed(answer[:5], 1.0)
    reader.feed(answer[5:], 2.0)
    assert reader.end() == kind
    assert sample.first_s == 1.0
    if kind is None:
        assert sample.prompt_tokens == json.loads(answer)["usage"]["prompt_tokens"]
