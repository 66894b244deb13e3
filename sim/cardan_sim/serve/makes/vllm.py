"""vLLM's manners (0.32.0): what it checks, how it words errors, when it sends a head.

It answers an unknown model with 404 and cuts `max_tokens` to the context. A head leaves when a
request is accepted, so a later failure can only be told inside the stream: an error event, then
[DONE] and a proper end. The request id header becomes the answer's id.
"""

from __future__ import annotations

import json
import secrets
from typing import TYPE_CHECKING, Any, ClassVar, Final

import orjson

from cardan_sim.serve.asks import NotTextError
from cardan_sim.serve.errors import ApiError, InvalidError, MethodError, NotFoundError
from cardan_sim.serve.makes.base import Frames, Make
from cardan_sim.serve.makes.vllm_openai import ChatFrames, CompletionFrames, whole_chat, whole_text
from cardan_sim.serve.makes.vllm_others import (
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
    from cardan_sim.serve.settings import Settings

BUSY: Final = (
    "The engine is currently busy and cannot accept new requests. Please try again later or on a "
    "different instance."
)
DEAD: Final = "EngineCore encountered an issue. See stack trace (above) for the root cause."
DRAINED: Final = "cannot schedule new futures after shutdown"
# The key guards the API alone; /tokenize, /invocations, /metrics and the rest are open.
_GUARDED: Final = ("/v1", "/v2", "/inference")
_PREFIXES: Final = {
    "chat": "chatcmpl-",
    "messages": "chatcmpl-",
    "completion": "cmpl-",
    "responses": "resp_",
}


class VllmMake(Make):
    """How vLLM answers."""

    name: ClassVar[str] = "vllm"
    version: ClassVar[str] = "0.32.0"
    head_first: ClassVar[bool] = True

    def __init__(self, settings: Settings) -> None:
        """The fingerprint tells builds apart, here seeds."""
        super().__init__(settings)
        self.fingerprint = f"vllm-{self.version}-{settings.seed & 0xFFFFFFFF:08x}"

    def check_model(self, model: str | None) -> None:
        """404 for a model it does not serve; no model means the one it does."""
        if model is not None and model != self.served:
            message = f"The model `{model}` does not exist. Valid aliases: {self.served}."
            raise ApiError(404, message, "NotFoundError", "model")

    def check(self, ask: Ask, headers: Mapping[str, str]) -> None:
        """In the order in which the real one complains."""
        self.check_model(ask.model)
        self._check_fields(ask, headers)
        self._check_prompts(ask)
        context = self.settings.spec.max_model_len
        longest = max(map(len, ask.prompts))
        if longest >= context:
            message = (
                f"This model's maximum context length is {context} tokens. However, your prompt "
                f"contains {longest} input tokens, which exceeds this limit even without any "
                "output tokens. Please reduce the length of the input prompt. "
                f"(parameter=input_tokens, value={longest})"
            )
            raise ApiError(400, message, param="input_tokens")
        if ask.limit is not None:
            ask.limit = min(ask.limit, context - longest)

    def _check_fields(self, ask: Ask, headers: Mapping[str, str]) -> None:
        body = ask.body
        if body.get("stream_options") and not ask.stream:
            message = (
                "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
            )
            raise ApiError(400, message, param="stream_options")
        if body.get("suffix"):
            message = "suffix is only supported for models with FIM completion rendering"
            raise ApiError(400, message, param="suffix")
        previous = body.get("previous_response_id")
        if previous and ask.kind == "responses":
            message = f"Response with id '{previous}' not found."
            raise ApiError(404, message, "invalid_request_error", "response_id")
        temperature = body.get("temperature")
        if temperature is not None and temperature < 0:
            value = float(temperature)
            message = f"temperature must be non-negative, got {value}."
            message += f" (parameter=temperature, value={value})"
            raise ApiError(400, message, param="temperature")
        if ask.n < 1:
            raise ApiError(400, f"n must be at least 1, got {ask.n}.")
        if ask.limit is not None and ask.limit < 1:
            message = f"max_tokens must be at least 1, got {ask.limit}."
            message += f" (parameter=max_tokens, value={ask.limit})"
            raise ApiError(400, message, param="max_tokens")
        self._check_stop(body.get("stop"))
        self._check_tools(body)
        rank = headers.get("x-data-parallel-rank", "0")
        if rank.isdigit() and int(rank) > 0:
            raise ApiError(400, f"data_parallel_rank {rank} is out of range [0, 1).")

    def _check_stop(self, stop: object) -> None:
        if isinstance(stop, list) and len(stop) > 4:
            message = f"List should have at most 4 items after validation, not {len(stop)}"
            raise InvalidError(("stop",), "too_long", message, f"<list of {len(stop)} items>")

    def _check_tools(self, body: Mapping[str, Any]) -> None:
        if self.settings.auto_tools or not body.get("tools"):
            return
        if body.get("tool_choice", "auto") == "auto":
            message = (
                '"auto" tool choice requires --enable-auto-tool-choice and --tool-call-parser '
                "to be set"
            )
            raise ApiError(400, message)

    def _check_prompts(self, ask: Ask) -> None:
        if ask.kind != "completion":
            if not ask.prompts:
                message = "Cannot apply chat template to an empty conversation. "
                raise ApiError(400, message + "Provide at least one message.")
            return
        if ask.body["prompt"] == []:
            raise ApiError(400, "You must pass at least one prompt")
        if not all(ask.prompts):
            message = "Either prompt or prompt_embeds must be provided and non-empty. "
            raise ApiError(400, message + "(parameter=prompt)", param="prompt")
        highest = max(map(max, ask.prompts))
        if highest >= self.settings.spec.vocab_size:
            raise ApiError(400, f"Token id {highest} is out of vocabulary")

    def begin(
        self, ask: Ask, headers: Mapping[str, str], vocabulary: Vocabulary, created: int
    ) -> Reply:
        """The client's request id becomes part of the answer's."""
        own = headers.get("x-request-id") or ask.body.get("request_id") or secrets.token_hex(8)
        count = len(ask.prompts) * ask.n
        return Reply(
            ask,
            vocabulary,
            [f"{_PREFIXES.get(ask.kind, '')}{own}"] * count,
            self.served,
            created,
            sum(map(len, ask.prompts)),
            self.settings.cache_report,
            extra=self.fingerprint,
        )

    def frames(self, reply: Reply) -> Frames:
        """By the kind of route."""
        kinds: dict[str, type[Frames]] = {
            "chat": ChatFrames,
            "completion": CompletionFrames,
            "messages": MessageFrames,
            "responses": ResponseFrames,
        }
        return kinds[reply.ask.kind](reply)

    def whole(self, reply: Reply, ends: Sequence[Ended], totals: Totals) -> dict[str, Any]:
        """By the kind of route."""
        block = self.settings.spec.block_size
        match reply.ask.kind:
            case "messages":
                return whole_message(reply, totals)
            case "responses":
                return whole_response(reply, totals)
            case "completion":
                return whole_text(reply, ends, totals)
            case _:
                return whole_chat(reply, ends, totals, block)

    def error_body(self, error: ApiError, kind: str) -> tuple[str, bytes]:
        """OpenAI's nested shape, Anthropic's on /v1/messages, the framework's for routes."""
        if isinstance(error, NotFoundError | MethodError):
            return "application/json", orjson.dumps({"detail": error.message})
        if error.status == 401:
            return "application/json", orjson.dumps({"error": "Unauthorized"})
        body = self._error(error)
        if kind == "messages":
            body = {"type": "error", "error": {"type": error.kind, "message": body["message"]}}
            return "application/json", orjson.dumps(body)
        return "application/json", orjson.dumps({"error": body})

    def _error(self, error: ApiError) -> dict[str, Any]:
        message, param = error.message, error.param
        if isinstance(error, NotTextError):
            message = f"{self.served} is not a multimodal model"
        if isinstance(error, InvalidError):
            fault = {"type": error.fault, "loc": param, "msg": error.message, "input": error.shown}
            message = f"1 validation error:\n  {fault}"
        return {"message": message, "type": error.kind, "param": param, "code": error.status}

    def stream_error(self, error: ApiError, reply: Reply) -> list[bytes]:
        """An error event, then the usual end: only a parser of the body notices."""
        del reply
        event = {"error": self._error(error)}
        # The real one writes this event with json.dumps, unlike all others.
        return [b"data: " + json.dumps(event).encode() + b"\n\n", DONE]

    def refusal(self, ended: Ended) -> ApiError:
        """503 when the queue is full, 500 while it drains."""
        if ended.refusal == "draining":
            return ApiError(500, DRAINED, "InternalServerError")
        return ApiError(503, BUSY, "Service Unavailable")

    def needs_key(self, path: str) -> bool:
        """Only the API itself."""
        return path.startswith(_GUARDED)

    def models(self) -> dict[str, Any]:
        """One model, with the permissions OpenAI once had."""
        permission = {
            "id": "modelperm-" + secrets.token_hex(8),
            "object": "model_permission",
            "created": self.started_at,
            "allow_create_engine": False,
            "allow_sampling": True,
            "allow_logprobs": True,
            "allow_search_indices": False,
            "allow_view": True,
            "allow_fine_tuning": False,
            "organization": "*",
            "group": None,
            "is_blocking": False,
        }
        model = {
            "id": self.served,
            "object": "model",
            "created": self.started_at,
            "owned_by": "vllm",
            "root": f"/models/{self.settings.spec.model}",
            "parent": None,
            "max_model_len": self.settings.spec.max_model_len,
            "permission": [permission],
        }
        return {"object": "list", "data": [model]}
