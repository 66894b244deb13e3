"""The routing key: canonical form, hashes, bounds, and what is refused.

The golden vectors freeze it. A chain that changes here is a breaking change: gateways of two
versions side by side would send the same prompt to different endpoints, and every shadow cache
would be wrong. Add vectors; change one only together with `cardan.prompt.chain.VERSION`.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xxhash
from cardan.errors import RequestError
from cardan.prompt import EMPTY, KeyConfig, Prompt, read_prompt
from cardan.prompt.stream import MEDIA_TOKENS
from cardan.request import Api

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "prompts.json").read_text()
)
SMALL = KeyConfig(block_bytes=64, block_tokens=16)


def chat(*messages: object, **fields: object) -> dict[str, object]:
    """A chat body."""
    return {"model": "m", "messages": list(messages), **fields}


def user(content: object) -> dict[str, object]:
    """A user's message."""
    return {"role": "user", "content": content}


def read(body: dict[str, object], config: KeyConfig = SMALL) -> Prompt:
    """The prompt of a chat body."""
    return read_prompt(Api.CHAT, body, config)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_chain_is_the_golden_one(vector: dict[str, Any]) -> None:
    config = msgspec.convert(vector.get("config", {}), KeyConfig)
    prompt = read_prompt(
        Api(vector["api"]), vector["body"], config, tenant=vector.get("tenant", "")
    )
    assert [f"{link:016x}" for link in prompt.chain] == vector["chain"]
    assert (prompt.full_blocks, prompt.tokens) == (vector["full_blocks"], vector["tokens"])


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_golden_chain_is_what_the_reference_page_says(vector: dict[str, Any]) -> None:
    """A second implementation, from docs/reference/routing-key.md alone, gives the same hashes."""
    config = msgspec.convert(vector.get("config", {}), KeyConfig)
    body = vector["body"]
    names = [body.get(name, "") for name in ("model", "lora_path", "cache_salt", "extra_key")]
    names.append(vector.get("tenant", "") if config.isolate_tenants else "")
    if "ids" in vector:
        kind, block = b"ids", 4 * config.block_tokens
        data = b"".join(struct.pack("<I", token) for token in vector["ids"])
    else:
        kind, block = b"text", config.block_bytes
        data = b"".join(
            b"\xff" + tag.encode() + text.encode("utf-8", "surrogatepass")
            for tag, text in vector.get("elements", [])
        )
    root = b"\xff".join([b"cardan-key-1", kind, *[name.encode() for name in names]])
    link, chain = xxhash.xxh3_64_intdigest(root), []
    blocks = [data[start : start + block] for start in range(0, len(data), block)]
    for piece in blocks[: config.max_blocks]:
        link = xxhash.xxh3_64_intdigest(piece, seed=link)
        chain.append(f"{link:016x}")
    assert chain == vector["chain"]


def test_vectors_that_should_differ_do() -> None:
    by_chain: dict[str, list[str]] = {}
    for vector in VECTORS:
        by_chain.setdefault(" ".join(vector["chain"]), []).append(vector["name"])
    shared = sorted(sorted(names) for names in by_chain.values() if len(names) > 1)
    assert shared == [
        ["a batch of texts: the first", "a completion"],
        [
            "a tenant without isolation",
            "one text part is the same as a string",
            "one user message",
            "responses: text",
            "tokenize messages",
        ],
        ["embeddings", "tokenize a prompt"],
        [
            "messages: marks of caching do not count",
            "messages: system text",
            "responses: instructions",
        ],
        ["no message", "no prompt in this call"],
    ]


def test_one_more_message_keeps_every_full_block() -> None:
    turns = [user("a" * 200), {"role": "assistant", "content": "b" * 100}]
    short = read(chat(*turns))
    longer = read(chat(*turns, user("c" * 300)))
    assert short.full_blocks == 5
    assert longer.chain[:5] == short.chain[:5]
    assert len(longer.chain) > len(short.chain)


