"""What holds for every prompt: nothing crashes, nothing is unbounded, prefixes stay prefixes."""

from __future__ import annotations

import math
from typing import Any

import pytest
from cardan.errors import RequestError
from cardan.prompt import KeyConfig, Prompt, read_prompt
from cardan.request import Api
from hypothesis import given
from hypothesis import strategies as st

SMALL = KeyConfig(block_bytes=64, block_tokens=16, max_blocks=8)

# Lone surrogates included: a client can spell them in JSON.
texts = st.text(st.characters(codec=None), max_size=120)
roles = st.sampled_from(["system", "user", "assistant", "tool", "developer", "narrator"])
turns = st.builds(lambda role, text: {"role": role, "content": text}, roles, texts)
scalars = st.none() | st.booleans() | st.integers() | st.floats() | texts
json_values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)
FIELDS = [
    *("messages", "prompt", "input", "tools", "system", "instructions", "query", "documents"),
    *("text_1", "text_2", "prompt_embeds", "model", "cache_salt", "extra_key", "lora_path"),
    "previous_response_id",
]
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url", "tool_result", "tool_use", "odd"]) | scalars},
    optional={"text": json_values, "content": json_values, "tool_use_id": scalars},
)
messages = st.fixed_dictionaries(
    {"role": roles | scalars},
    optional={
        "content": texts | st.lists(parts, max_size=3) | json_values,
        "name": scalars,
        "tool_calls": json_values,
        "tool_call_id": scalars,
    },
)
bodies = st.dictionaries(
    st.sampled_from(FIELDS), st.lists(messages, max_size=4) | json_values, max_size=6
)


def chat(messages: list[dict[str, Any]]) -> Prompt:
    """The prompt of a chat."""
    return read_prompt(Api.CHAT, {"model": "m", "messages": messages}, SMALL)


@given(st.sampled_from(Api), bodies)
def test_any_body_gives_a_bounded_prompt_or_a_client_error(
    api: Api, body: dict[str, object]
) -> None:
    try:
        prompt = read_prompt(api, body, SMALL)
    except RequestError:
        return
    assert prompt.full_blocks <= len(prompt.chain) <= min(prompt.full_blocks + 1, 8)
    assert all(0 <= link < 2**64 for link in prompt.chain)
    assert prompt.tokens >= 0
    assert math.isfinite(prompt.tokens)


@given(st.lists(turns, max_size=8), st.lists(turns, max_size=4))
def test_a_longer_conversation_keeps_the_full_blocks_of_the_shorter(
    past: list[dict[str, Any]], new: list[dict[str, Any]]
) -> None:
    short, longer = chat(past), chat(past + new)
    assert longer.chain[: short.full_blocks] == short.chain[: short.full_blocks]
    assert longer.full_blocks >= short.full_blocks
    assert longer.tokens >= short.tokens


@given(st.lists(turns, max_size=4), st.lists(turns, max_size=4))
def test_different_short_conversations_have_different_keys(
    one: list[dict[str, Any]], other: list[dict[str, Any]]
) -> None:
    full = KeyConfig()
    chains = [read_prompt(Api.CHAT, {"messages": turns}, full).chain for turns in (one, other)]
    assert (chains[0] == chains[1]) == (one == other)


@given(st.lists(turns, max_size=12))
def test_the_fast_way_writes_what_the_general_way_writes(turns: list[dict[str, Any]]) -> None:
    """A third field that means nothing sends a message the general way."""
    plain, general = chat(turns), chat([{**turn, "id": 1} for turn in turns])
    assert plain.chain == general.chain
    assert plain.full_blocks == general.full_blocks
    assert plain.tokens == pytest.approx(general.tokens, abs=8 * len(turns))


@given(st.dictionaries(texts, json_values, max_size=5))
def test_the_order_of_a_tools_keys_does_not_matter(tool: dict[str, Any]) -> None:
    backwards = dict(reversed(tool.items()))
    body = {"messages": [{"role": "user", "content": "a"}]}
    one = read_prompt(Api.CHAT, {**body, "tools": [tool]}, SMALL)
    assert read_prompt(Api.CHAT, {**body, "tools": [backwards]}, SMALL).chain == one.chain


@given(st.lists(st.integers(0, 2**32 - 1), max_size=200), st.integers(0, 200))
def test_token_ids_share_the_blocks_of_their_common_prefix(ids: list[int], cut: int) -> None:
    whole = read_prompt(Api.COMPLETION, {"prompt": [ids]}, SMALL)
    part = read_prompt(Api.COMPLETION, {"prompt": [ids[:cut]]}, SMALL)
    assert whole.chain[: part.full_blocks] == part.chain[: part.full_blocks]
    assert whole.tokens == len(ids)
