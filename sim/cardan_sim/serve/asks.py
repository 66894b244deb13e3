"""From a JSON body to what is asked of the engine, the same for both makes.

Fields nobody simulates are accepted and ignored, as real engines accept what they do not know.
What the makes judge differently (model names, limits, roles) they check themselves, on the `Ask`.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

import xxhash

from cardan_sim.engine import encode, encode_chat
from cardan_sim.serve.errors import ApiError, InvalidError
from cardan_sim.serve.tools import ToolCall, chosen_tool

if TYPE_CHECKING:
    from collections.abc import Sequence

Body = dict[str, Any]
Kind = Literal["chat", "completion", "messages", "responses", "native"]

_NUMBERS: Final = {
    "max_tokens": int,
    "max_completion_tokens": int,
    "max_output_tokens": int,
    "n": int,
    "temperature": float,
    "top_p": float,
    "priority": int,
    "seed": int,
}


@dataclass(slots=True)
class Ask:
    """A generation that was asked for.

    prompts: token ids, one for each prompt; each is answered n times. limit: tokens of one
    answer, None if the client named none. tool: the call the answer has to be, if any.
    """

    kind: Kind
    body: Body
    model: str | None
    prompts: list[array[int]]
    n: int = 1
    limit: int | None = None
    stream: bool = False
    tool: ToolCall | None = None

    @property
    def include_usage(self) -> bool:
        """A stream ends with a usage event."""
        return bool((self.body.get("stream_options") or {}).get("include_usage"))

    @property
    def continuous_usage(self) -> bool:
        """Every event has the usage so far."""
        options = self.body.get("stream_options") or {}
        return self.include_usage and bool(options.get("continuous_usage_stats"))

    @property
    def return_ids(self) -> bool:
        """Token ids are wanted beside the text."""
        return bool(self.body.get("return_token_ids"))

    @property
    def cache_seed(self) -> int:
        """Keeps apart what must not share its cache: tenants and adapters."""
        parts = [self.body.get("cache_salt"), self.body.get("extra_key")]
        if not any(parts):
            return 0
        return xxhash.xxh3_64_intdigest(repr(parts).encode())


def check_types(body: Body) -> None:
    """InvalidError for a field whose type is wrong."""
    for name, kind in _NUMBERS.items():
        value = body.get(name)
        if value is None or (isinstance(value, int) and not isinstance(value, bool)):
            continue
        if isinstance(value, float) and (kind is float or value.is_integer()):
            continue
        word = "integer" if kind is int else "number"
        message = f"Input should be a valid {word}, unable to parse string as an {word}"
        raise InvalidError((name,), f"{kind.__name__}_parsing", message, repr(value))
    if not isinstance(body.get("stream_options") or {}, dict):
        raise InvalidError(
            ("stream_options",), "model_type", "Input should be a valid dictionary", "..."
        )


def chat_ask(body: Body, vocab_size: int) -> Ask:
    """A chat completion."""
    messages = _required_list(body, "messages")
    turns = [_turn(message, at) for at, message in enumerate(messages)]
    tool = chosen_tool(body)
    if body.get("tools") and body.get("tool_choice") != "none":
        turns.insert(0, ("tools", repr(body["tools"])))
    limit = body.get("max_completion_tokens")
    return Ask(
        "chat",
        body,
        _model(body),
        [encode_chat(turns, vocab_size)] if turns else [],
        _count(body),
        body.get("max_tokens") if limit is None else limit,
        bool(body.get("stream")),
        tool,
    )


def messages_ask(body: Body, vocab_size: int) -> Ask:
    """An Anthropic message: the system prompt is a field of its own."""
    messages = _required_list(body, "messages")
    turns = [_turn(message, at) for at, message in enumerate(messages)]
    if body.get("system"):
        turns.insert(0, ("system", _text(body["system"], 0)))
    limit = body.get("max_tokens")
    prompts = [encode_chat(turns, vocab_size)] if turns else []
    return Ask("messages", body, _model(body), prompts, 1, limit, bool(body.get("stream")))


def responses_ask(body: Body, vocab_size: int) -> Ask:
    """An OpenAI response: input is a text or a list of items."""
    given = body.get("input")
    if given is None:
        raise _missing(body, "input")
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    if not isinstance(items, list):
        raise InvalidError(("input",), "list_type", "Input should be a valid list", repr(given))
    turns = [_turn(item, at) for at, item in enumerate(items)]
    if body.get("instructions"):
        turns.insert(0, ("system", str(body["instructions"])))
    limit = body.get("max_output_tokens")
    prompts = [encode_chat(turns, vocab_size)] if turns else []
    return Ask("responses", body, _model(body), prompts, 1, limit, bool(body.get("stream")))


def completion_ask(body: Body, vocab_size: int) -> Ask:
    """A text completion: one prompt or several, as text or as token ids."""
    if "prompt" not in body:
        raise _missing(body, "prompt")
    prompts = prompts_of(body["prompt"], vocab_size)
    stream = bool(body.get("stream"))
    limit = body.get("max_tokens")
    return Ask("completion", body, _model(body), prompts, _count(body), limit, stream)


def native_ask(body: Body, vocab_size: int) -> Ask:
    """SGLang's own form: text or input_ids, and sampling parameters in an object."""
    given = body.get("input_ids", body.get("text"))
    if given is None:
        raise ApiError(400, "Either text, input_ids or input_embeds should be provided.")
    params = body.get("sampling_params") or {}
    prompts = prompts_of(given, vocab_size)
    # 128 is the native default of max_new_tokens.
    limit = params.get("max_new_tokens", 128)
    return Ask("native", body, None, prompts[:1], 1, limit, bool(body.get("stream")))


