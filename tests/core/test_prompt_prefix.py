"""A request for the beginning of a prompt alone: the same first blocks, and hardly any more."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.errors import RequestError
from cardan.prompt import KeyConfig, prefix_request, read_prompt
from cardan.request import Api
from hypothesis import given
from hypothesis import strategies as st

from tests.core.test_prompt_laws import SMALL, bodies, turns

LARGE = KeyConfig()
GENERATING = (Api.CHAT, Api.MESSAGES, Api.COMPLETION)


def chat(*messages: tuple[str, str], **more: object) -> dict[str, Any]:
    """A chat's body."""
    told = [{"role": role, "content": content} for role, content in messages]
    return {"model": "m", "messages": told, **more}


def turns_of(cut: dict[str, Any] | None) -> list[dict[str, Any]]:
    """The messages of a request that was made."""
    assert cut is not None
    return list(cut["messages"])


def chain_of(api: Api, body: dict[str, Any], config: KeyConfig = SMALL) -> tuple[int, ...]:
    return read_prompt(api, body, config).chain


def test_a_system_prompt_is_cut_where_the_blocks_end_and_somebody_asks() -> None:
    body = chat(("system", "word " * 2000), ("user", "who am I?"))
    cut = prefix_request(Api.CHAT, body, 2, LARGE)
    assert cut is not None
    system, user = turns_of(cut)
    assert len(system["content"]) == 2 * LARGE.block_bytes - len(b"\xffMsystem\xfft")
    assert user == {"role": "user", "content": "."}
    assert (cut["max_tokens"], cut["stream"]) == (1, False)


def test_whole_turns_that_the_blocks_do_not_reach_are_left_out() -> None:
    body = chat(("user", "a" * 60), ("assistant", "b" * 60), ("user", "c" * 60), ("user", "d"))
    cut = prefix_request(Api.CHAT, body, 2, SMALL)
    first, second = turns_of(cut)
    assert first == body["messages"][0]
    assert second["role"] == "assistant"
    assert 0 < len(second["content"]) < 60


def test_all_of_a_prompt_is_as_it_came() -> None:
    body = chat(("system", "s" * 100), ("user", "u" * 100))
    cut = prefix_request(Api.CHAT, body, None, SMALL)
    assert cut == {**body, "max_tokens": 1, "stream": False}


def test_what_does_not_shape_the_prompt_is_left_out() -> None:
    noise = {
        "stream": True,
        "stream_options": {"include_usage": True},
        "n": 4,
        "max_completion_tokens": 900,
        "prompt_logprobs": 1,
        "response_format": {"type": "json_object"},
        "kv_transfer_params": {"remote_host": "h"},
        "user": "somebody",
        "priority": -100,
    }
    shape = {"tools": [{"type": "function"}], "cache_salt": "s", "chat_template_kwargs": {"x": 1}}
    cut = prefix_request(Api.CHAT, chat(("user", "u"), **noise, **shape), None, SMALL)
    assert cut == {**chat(("user", "u"), **shape), "max_tokens": 1, "stream": False}


def test_token_ids_are_cut_by_blocks_and_of_several_prompts_the_first_counts() -> None:
    ids = list(range(100))
    for prompt in (ids, [ids, [1, 2]]):
        cut = prefix_request(Api.COMPLETION, {"model": "m", "prompt": prompt}, 3, SMALL)
        assert cut is not None
        assert cut["prompt"] == ids[: 3 * SMALL.block_tokens]
    cut = prefix_request(Api.COMPLETION, {"prompt": ["a" * 500, "b"]}, 3, SMALL)
    assert cut is not None
    assert cut["prompt"] == "a" * (3 * SMALL.block_bytes - len(b"\xffp"))


@pytest.mark.parametrize(
    ("api", "body"),
    [
        (Api.EMBEDDING, {"input": "x"}),
        (Api.COMPLETION, {"prompt_embeds": "AAAA"}),
        (Api.COMPLETION, {"prompt": []}),
        (Api.CHAT, {"messages": []}),
        (Api.RESPONSES, {"input": "x"}),
    ],
)
def test_what_cannot_go_on_from_a_prompt_is_not_asked(api: Api, body: dict[str, Any]) -> None:
    assert prefix_request(api, body, None, SMALL) is None


@given(st.sampled_from(GENERATING), bodies, st.integers(1, 8))
def test_whatever_is_cut_begins_with_the_same_blocks(
    api: Api, body: dict[str, Any], blocks: int
) -> None:
    try:
        prompt = read_prompt(api, body, SMALL)
    except RequestError:
        return
    blocks = min(blocks, prompt.full_blocks)
    if not blocks:
        return
    cut = prefix_request(api, body, blocks, SMALL)
    if cut is not None:
        assert chain_of(api, cut)[:blocks] == prompt.chain[:blocks]


@given(st.lists(turns, min_size=1, max_size=8), st.integers(1, 8))
def test_a_conversation_is_cut_to_its_blocks_and_an_ask(
    messages: list[dict[str, Any]], blocks: int
) -> None:
    body = {"model": "m", "messages": messages}
    prompt = read_prompt(Api.CHAT, body, SMALL)
    blocks = min(blocks, prompt.full_blocks)
    if not blocks:
        return
    cut = prefix_request(Api.CHAT, body, blocks, SMALL)
    assert cut is not None
    assert chain_of(Api.CHAT, cut)[:blocks] == prompt.chain[:blocks]
    assert len(chain_of(Api.CHAT, cut)) <= blocks + 1
    assert sum(len(turn["content"]) for turn in turns_of(cut)) <= blocks * SMALL.block_bytes + 1
