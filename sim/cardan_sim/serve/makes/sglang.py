"""SGLang's manners (0.5.23): what it checks, how it words errors, when it sends a head.

Any model name is served, and echoed. `max_tokens` beyond the context is an error. A head leaves
with the first event only, and a refusal of the scheduler is that event: HTTP 200, then
`{"error": {... "code": 503}}` and [DONE]. The request id header is ignored; the body's `rid` is
the answer's id.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from cardan_sim.serve.asks import NotTextError
from cardan_sim.serve.errors import (
    ApiError,
    InvalidError,
    MethodError,
    NotFoundError,
    NotObjectError,
)
from cardan_sim.serve.makes.base import Frames, Make
from cardan_sim.serve.makes.sglang_native import NativeFrames, whole_native
from cardan_sim.serve.makes.sglang_openai import (
    ChatFrames,
    CompletionFrames,
    whole_chat,
    whole_text,
)
from cardan_sim.serve.makes.sglang_others import (
    MessageFrames,
    ResponseFrames,
    whole_message,
    whole_response,
)
from cardan_sim.serve.reply import DONE, Reply

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from cardan_sim.engine import Ended
    from cardan_sim.engine.tokens import Vocabulary
    from cardan_sim.serve.asks import Ask
    from cardan_sim.serve.reply import Totals

STORE_OFF: Final = (
    "Response store is disabled. Stateful Responses require --enable-response-store on a "
    "standalone server; response storage is unavailable in PD mode."
)
FULL: Final = "The request queue is full."
_OPEN: Final = ("/health", "/ready", "/metrics")
# What a validation error drags along: server paths are part of the message.
_WHERE: Final = (
    '  File "/opt/sglang/env/lib/python3.11/site-packages/sglang/srt/entrypoints/http_server.py", '
    "line 1870, in openai_v1_chat_completions\n    POST"
)
_ROLES: Final = frozenset(
    {"system", "assistant", "tool", "function", "developer", "latest_reminder", "root", "user"}
)
# Tokens of the pool the scheduler keeps back from one input: 16,384 allowed 16,378.
_POOL_RESERVE: Final = 6


class StoreOffError(ApiError):
    """Stored responses are not kept; the one error that is nested."""


class SglangMake(Make):
    """How SGLang answers."""

    name: ClassVar[str] = "sglang"
    version: ClassVar[str] = "0.5.23"
    head_first: ClassVar[bool] = False

    def check(self, ask: Ask, headers: Mapping[str, str]) -> None:
        """In the order in which the real one complains."""
        self._check_fields(ask, headers)
        if not ask.prompts and ask.kind != "completion":
            raise ApiError(400, "Messages cannot be empty.")
        if not ask.prompts or not all(ask.prompts):
            raise ApiError(400, "Prompt cannot be empty")
        self._check_length(ask)

    def _check_fields(self, ask: Ask, headers: Mapping[str, str]) -> None:
        body = ask.body
        _, colon, adapter = (ask.model or "").partition(":")
        if colon:
            message = f"LoRA adapter '{adapter}' was requested, but LoRA is not enabled. "
            message += "Please launch the server with --enable-lora flag and preload adapters "
            raise ApiError(400, message + "using --lora-paths or /load_lora_adapter endpoint.")
        if body.get("previous_response_id") and ask.kind == "responses":
            param = "previous_response_id"
            raise StoreOffError(400, STORE_OFF, "invalid_request_error", param)
        if ask.kind == "chat":
            self._check_roles(body["messages"])
        temperature = body.get("temperature")
        if temperature is not None and temperature < 0:
            message = "temperature must be a non-negative finite number, got "
            raise ApiError(400, f"{message}{float(temperature)}.")
        top_p = body.get("top_p")
        if top_p is not None and not 0 < top_p <= 1:
            raise ApiError(400, f"top_p must be in (0, 1], got {float(top_p)}.")
        if ask.n < 1:
            # The real one falls over its own range().
            raise ApiError(400, "range() arg 3 must not be zero", "BadRequest")
        rank = headers.get("x-data-parallel-rank", body.get("routed_dp_rank"))
        if rank is not None:
            self._check_rank(str(rank))

    def _check_roles(self, messages: Sequence[Any]) -> None:
        for at, message in enumerate(messages):
            role = message.get("role")
            if not isinstance(role, str) or role.lower() not in _ROLES:
                fault = "Value error, 'role' must be one of " + ", ".join(sorted(_ROLES))
                raise InvalidError(("messages", at, "role"), "value_error", fault, repr(role))

    def _check_rank(self, rank: str) -> None:
        try:
            number = int(rank)
        except ValueError:
            message = f"Invalid X-Data-Parallel-Rank header: must be an integer, got {rank!r}"
            raise ApiError(400, message, "400") from None
        if number:
            raise ApiError(400, f"routed_dp_rank={number} out of range [0, 1)")

    def _check_length(self, ask: Ask) -> None:
        spec = self.settings.spec
        longest = max(map(len, ask.prompts))
        if longest >= spec.max_model_len:
            message = f"The input ({longest} tokens) is longer than the model's context length "
            raise ApiError(400, f"{message}({spec.max_model_len} tokens).")
        room = spec.kv_tokens - _POOL_RESERVE
        if longest > room:
            message = f"Input length ({longest} tokens) exceeds the maximum allowed length "
            message += f"({room} tokens). Use a shorter input or enable --allow-auto-truncate."
            raise ApiError(400, message)
        limit = ask.limit or 0
        if longest + limit > spec.max_model_len:
            raise ApiError(
                400,
                f"Requested token count exceeds the model's maximum context length of "
                f"{spec.max_model_len} tokens. You requested a total of {longest + limit} tokens: "
                f"{longest} tokens from the input messages and {limit} tokens for the completion. "
                "Please reduce the number of tokens in the input messages or the completion to "
                "fit within the limit.",
            )

    def judge(self, error: ApiError) -> ApiError:
        """A JSON body that is no object trips it up."""
        if isinstance(error, NotObjectError):
            return ApiError(500, "Internal Server Error")
        return error

    def begin(
        self, ask: Ask, headers: Mapping[str, str], vocabulary: Vocabulary, created: int
    ) -> Reply:
        """Every choice of a stream has an id of its own; `rid` names the first."""
        del headers
        prefix = {"messages": "msg_", "responses": "resp_"}.get(ask.kind, "")
        ids = [prefix + secrets.token_hex(16) for _ in range(len(ask.prompts) * ask.n)]
        rid = ask.body.get("rid")
        if isinstance(rid, str):
            ids[0] = rid
        return Reply(
            ask,
            vocabulary,
            ids,
            "default" if ask.model is None else ask.model,
            created,
            sum(map(len, ask.prompts)),
            self.settings.cache_report,
        )

    def frames(self, reply: Reply) -> Frames:
        """By the kind of route."""
        kinds: dict[str, type[Frames]] = {
            "chat": ChatFrames,
            "completion": CompletionFrames,
            "messages": MessageFrames,
            "responses": ResponseFrames,
            "native": NativeFrames,
        }
        return kinds[reply.ask.kind](reply)

    def whole(self, reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
        """By the kind of route."""
        match reply.ask.kind:
            case "messages":
                return whole_message(reply, totals)
            case "responses":
                return whole_response(reply, totals)
            case "completion":
                return whole_text(reply, ends, totals)
            case "native":
                return whole_native(reply, ends[0])
            case _:
                return whole_chat(reply, ends, totals)

    def error_body(self, error: ApiError, kind: str) -> tuple[str, bytes]:
        """Flat on OpenAI's routes, Anthropic's on /v1/messages, the framework's for routes."""
        if isinstance(error, NotFoundError | MethodError):
            return "application/json", orjson.dumps({"detail": error.message})
        if error.status == 401:
            return "application/json", orjson.dumps({"error": "Unauthorized"})
        if error.status == 500:
            return "text/plain; charset=utf-8", b"Internal Server Error"
        if isinstance(error, StoreOffError):
            nested = {"message": error.message, "type": error.kind, "param": error.param}
            return "application/json", orjson.dumps({"error": {**nested, "code": 400}})
        if kind == "messages":
            overloaded = error.status == 503
            name = "overloaded_error" if overloaded else "invalid_request_error"
            message = "Internal server error" if overloaded else error.message
            body = {"type": "error", "error": {"type": name, "message": message}}
            return "application/json", orjson.dumps(body)
        return "application/json", orjson.dumps(self._error(error))

    def _error(self, error: ApiError) -> dict[str, Any]:
        message = error.message
        if isinstance(error, NotTextError):
            message = "Model only supports text input; received unsupported content type "
            message += f"'{error.part}'."
        if isinstance(error, InvalidError):
            fault = {
                "type": error.fault,
                "loc": ("body", *error.loc),
                "msg": message,
                "input": error.shown,
            }
            message = f"1 validation error:\n  {fault}\n\n{_WHERE} [{fault}]"
        return {
            "object": "error",
            "message": message,
            "type": error.kind,
            "param": None,
            "code": error.status,
        }

    def stream_error(self, error: ApiError, reply: Reply) -> list[bytes]:
        """The refusal as an event; native streams tell it in their own form."""
        if reply.ask.kind == "native":
            return NativeFrames(reply).refused(error)
        event = {"error": self._error(error) | {"type": "SERVICE_UNAVAILABLE"}}
        return [b"data: " + json.dumps(event).encode() + b"\n\n", DONE]

    def refusal(self, ended: Ended) -> ApiError:
        """The queue is full; the type is the status as a text."""
        del ended
        return ApiError(503, FULL, "503")

    def needs_key(self, path: str) -> bool:
        """Everything but the probes and the metrics."""
        return not path.startswith(_OPEN)

    def models(self) -> dict[str, Any]:
        """One model."""
        return {"object": "list", "data": [self.model_card()]}

    def model_card(self) -> dict[str, Any]:
        """The one model."""
        return {
            "id": self.served,
            "object": "model",
            "created": self.started_at,
            "owned_by": "sglang",
            "root": self.served,
            "parent": None,
            "max_model_len": self.settings.spec.max_model_len,
        }