def prompts_of(given: object, vocab_size: int) -> list[array[int]]:
    """Token ids of a text, a list of texts, token ids, or a list of token ids.

    InvalidError for anything else.
    """
    if isinstance(given, str):
        return [encode(given, vocab_size)]
    if isinstance(given, list):
        if all(isinstance(item, str) for item in given):
            return [encode(item, vocab_size) for item in given]
        if _are_ids(given):
            return [array("I", given)]
        if all(isinstance(item, list) and _are_ids(item) for item in given):
            return [array("I", item) for item in given]
    raise InvalidError(("prompt",), "string_type", "Input should be a valid string", "...")


def _are_ids(items: Sequence[object]) -> bool:
    return all(type(item) is int and 0 <= item < 1 << 32 for item in items)


def _model(body: Body) -> str | None:
    model = body.get("model")
    if model is not None and not isinstance(model, str):
        raise InvalidError(("model",), "string_type", "Input should be a valid string", repr(model))
    return model


def _count(body: Body) -> int:
    n = body.get("n")
    return 1 if n is None else int(n)


def _missing(body: Body, name: str) -> InvalidError:
    return InvalidError((name,), "missing", "Field required", f"<dict of {len(body)} items>")


def _required_list(body: Body, name: str) -> list[Any]:
    value = body.get(name)
    if value is None:
        raise _missing(body, name)
    if not isinstance(value, list):
        raise InvalidError((name,), "list_type", "Input should be a valid list", repr(value))
    return value


def _turn(message: object, at: int) -> tuple[str, str]:
    """(role, text) of one message; calls and results of tools count as text."""
    if not isinstance(message, dict):
        fault = "Input should be a valid dictionary"
        raise InvalidError(("messages", at), "dict_type", fault, repr(message))
    text = _text(message.get("content"), at)
    if message.get("tool_calls"):
        text += repr(message["tool_calls"])
    return str(message.get("role", "user")), text


def _text(content: object, at: int) -> str:
    if content is None:
        return ""
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        fault = "Input should be a valid string"
        raise InvalidError(("messages", at, "content"), "string_type", fault, repr(content))
    return "".join(map(_part, content))


def _part(part: object) -> str:
    """The text of one part; the makes refuse what is not text in their own words."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict):
        raise ApiError(400, "Input should be a valid dictionary")
    kind = part.get("type", "text")
    if kind in ("text", "input_text", "output_text"):
        return str(part.get("text", ""))
    if kind in ("tool_use", "tool_result", "thinking"):
        return repr(part)
    raise NotTextError(str(kind))


class NotTextError(ApiError):
    """A part of a message that a text model cannot read."""

    def __init__(self, kind: str) -> None:
        """`kind` is the part's type."""
        super().__init__(400, f"unsupported content type {kind!r}")
        self.part = kind
