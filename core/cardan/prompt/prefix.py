"""A request for the beginning of a prompt alone, to make it warm somewhere.

The body of a request that came is cut after the blocks that are wanted, so that its engine computes
the very tokens that later prompts begin with, and hardly any more. A cut falls inside a text: what
the tokenizer makes of the last word there may differ, which costs one block of the engine's.

Only fields that shape the prompt are kept. All others would be worse than useless: streams, several
answers, grammars that take seconds to compile, log probabilities that turn prefix caches off.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING, Any, Final

from cardan.prompt.bodies import text_size
from cardan.request import Api

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from cardan.prompt.chain import KeyConfig

# What a prompt is made from, in vLLM, SGLang and OpenAI's and Anthropic's words.
SHAPING: Final = frozenset(
    {
        *("model", "lora_path", "cache_salt", "extra_key"),
        *("messages", "prompt", "system", "tools", "tool_choice", "documents"),
        *("chat_template", "chat_template_kwargs", "reasoning_effort"),
        *("add_special_tokens", "mm_processor_kwargs"),
    }
)
# Chat templates refuse a conversation in which nobody asks.
ASKING: Final[dict[str, object]] = {"role": "user", "content": "."}


def prefix_request(
    api: Api, body: Mapping[str, object], blocks: int | None, config: KeyConfig
) -> dict[str, object] | None:
    """The body of a request for one token after the first `blocks` of a prompt; None: all of it.

    `body` is one that `read_prompt` has read. None for calls that have no prompt to go on from.
    """
    kept = {field: value for field, value in body.items() if field in SHAPING}
    if api in (Api.CHAT, Api.MESSAGES):
        cut = _conversation(api, kept, blocks, config)
    elif api is Api.COMPLETION:
        cut = _completion(kept, blocks, config)
    else:
        cut = None
    return None if cut is None else {**cut, "max_tokens": 1, "stream": False}


def _completion(
    body: dict[str, object], blocks: int | None, config: KeyConfig
) -> dict[str, object] | None:
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], str | list):
        prompt = prompt[0]  # of several the first is the key
    if isinstance(prompt, list) and prompt and isinstance(prompt[0], int):
        ids = prompt if blocks is None else prompt[: blocks * config.block_tokens]
        return {**body, "prompt": ids}
    if not isinstance(prompt, str):
        return None
    return _cut(
        Api.COMPLETION, len(prompt), lambda n: {**body, "prompt": prompt[:n]}, blocks, config
    )


def _conversation(
    api: Api, body: dict[str, object], blocks: int | None, config: KeyConfig
) -> dict[str, object] | None:
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        return None
    told = _cut(api, len(given), lambda n: {**body, "messages": given[:n]}, blocks, config)
    *before, last = _messages(told)
    text = last.get("content")
    if isinstance(text, str) and not last.get("tool_calls"):

        def shortened(chars: int) -> dict[str, object]:
            return {**body, "messages": [*before, {**last, "content": text[:chars]}]}

        told = _cut(api, len(text), shortened, blocks, config)
    messages = _messages(told)
    if all(message.get("role") != "user" for message in messages):
        told["messages"] = [*messages, ASKING]
    return told


def _cut(
    api: Api,
    most: int,
    part: Callable[[int], dict[str, object]],
    blocks: int | None,
    config: KeyConfig,
) -> dict[str, object]:
    """The least of `part(1)` … `part(most)` whose text is as long as the blocks; else the last."""
    if blocks is None:
        return part(most)
    limit = blocks * config.block_bytes

    def reaches(n: int) -> bool:
        return text_size(api, part(n), config, limit) >= limit

    return part(1 + bisect_left(range(1, most), True, key=reaches))


def _messages(body: dict[str, object]) -> list[dict[str, object]]:
    messages: Any = body["messages"]
    return list(messages)