def test_two_pictures_never_share() -> None:
    data = ["QUJD" * 1000 + end for end in ("AAAA", "AAAB")]
    chains = {
        read(
            chat(user([{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{d}"}}]))
        ).chain
        for d in data
    }
    assert len(chains) == 2


def test_text_cannot_fake_structure() -> None:
    """The bytes that begin an element cannot be written by a client, however it spells them."""
    honest = read(chat(user("a"), {"role": "system", "content": "b"}))
    for fake in ("aÿMsystemÿtb", "a\udcffMsystem\udcfftb", 'a","role":"system'):
        assert read(chat(user(fake))).chain != honest.chain


def test_only_as_many_blocks_are_hashed_as_configured_but_all_tokens_count() -> None:
    prompt = read(chat(user("x" * 100_000)))
    assert (len(prompt.chain), prompt.full_blocks) == (64, 64)
    assert prompt.tokens == pytest.approx(25_000, rel=0.01)


def test_what_lies_beyond_the_limit_does_not_change_the_chain() -> None:
    head = "x" * 64 * 64
    assert read(chat(user(head + "a"))).chain == read(chat(user(head + "b"), user("c"))).chain


@pytest.mark.parametrize("letter", ["x", "é", "世", "🌍"])
def test_tokens_are_estimated_from_bytes_also_beyond_the_limit(letter: str) -> None:
    messages = [user(letter * 5000), {"role": "assistant", "content": letter * 5000}]
    want = 10_000 * len(letter.encode()) / 4
    assert read(chat(*messages)).tokens == pytest.approx(want, rel=0.01)


def test_a_picture_counts_as_many_tokens_as_a_usual_one_has() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    without = read(chat(user([{"type": "text", "text": "Hi"}]))).tokens
    assert read(chat(user([{"type": "text", "text": "Hi"}, part]))).tokens - without > MEDIA_TOKENS


def test_a_picture_beyond_the_limit_still_counts() -> None:
    part = {"type": "image_url", "image_url": {"url": "https://example.com/cat.png"}}
    head = "x" * 64 * 64
    assert read(chat(user([head, part]))).tokens == pytest.approx(1024 + MEDIA_TOKENS, rel=0.01)


def test_a_batch_weighs_as_much_as_all_its_prompts() -> None:
    one = read_prompt(Api.COMPLETION, {"prompt": "a" * 400}, SMALL)
    four = read_prompt(Api.COMPLETION, {"prompt": ["a" * 400] * 4}, SMALL)
    ids = read_prompt(Api.COMPLETION, {"prompt": [[1] * 100, [2] * 50]}, SMALL)
    assert four.chain == one.chain
    assert four.tokens == pytest.approx(4 * one.tokens, rel=0.01)
    assert ids.tokens == 150


def test_many_token_ids_are_counted_and_not_read() -> None:
    limit = SMALL.limit_tokens
    prompt = read_prompt(Api.COMPLETION, {"prompt": [7] * (limit + 500)}, SMALL)
    assert (prompt.tokens, prompt.full_blocks, len(prompt.chain)) == (limit + 500, 64, 64)


def test_the_gateways_own_model_name_wins_over_the_bodys() -> None:
    body = chat(user("Hello"))
    named = read_prompt(Api.CHAT, {**body, "model": "given"}, SMALL)
    assert read_prompt(Api.CHAT, body, SMALL, model="given").chain == named.chain


def test_a_salt_that_is_a_list_is_a_salt() -> None:
    chains = {
        read(chat(user("Hello"), extra_key=key)).chain for key in (None, ["a"], ["b"], "['a']")
    }
    assert len(chains) == 4


def test_prompt_embeddings_are_hashed_by_content() -> None:
    chains = {
        read_prompt(Api.COMPLETION, {"prompt_embeds": data}, SMALL).chain for data in ("QQ", "QR")
    }
    assert len(chains) == 2


def test_a_call_without_a_prompt_has_none() -> None:
    assert read_prompt(Api.OTHER, {"anything": 1}, SMALL) is EMPTY
    assert EMPTY.chain == ()


def test_a_prompt_tells_what_it_is() -> None:
    assert repr(EMPTY) == "<Prompt - blocks=0 tokens=0>"
    assert "blocks=1" in repr(read(chat(user("Hello"))))


@pytest.mark.parametrize(
    ("api", "body", "param"),
    [
        (Api.CHAT, {}, "messages"),
        (Api.CHAT, {"messages": None}, "messages"),
        (Api.CHAT, {"messages": "Hello"}, "messages"),
        (Api.CHAT, {"messages": {"role": "user"}}, "messages"),
        (Api.CHAT, {"messages": ["Hello"]}, "messages[0]"),
        (Api.CHAT, {"messages": [user("a"), None]}, "messages[1]"),
        (Api.CHAT, {"messages": [{"content": "Hello"}]}, "messages[0].role"),
        (Api.CHAT, {"messages": [{"role": 1, "content": "Hello"}]}, "messages[0].role"),
        (Api.CHAT, {"messages": [{"role": [], "content": "Hello"}]}, "messages[0].role"),
        (Api.CHAT, {"messages": [user(3)]}, "messages[0].content"),
        (Api.CHAT, {"messages": [user({"type": "text"})]}, "messages[0].content"),
        (Api.CHAT, {"messages": [user([1])]}, "messages[0].content[0]"),
        (Api.CHAT, {"messages": [user([{"type": "text"}])]}, "messages[0].content[0].text"),
        (Api.CHAT, {"messages": [user("a")], "tools": {"a": 1}}, "tools"),
        (Api.COMPLETION, {}, "prompt"),
        (Api.COMPLETION, {"prompt": 1}, "prompt"),
        (Api.COMPLETION, {"prompt": []}, "prompt"),
        (Api.COMPLETION, {"prompt": [True]}, "prompt"),
        (Api.COMPLETION, {"prompt": [1, False]}, "prompt"),
        (Api.COMPLETION, {"prompt": [1, -1]}, "prompt"),
        (Api.COMPLETION, {"prompt": [2**32]}, "prompt"),
        (Api.COMPLETION, {"prompt": [2**70]}, "prompt"),
        (Api.COMPLETION, {"prompt": [1, 2.5]}, "prompt"),
        (Api.COMPLETION, {"prompt": [1, "a"]}, "prompt"),
        (Api.COMPLETION, {"prompt": [1.0]}, "prompt[0]"),
        (Api.COMPLETION, {"prompt": [None]}, "prompt[0]"),
        (Api.COMPLETION, {"prompt": [[1, None]]}, "prompt[0]"),
        (Api.RESPONSES, {}, "input"),
        (Api.RESPONSES, {"input": {}}, "input"),
        (Api.MESSAGES, {"messages": [], "system": 1}, "system"),
        (Api.EMBEDDING, {}, "input"),
        (Api.EMBEDDING, {"messages": 1}, "messages"),
        (Api.TOKENIZE, {}, "prompt"),
    ],
    ids=str,
)
def test_a_wrong_shape_is_the_clients_error(
    api: Api, body: dict[str, object], param: str | None
) -> None:
    with pytest.raises(RequestError) as caught:
        read_prompt(api, body, SMALL)
    assert caught.value.param == param


@pytest.mark.parametrize("core", [[], "\ud800"], ids=["list", "surrogate"])
def test_nesting_that_no_interpreter_can_follow_is_the_clients_error(core: object) -> None:
    nested = core
    for _ in range(100_000):  # JSON parsers stop at about a thousand; the core relies on none
        nested = [nested]
    with pytest.raises(RequestError, match="nested"):
        read(chat(user("a"), tools=[core, nested]))


@pytest.mark.parametrize(
    "message",
    [
        {"role": "assistant", "content": None},
        {"role": "assistant"},
        {"role": "assistant", "content": None, "tool_calls": []},
        {"role": "user", "content": [{"type": "new-kind", "data": {"a": [1, None, 2.5]}}]},
        {"role": "user", "content": ["plain", {"no": "type"}]},
        {"role": "user", "content": [{"type": "tool_result", "content": None}]},
        {"role": "user", "content": [{"type": "tool_result", "content": "text"}]},
        {
            "role": "user",
            "content": [{"type": "tool_result", "content": [{"type": "tool_result"}, 1]}],
        },
    ],
    ids=str,
)
def test_what_only_an_engine_can_judge_is_read(message: dict[str, object]) -> None:
    assert read(chat(message)).chain


@pytest.mark.parametrize(
    "wrong",
    [
        {"block_bytes": 0},
        {"block_tokens": 0},
        {"max_blocks": 0},
        {"max_blocks": 65},
        {"blocks": 1},
    ],
    ids=str,
)
def test_a_wrong_key_configuration_fails_at_start(wrong: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, KeyConfig)
