"""OpenAI answers into messages.

A chunk of a stream and a whole answer have the same shape here. What has no field of its own goes
into `extra`; a null is the absence that it is in protobuf. An engine that sends another type than
its API says raises `AnswerError`.
"""

from __future__ import annotations

import base64
import struct
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import orjson
from cardan.errors import CardanError

from cardan_router.grpc import structs
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2, receipt_pb2

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from google.protobuf import struct_pb2

# JSON as it came: anything may be anywhere, and protobuf checks the types when they are assigned.
Json = dict[str, Any]

_RESPONSE = frozenset({"id", "object", "created", "model", "choices", "usage", "prompt_token_ids"})
_CHOICE = frozenset(
    {
        "index",
        "delta",
        "message",
        "text",
        "finish_reason",
        "stop_reason",
        "matched_stop",
        "logprobs",
        "token_ids",
    }
)
_MESSAGE = frozenset({"role", "content", "reasoning", "reasoning_content", "refusal", "tool_calls"})
_USAGE = frozenset(
    {
        "prompt_tokens",
        "completion_tokens",
        "total_tokens",
        "reasoning_tokens",
        "prompt_tokens_details",
        "completion_tokens_details",
    }
)
_EMBED = frozenset({"object", "data", "model", "usage"})
_MODEL = frozenset({"id", "object", "created", "owned_by"})


T = TypeVar("T")


class _HasExtra(Protocol):
    @property
    def extra(self) -> struct_pb2.Struct: ...


class AnswerError(CardanError):
    """The engine's answer is not what its API promises."""


def parse(data: bytes | bytearray | memoryview) -> Json:
    """One JSON object of an answer. Raises `AnswerError`."""
    try:
        value = orjson.loads(data)
    except orjson.JSONDecodeError:
        raise AnswerError("the engine's answer is not JSON") from None
    if not isinstance(value, dict):
        raise AnswerError("the engine's answer is not a JSON object")
    return value


def generated(answer: Json) -> inference_pb2.GenerateResponse:
    """A whole answer, or one chunk of a stream, of chat or of completions."""
    return _checked(_generated, answer)


def embedded(answer: Json) -> inference_pb2.EmbedResponse:
    """An answer of embeddings."""
    return _checked(_embedded, answer)


def model(entry: Json) -> inference_pb2.Model:
    """One entry of the list of models."""
    return _checked(_model, entry)


def receipt(told: Json) -> receipt_pb2.Receipt:
    """A route receipt as `cardan_router.receipts` writes it."""
    assigned = told.get("assigned")
    return receipt_pb2.Receipt(
        endpoint=told["endpoint"],
        reason=_reason(told["reason"]),
        key=told["key"],
        depth=told["depth"],
        moved=told["moved"],
        predicted_ttft_s=told["predicted_ttft_s"],
        predicted_cached_tokens=told["predicted_cached_tokens"],
        candidates=[receipt_pb2.Candidate(**candidate) for candidate in told["candidates"]],
        attempts=told["attempts"],
        queued_s=told["queued_s"],
        assigned=None
        if assigned is None
        else receipt_pb2.Assigned(**assigned | {"reason": _reason(assigned["reason"])}),
    )


def _reason(word: str) -> receipt_pb2.DecisionReason.ValueType:
    return receipt_pb2.DecisionReason.Value("DECISION_REASON_" + word.upper().replace("-", "_"))


def _checked(translate: Callable[[Json], T], answer: Json) -> T:
    try:
        return translate(answer)
    except (TypeError, ValueError, AttributeError, KeyError, struct.error) as error:
        raise AnswerError(f"the engine's answer has an unknown form: {error}") from error


def _generated(answer: Json) -> inference_pb2.GenerateResponse:
    response = inference_pb2.GenerateResponse(
        id=answer.get("id") or "",
        model=answer.get("model") or "",
        created_s=int(answer.get("created") or 0),
        choices=[_choice(choice) for choice in answer.get("choices") or ()],
        prompt_token_ids=answer.get("prompt_token_ids") or (),
    )
    if answer.get("usage"):
        response.usage.CopyFrom(_usage(answer["usage"]))
    _set_extra(response, _others(answer, _RESPONSE))
    return response


