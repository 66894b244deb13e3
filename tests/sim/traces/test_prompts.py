"""Synthetic prompts share exactly what the trace's block ids share, and never change."""

from __future__ import annotations

import json

from cardan_sim.traces import BlockPrompt, PromptForm, PromptWriter, RecordedBody, TraceRequest
from cardan_sim.traces.prompts import block_text, block_token_ids, prompt_text, prompt_token_ids
from hypothesis import given
from hypothesis import strategies as st

BLOCK = 16
blocks = st.lists(st.integers(-50, 50), min_size=1, max_size=6).map(tuple)


def request(ids: tuple[int, ...], tokens: int, output_tokens: int | None = 4) -> TraceRequest:
    return TraceRequest(0.0, tokens, output_tokens, BlockPrompt(ids, BLOCK))


def body_of(writer: PromptWriter, trace_request: TraceRequest) -> dict[str, object]:
    body: dict[str, object] = json.loads(writer.write(trace_request).body)
    return body


def test_a_block_of_512_tokens_is_2048_bytes_of_ascii() -> None:
    assert len(block_text(7, 512).encode("ascii")) == 2048


def test_the_text_of_an_id_is_frozen() -> None:
    assert block_text(1, 4) == "sei ike mrb gip "
    assert block_token_ids(1, 4) == (61982, 47707, 56761, 47444)


@given(first=blocks, second=blocks)
def test_prompts_share_exactly_the_blocks_their_ids_share(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    shared = next(
        (i for i, (a, b) in enumerate(zip(first, second, strict=False)) if a != b),
        min(len(first), len(second)),
    )
    for write, unit in ((prompt_text, 4 * BLOCK), (prompt_token_ids, BLOCK)):
        one = write(BlockPrompt(first, BLOCK), len(first) * BLOCK)
        other = write(BlockPrompt(second, BLOCK), len(second) * BLOCK)
        end = shared * unit
        assert one[:end] == other[:end]
        if min(len(one), len(other)) > end:
            assert one[end : end + unit] != other[end : end + unit]


@given(ids=blocks, cut=st.integers(0, BLOCK - 1))
def test_the_last_block_is_cut_to_the_input_length(ids: tuple[int, ...], cut: int) -> None:
    tokens = len(ids) * BLOCK - cut
    prompt = BlockPrompt(ids, BLOCK)
    assert len(prompt_text(prompt, tokens)) == 4 * tokens
    assert len(prompt_token_ids(prompt, tokens)) == tokens


def test_each_form_goes_to_its_path_streamed_and_with_usage() -> None:
    paths = {}
    forms: tuple[PromptForm, ...] = ("chat", "completion", "tokens")
    for form in forms:
        wire = PromptWriter("m", form=form).write(request((1, 2), 20))
        body = json.loads(wire.body)
        paths[form] = wire.path
        assert body["model"] == "m"
        assert body["stream"] is True
        assert body["stream_options"] == {"include_usage": True}
        assert (body["max_tokens"], body["ignore_eos"]) == (4, True)
    assert paths == {
        "chat": "/v1/chat/completions",
        "completion": "/v1/completions",
        "tokens": "/v1/completions",
    }


def test_the_answer_is_as_long_as_recorded_within_the_cap_and_never_empty() -> None:
    writer = PromptWriter("m", max_output_tokens=10, ignore_eos=False)
    assert body_of(writer, request((1,), 16, 50))["max_tokens"] == 10
    assert body_of(writer, request((1,), 16, 0))["max_tokens"] == 1
    assert "ignore_eos" not in body_of(writer, request((1,), 16, 5))


def test_a_recorded_body_goes_out_as_it_is_but_streamed_and_renamed_when_asked() -> None:
    recorded = TraceRequest(
        None, 1, None, RecordedBody("/v1/completions", {"model": "old", "prompt": "x", "n": 2})
    )
    renamed = body_of(PromptWriter("new"), recorded)
    assert (renamed["model"], renamed["n"], renamed["stream"]) == ("new", 2, True)
    kept = body_of(PromptWriter("new", rename_recorded=False), recorded)
    assert kept["model"] == "old"


def test_a_recorded_embedding_is_not_asked_to_stream() -> None:
    recorded = TraceRequest(None, 1, None, RecordedBody("/v1/embeddings", {"input": "x"}))
    assert body_of(PromptWriter("m"), recorded) == {"input": "x", "model": "m"}
