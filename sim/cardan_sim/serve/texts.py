"""Tokens without generation: tokenize, detokenize, counting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from cardan_sim.serve import asks
from cardan_sim.serve.errors import InvalidError

if TYPE_CHECKING:
    from array import array

    from aiohttp import web

    from cardan_sim.serve.context import Call, Context


def _prompts(body: dict[str, Any], vocab_size: int) -> list[array[int]]:
    """The prompt or the rendered messages; exactly one of them must be there."""
    if ("prompt" in body) == ("messages" in body):
        fault = "Value error, Exactly one of 'prompt' or 'messages' must be provided."
        raise InvalidError((), "value_error", fault, f"<dict of {len(body)} items>")
    if "messages" in body:
        return asks.chat_ask(body, vocab_size).prompts
    return asks.prompts_of(body["prompt"], vocab_size)


async def tokenize(context: Context, call: Call) -> web.StreamResponse:
    """Ids of a prompt or of a chat; SGLang takes several prompts."""
    body = await call.json_body()
    prompts = _prompts(body, context.settings.spec.vocab_size)
    tokens: list[Any] = [list(prompt) for prompt in prompts]
    count: Any = [len(prompt) for prompt in prompts]
    if not isinstance(body.get("prompt"), list):
        tokens, count = tokens[0], count[0]
    length = context.settings.spec.max_model_len
    if context.make.name == "sglang":
        return call.json({"tokens": tokens, "count": count, "max_model_len": length})
    document = {"count": count, "max_model_len": length, "tokens": tokens, "token_strs": None}
    if body.get("return_token_strs"):
        document["token_strs"] = [context.engine.vocabulary.text(token) for token in tokens]
    return call.json(document)


async def detokenize(context: Context, call: Call) -> web.StreamResponse:
    """Some text for ids; not the inverse of tokenize."""
    body = await call.json_body()
    tokens = body.get("tokens")
    if not isinstance(tokens, list) or not all(type(token) is int for token in tokens):
        raise InvalidError(("tokens",), "list_type", "Input should be a valid list", "...")
    text = context.engine.vocabulary.decode(tokens)
    return call.json({"text" if context.make.name == "sglang" else "prompt": text})


async def count_tokens(context: Context, call: Call) -> web.StreamResponse:
    """Anthropic's count."""
    body = await call.json_body()
    ask = asks.messages_ask(body, context.settings.spec.vocab_size)
    count = sum(map(len, ask.prompts))
    document: dict[str, Any] = {"input_tokens": count}
    if context.make.name == "vllm":
        document["context_management"] = {"original_input_tokens": count}
    return call.json(document)