def _choice(choice: Json) -> inference_pb2.Choice:
    piece = choice.get("delta") or choice.get("message") or {}
    text = piece.get("content") or choice.get("text") or ""
    out = inference_pb2.Choice(
        index=choice.get("index") or 0,
        role=piece.get("role") or "",
        text=text,
        reasoning=piece.get("reasoning") or piece.get("reasoning_content") or "",
        refusal=piece.get("refusal") or "",
        finish_reason=choice.get("finish_reason") or "",
        token_ids=choice.get("token_ids") or (),
    )
    for call in piece.get("tool_calls") or ():
        out.tool_calls.append(_tool_call(call))
    stop = choice.get("stop_reason")
    stop = choice.get("matched_stop") if stop is None else stop
    if stop is not None:
        out.stop_reason.CopyFrom(structs.value_from_json(stop))
    if choice.get("logprobs"):
        out.logprobs.CopyFrom(structs.from_json(choice["logprobs"]))
    _set_extra(out, _others(choice, _CHOICE) | _others(piece, _MESSAGE))
    return out


def _tool_call(call: Json) -> prompt_pb2.ToolCall:
    function = call.get("function") or {}
    return prompt_pb2.ToolCall(
        index=call.get("index") or 0,
        id=call.get("id") or "",
        name=function.get("name") or "",
        arguments=function.get("arguments") or "",
        type=call.get("type") or "",
    )


def _usage(usage: Json) -> inference_pb2.Usage:
    prompt = usage.get("prompt_tokens_details") or {}
    completion = usage.get("completion_tokens_details") or {}
    reasoning = usage.get("reasoning_tokens")
    out = inference_pb2.Usage(
        prompt_tokens=usage.get("prompt_tokens"),
        completion_tokens=usage.get("completion_tokens"),
        total_tokens=usage.get("total_tokens"),
        cached_tokens=prompt.get("cached_tokens"),
        reasoning_tokens=completion.get("reasoning_tokens") if reasoning is None else reasoning,
    )
    others = _others(usage, _USAGE)
    details = {
        "prompt_tokens_details": _others(prompt, frozenset({"cached_tokens"})),
        "completion_tokens_details": _others(completion, frozenset({"reasoning_tokens"})),
    }
    _set_extra(out, others | {name: rest for name, rest in details.items() if rest})
    return out


def _embedded(answer: Json) -> inference_pb2.EmbedResponse:
    response = inference_pb2.EmbedResponse(
        model=answer.get("model") or "",
        embeddings=[
            inference_pb2.Embedding(
                index=entry.get("index") or 0, values=_vector(entry["embedding"])
            )
            for entry in answer["data"]
        ],
    )
    if answer.get("usage"):
        response.usage.CopyFrom(_usage(answer["usage"]))
    _set_extra(response, _others(answer, _EMBED))
    return response


def _vector(values: object) -> Iterable[float]:
    """Numbers, or with `encoding_format: base64` the little-endian float32 bytes of them."""
    if isinstance(values, str):
        data = base64.b64decode(values, validate=True)  # binascii.Error is a ValueError
        return struct.unpack(f"<{len(data) // 4}f", data)
    if not isinstance(values, list):
        raise TypeError("an embedding is neither a list nor base64")
    return values


def _model(entry: Json) -> inference_pb2.Model:
    out = inference_pb2.Model(
        id=entry["id"],
        owned_by=entry.get("owned_by") or "",
        created_s=int(entry.get("created") or 0),
    )
    _set_extra(out, _others(entry, _MODEL))
    return out


def _others(members: Mapping[str, object], known: frozenset[str]) -> dict[str, object]:
    return {key: value for key, value in members.items() if value is not None and key not in known}


def _set_extra(message: _HasExtra, members: Mapping[str, object]) -> None:
    if members:
        message.extra.CopyFrom(structs.from_json(members))
