"""Where in each kind of body the prompt is.

The same conversation gives the same stream whether it came as chat messages, as a responses input
or as Anthropic messages: engines render all three through one chat template, so they share cache.
Left out on purpose, because it comes after the prompt or templates drop it: sampling options,
`cache_control` marks (they move from turn to turn), reasoning of earlier turns, template options.

Checked is only what must be read; everything else an engine judges better.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec
from cardan.errors import RequestError
from cardan.prompt.chain import EMPTY, KeyConfig, Prompt, ids_chain, root_hash, text_chain
from cardan.prompt.stream import (
    CALLS,
    ITEM,
    MEDIA_TOKENS,
    NAME,
    PREVIOUS,
    PROMPT,
    RESULT,
    ROLE,
    TEXT,
    TOOLS,
    Stream,
    canonical_json,
)
from cardan.request import Api

if TYPE_CHECKING:
    from collections.abc import Callable

Body = Mapping[str, object]

# Fields that keep prompts apart in an engine's cache.
_APART = frozenset({"lora_path", "cache_salt", "extra_key"})
_TEXT_KINDS = frozenset({"text", "input_text", "output_text"})
_MEDIA_WORDS = ("image", "audio", "video", "file", "document")


def read_prompt(
    api: Api, body: Body, config: KeyConfig, tenant: str = "", model: str | None = None
) -> Prompt:
    """Read a parsed body's prompt into its chain.

    `model` stands for the body's own when the gateway fills one in. Raises `RequestError` naming
    the field when the prompt does not have the shape this API requires. At most
    `config.limit_bytes` of text or `config.limit_tokens` ids are read and checked.
    """
    reader = _READERS.get(api)
    if reader is None:
        return EMPTY
    stream = Stream(config.limit_bytes)
    reader(body, stream, config)
    name = _word(body.get("model")) if model is None else model
    owner = tenant if config.isolate_tenants else ""
    if _APART.isdisjoint(body):
        return _hashed(stream, (name, "", "", "", owner), config)
    words = [_word(body.get(field)) for field in ("lora_path", "cache_salt", "extra_key")]
    return _hashed(stream, (name, *words, owner), config)


def text_size(api: Api, body: Body, config: KeyConfig, limit_bytes: int) -> int:
    """Bytes of the canonical text of a prompt that could be read; beyond the limit, so many."""
    stream = Stream(limit_bytes)
    _READERS[api](body, stream, config)
    return min(stream.size, limit_bytes)


def _hashed(stream: Stream, names: tuple[str, ...], config: KeyConfig) -> Prompt:
    size, block_bytes = stream.size, config.block_bytes
    tokens = (size + stream.unread) / config.bytes_per_token + stream.media * MEDIA_TOKENS
    ids = stream.token_ids
    if ids is None:
        chain = text_chain(stream.bytes(), root_hash(b"text", names), config)
        full = 0 if size < block_bytes else min(size // block_bytes, config.max_blocks)
    else:
        chain = ids_chain(ids, root_hash(b"ids", names), config)
        full = len(ids) // config.block_tokens
        tokens += len(ids)
    return Prompt(chain, tokens, config.block_tokens, full)


def _word(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else canonical_json(value).decode()


def _chat(body: Body, stream: Stream, _config: KeyConfig) -> None:
    _tools(body, stream)
    _messages(_required(body, "messages"), stream)


def _anthropic(body: Body, stream: Stream, _config: KeyConfig) -> None:
    _tools(body, stream)
    system = body.get("system")
    if system:
        stream.put(ROLE, "system")
        _content(system, stream, "system")
    _messages(_required(body, "messages"), stream)


def _responses(body: Body, stream: Stream, _config: KeyConfig) -> None:
    previous = body.get("previous_response_id")
    if isinstance(previous, str):
        stream.put(PREVIOUS, previous)
    _tools(body, stream)
    instructions = body.get("instructions")
    if isinstance(instructions, str):
        stream.put(ROLE, "system")
        stream.put(TEXT, instructions)
    given = _required(body, "input")
    if isinstance(given, str):
        stream.put(ROLE, "user")
        stream.put(TEXT, given)
        return
    for index, item in enumerate(_list(given, "input")):
        if isinstance(item, dict) and "role" in item:
            _message(item, stream, f"input[{index}]")
        else:
            stream.put_json(ITEM, item)


def _completion(body: Body, stream: Stream, config: KeyConfig) -> None:
    if body.get("prompt") is None and body.get("prompt_embeds") is not None:
        stream.put_media("embeds", body["prompt_embeds"])
        return
    _prompts(_required(body, "prompt"), stream, config, "prompt")


def _embedding(body: Body, stream: Stream, config: KeyConfig) -> None:
    if "messages" in body:
        _messages(body["messages"], stream)
    else:
        _prompts(_required(body, "input"), stream, config, "input")


def _tokenize(body: Body, stream: Stream, config: KeyConfig) -> None:
    if "messages" in body:
        _chat(body, stream, config)
    else:
        _prompts(_required(body, "prompt"), stream, config, "prompt")


def _pairs(*fields: str) -> Callable[[Body, Stream, KeyConfig], None]:
    """A reader for calls that compare texts: the fields in this order, those that are there."""

    def read(body: Body, stream: Stream, _config: KeyConfig) -> None:
        for field in fields:
            value = body.get(field)
            for item in value if isinstance(value, list) else [value]:
                if isinstance(item, str):
                    stream.put(PROMPT, item)
                elif item is not None:
                    stream.put_json(ITEM, item)

    return read


def _tools(body: Body, stream: Stream) -> None:
    tools = body.get("tools")
    if tools:
        stream.put_json(TOOLS, [_unmarked(tool) for tool in _list(tools, "tools")])


def _messages(given: object, stream: Stream) -> None:
    messages = _list(given, "messages")
    index = 0
    while index < len(messages):
        index = stream.put_turns(messages, index)
        if index < len(messages):
            _message(messages[index], stream, f"messages[{index}]")
            index += 1


def _message(message: object, stream: Stream, where: str) -> None:
    if not isinstance(message, dict):
        raise _wrong(where, "an object")
    role = message.get("role")
    if not isinstance(role, str):
        raise _wrong(f"{where}.role", "a string")
    stream.put(ROLE, role)
    for field, tag in (("name", NAME), ("tool_call_id", RESULT)):
        value = message.get(field)
        if isinstance(value, str):
            stream.put(tag, value)
    content = message.get("content")
    if type(content) is str:
        stream.put(TEXT, content)
    elif content is not None:
        _content(content, stream, f"{where}.content")
    calls = message.get("tool_calls")
    if calls:
        stream.put_json(CALLS, calls)


def _content(content: object, stream: Stream, where: str) -> None:
    if isinstance(content, str):
        stream.put(TEXT, content)
        return
    if not isinstance(content, list):
        raise _wrong(where, "a string or a list of parts")
    for index, part in enumerate(content):
        if isinstance(part, str):
            stream.put(TEXT, part)
        elif isinstance(part, dict):
            _part(part, stream, f"{where}[{index}]")
        else:
            raise _wrong(f"{where}[{index}]", "a string or an object")


def _part(part: dict[str, object], stream: Stream, where: str) -> None:
    kind = part.get("type")
    if kind in _TEXT_KINDS:
        text = part.get("text")
        if not isinstance(text, str):
            raise _wrong(f"{where}.text", "a string")
        stream.put(TEXT, text)
    elif kind == "tool_result":
        _tool_result(part, stream)
    elif isinstance(kind, str) and any(word in kind for word in _MEDIA_WORDS):
        stream.put_media(kind, _unmarked(part))
    else:
        stream.put_json(ITEM, _unmarked(part))


def _tool_result(part: dict[str, object], stream: Stream) -> None:
    """One level deep: what a tool answered is text and pictures, never another answer."""
    stream.put(RESULT, _word(part.get("tool_use_id")))
    content = part.get("content")
    for item in content if isinstance(content, list) else [content]:
        if isinstance(item, str):
            stream.put(TEXT, item)
        elif isinstance(item, dict) and item.get("type") != "tool_result":
            _part(item, stream, "content")
        elif item is not None:
            stream.put_json(ITEM, item)


def _prompts(value: object, stream: Stream, config: KeyConfig, where: str) -> None:
    """A text, token ids, or a batch of either: the first is the key, the others only weigh."""
    if isinstance(value, str):
        stream.put(PROMPT, value)
        return
    batch = _list(value, where)
    if not batch:
        raise RequestError(f"{where} must not be empty", param=where)
    first = batch[0]
    if isinstance(first, int):
        _ids(batch, stream, config, where)
        return
    if isinstance(first, str):
        stream.put(PROMPT, first)
    elif isinstance(first, list):
        _ids(first, stream, config, f"{where}[0]")
    elif isinstance(first, dict):
        stream.put_json(ITEM, first)
    else:
        raise _wrong(f"{where}[0]", "a string, a token id or a list of token ids")
    for other in batch[1:]:
        if isinstance(other, str):
            stream.skip(other)
        elif isinstance(other, list):
            stream.unread += len(other) * config.bytes_per_token
        else:
            stream.unread += len(canonical_json(other))


def _ids(ids: list[object], stream: Stream, config: KeyConfig, where: str) -> None:
    limit = config.limit_tokens
    try:
        stream.token_ids = array("I", msgspec.convert(ids[:limit], list[int]))
    except (msgspec.ValidationError, OverflowError):
        raise RequestError(
            f"{where} must be a list of token ids, integers from 0 to 2^32 - 1", param=where
        ) from None
    stream.unread += max(0, len(ids) - limit) * config.bytes_per_token


def _unmarked(part: object) -> object:
    """Without `cache_control`, which says what to cache and not what to compute."""
    if isinstance(part, dict) and "cache_control" in part:
        return {key: value for key, value in part.items() if key != "cache_control"}
    return part


def _required(body: Body, field: str) -> object:
    value = body.get(field)
    if value is None:
        raise RequestError(f"{field} is required", param=field, code="missing_required_parameter")
    return value


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise _wrong(where, "a list")
    return value


def _wrong(where: str, wanted: str) -> RequestError:
    return RequestError(f"{where} must be {wanted}", param=where, code="invalid_type")


_READERS: dict[Api, Callable[[Body, Stream, KeyConfig], None]] = {
    Api.CHAT: _chat,
    Api.COMPLETION: _completion,
    Api.RESPONSES: _responses,
    Api.MESSAGES: _anthropic,
    Api.EMBEDDING: _embedding,
    Api.TOKENIZE: _tokenize,
    Api.RERANK: _pairs("query", "documents"),
    Api.SCORE: _pairs("text_1", "queries", "query", "text_2", "documents", "items"),
}
