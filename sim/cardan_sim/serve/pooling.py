"""Embeddings, scores and rankings: deterministic numbers, computed after a real prefill.

A vector is the sum of one pseudo-random vector for each token, so texts that share words are near
each other, and a ranking prefers documents that share tokens with the query. The prompt goes
through the engine's queue and batch like any other; it only generates nothing.
"""

from __future__ import annotations

import base64
import math
import secrets
import time
from array import array
from typing import TYPE_CHECKING, Any, Final

import xxhash

from cardan_sim.engine import Request
from cardan_sim.serve import asks
from cardan_sim.serve.errors import ApiError, InvalidError, NotFoundError
from cardan_sim.serve.makes.vllm import DEAD
from cardan_sim.serve.pump import EngineDiedError

if TYPE_CHECKING:
    from aiohttp import web

    from cardan_sim.serve.context import Call, Context

DIMENSIONS: Final = 64
# Distinct tokens of a text that shape its vector; more would only cost time.
_SEEN: Final = 256
_NOT_EMBEDDING: Final = (
    "This model does not appear to be an embedding model by default. Please add `--is-embedding` "
    "when launching the server or try another model."
)


def _check_task(context: Context) -> None:
    """A generating model has no such routes (vLLM) or refuses (SGLang)."""
    if context.settings.embeds:
        return
    if context.make.name == "vllm":
        raise NotFoundError
    raise ApiError(400, _NOT_EMBEDDING)


async def _compute(context: Context, call: Call, prompts: list[array[int]]) -> None:
    """Let the engine compute the prompts; ApiError if it refuses or dies."""
    if not all(prompts):
        raise ApiError(400, "The input must not be empty.")
    requests = [Request(context.next_id(), prompt, 0) for prompt in prompts]
    if call.record is not None:
        call.record.prompt_tokens = sum(map(len, prompts))
    feed = None
    try:
        feed = context.pump.open(requests, streamed=False)
        while not feed.over:
            await feed.next()
    except EngineDiedError:
        raise ApiError(500, DEAD, "InternalServerError") from None
    finally:
        if feed is not None:
            feed.close()
    if feed.refused is not None:
        if feed.refused.refusal == "too long":
            raise ApiError(400, "The input is longer than the model's context.")
        raise context.make.refusal(feed.refused)
    if call.record is not None:
        call.record.outcome = "whole"


def vector(prompt: array[int], dimensions: int = DIMENSIONS) -> list[float]:
    """A unit vector for token ids; the same ids in any process give the same vector."""
    total = [0.0] * dimensions
    for token in list(dict.fromkeys(prompt))[:_SEEN]:
        raw = b"".join(
            xxhash.xxh3_64_digest(token.to_bytes(4, "little"), part)
            for part in range(-(-dimensions // 8))
        )
        for index in range(dimensions):
            total[index] += raw[index] - 127.5
    length = math.sqrt(sum(value * value for value in total)) or 1.0
    return [value / length for value in total]


def similarity(one: array[int], other: array[int]) -> float:
    """Between 0 and 1: how alike two texts' vectors are."""
    product = sum(a * b for a, b in zip(vector(one), vector(other), strict=True))
    return (product + 1.0) / 2.0


def _base(prefix: str, context: Context) -> dict[str, Any]:
    return {
        "id": prefix + secrets.token_hex(8),
        "object": "list",
        "created": int(time.time()),
        "model": context.settings.served_model_name,
    }


def _usage(tokens: int) -> dict[str, Any]:
    return {
        "prompt_tokens": tokens,
        "total_tokens": tokens,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }


async def embeddings(context: Context, call: Call) -> web.StreamResponse:
    """/v1/embeddings, as floats or in base64."""
    _check_task(context)
    body = await call.json_body()
    _check_model(context, body)
    if "input" not in body:
        raise InvalidError(("input",), "missing", "Field required", "...")
    prompts = asks.prompts_of(body["input"], context.settings.spec.vocab_size)
    await _compute(context, call, prompts)
    dimensions = body.get("dimensions") or DIMENSIONS
    if not isinstance(dimensions, int) or not 0 < dimensions <= 4096:
        raise InvalidError(("dimensions",), "int_parsing", "Input should be a valid integer", "...")
    in_base64 = body.get("encoding_format") == "base64"
    data = []
    for index, prompt in enumerate(prompts):
        numbers = vector(prompt, dimensions)
        coded = base64.b64encode(array("f", numbers).tobytes()).decode() if in_base64 else numbers
        data.append({"index": index, "object": "embedding", "embedding": coded})
    document = _base("embd-", context) | {"data": data, "usage": _usage(sum(map(len, prompts)))}
    return call.json(document)


async def score(context: Context, call: Call) -> web.StreamResponse:
    """/score: one text against one or many."""
    _check_task(context)
    body = await call.json_body()
    _check_model(context, body)
    one, other = _texts(context, body, "text_1"), _texts(context, body, "text_2")
    await _compute(context, call, [*one, *other])
    if len(one) == 1:
        one *= len(other)
    if len(one) != len(other):
        raise ApiError(400, "Input lengths must be either 1:1, 1:N or N:N")
    data = [
        {"index": index, "object": "score", "score": similarity(a, b)}
        for index, (a, b) in enumerate(zip(one, other, strict=True))
    ]
    tokens = sum(map(len, [*one, *other]))
    return call.json(_base("score-", context) | {"data": data, "usage": _usage(tokens)})


async def rerank(context: Context, call: Call) -> web.StreamResponse:
    """/rerank: documents by their likeness to the query, the best first."""
    _check_task(context)
    body = await call.json_body()
    _check_model(context, body)
    query = _texts(context, body, "query")[0]
    documents = _texts(context, body, "documents")
    await _compute(context, call, [query, *documents])
    ranked = sorted(
        ((similarity(query, ids), -at) for at, ids in enumerate(documents)), reverse=True
    )
    results = [
        {
            "index": -at,
            "document": {"text": body["documents"][-at]},
            "relevance_score": likeness,
        }
        for likeness, at in ranked
    ]
    top = body.get("top_n")
    top = top if isinstance(top, int) and top > 0 else len(results)
    tokens = len(query) + sum(map(len, documents))
    document = {
        "id": "rerank-" + secrets.token_hex(8),
        "model": context.settings.served_model_name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "results": results[:top],
    }
    return call.json(document)


def _check_model(context: Context, body: dict[str, Any]) -> None:
    model, served = body.get("model"), context.settings.served_model_name
    if context.make.name == "vllm" and model not in (None, served):
        message = f"The model `{model}` does not exist. Valid aliases: {served}."
        raise ApiError(404, message, "NotFoundError", "model")


def _texts(context: Context, body: dict[str, Any], name: str) -> list[array[int]]:
    given = body.get(name)
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not texts or not all(isinstance(t, str) for t in texts):
        raise InvalidError((name,), "string_type", "Input should be a valid string", "...")
    return asks.prompts_of(texts, context.settings.spec.vocab_size)
