"""Messages into OpenAI bodies.

The body is what an HTTP client would have sent, so routing, admission and the engine see no
difference. A field that is not set is not in the body. `extra` may add any field that has none of
its own here, and may not contradict one that has.
"""

from __future__ import annotations

import base64
import math
from typing import TYPE_CHECKING

import orjson
from cardan.errors import RequestError
from cardan.request import Api

from cardan_router.grpc import structs
from cardan_router.pb.cardan.v1 import prompt_pb2

if TYPE_CHECKING:
    from collections.abc import Iterable

    from google.protobuf import struct_pb2

    from cardan_router.pb.cardan.v1 import inference_pb2

Body = dict[str, object]

_AS_THEY_ARE = (
    "max_tokens",
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "frequency_penalty",
    "presence_penalty",
    "repetition_penalty",
    "seed",
    "n",
    "ignore_eos",
    "min_tokens",
)
_MODES = {
    prompt_pb2.ToolChoice.MODE_AUTO: "auto",
    prompt_pb2.ToolChoice.MODE_NONE: "none",
    prompt_pb2.ToolChoice.MODE_REQUIRED: "required",
}
# What the front door itself writes into a body, or would be a second prompt.
_OURS = frozenset({"model", "messages", "prompt", "input", "stream"})


def generate(request: inference_pb2.GenerateRequest, *, stream: bool) -> tuple[Api, Body]:
    """The API to call and its body. Raises `RequestError` naming the wrong field.

    A stream always asks the engine for usage: gRPC clients get it in the last response.
    """
    body: Body = {"model": request.model} if request.model else {}
    kind = request.WhichOneof("prompt")
    if kind == "chat":
        api = Api.CHAT
        body |= _chat(request.chat)
    elif kind is None:
        raise RequestError("one of chat, text, token_ids is required", param="prompt")
    else:
        api = Api.COMPLETION
        body["prompt"] = request.text if kind == "text" else list(request.token_ids.ids)
    body |= _sampling(request.sampling, api)
    extra = structs.to_json(request.extra, "extra")
    if stream:
        body["stream"] = True
        body["stream_options"] = _stream_options(extra.pop("stream_options", None))
    return api, _with_extra(body, extra)


def embed(request: inference_pb2.EmbedRequest) -> tuple[Api, Body]:
    """The body of an embeddings call. Raises `RequestError` naming the wrong field."""
    body: Body = {"model": request.model} if request.model else {}
    inputs = [_embed_input(item, i) for i, item in enumerate(request.inputs)]
    if not inputs:
        raise RequestError("at least one input is required", param="inputs")
    if len({type(item) for item in inputs}) > 1:
        raise RequestError("texts and token ids cannot be mixed", param="inputs")
    body["input"] = inputs[0] if len(inputs) == 1 else inputs
    if request.HasField("dimensions"):
        body["dimensions"] = request.dimensions
    return Api.EMBEDDING, _with_extra(body, structs.to_json(request.extra, "extra"))


def _with_extra(body: Body, extra: Body) -> Body:
    for key in extra:
        if key in body or key in _OURS:
            raise RequestError("has a field of its own", param=f"extra.{key}")
    return body | extra


def _stream_options(given: object) -> Body:
    if given is None:
        return {"include_usage": True}
    if not isinstance(given, dict):
        raise RequestError("must be an object", param="extra.stream_options")
    return {**given, "include_usage": True}


def _chat(chat: prompt_pb2.Chat) -> Body:
    if not chat.messages:
        raise RequestError("at least one message is required", param="chat.messages")
    body: Body = {
        "messages": [
            _message(message, f"chat.messages[{i}]") for i, message in enumerate(chat.messages)
        ]
    }
    if chat.tools:
        body["tools"] = [_tool(tool, f"chat.tools[{i}]") for i, tool in enumerate(chat.tools)]
    if chat.HasField("tool_choice"):
        body["tool_choice"] = _tool_choice(chat.tool_choice)
    if chat.HasField("parallel_tool_calls"):
        body["parallel_tool_calls"] = chat.parallel_tool_calls
    return body


def _message(message: prompt_pb2.Message, param: str) -> Body:
    if not message.role:
        raise RequestError("is required", param=f"{param}.role")
    if message.parts and message.HasField("content"):
        raise RequestError("not together with parts", param=f"{param}.content")
    out: Body = {"role": message.role}
    if message.parts:
        out["content"] = [
            _part(part, f"{param}.parts[{i}]") for i, part in enumerate(message.parts)
        ]
    else:
        out["content"] = message.content if message.HasField("content") else None
    if message.name:
        out["name"] = message.name
    if message.tool_calls:
        out["tool_calls"] = [_tool_call(call) for call in message.tool_calls]
    if message.tool_call_id:
        out["tool_call_id"] = message.tool_call_id
    return out | _message_extra(message.extra, out, param)


def _message_extra(extra: struct_pb2.Struct, out: Body, param: str) -> Body:
    members = structs.to_json(extra, f"{param}.extra")
    for key in members:
        if key in out:
            raise RequestError("has a field of its own", param=f"{param}.extra.{key}")
    return members


def _part(part: prompt_pb2.ContentPart, param: str) -> Body:
    kind = part.WhichOneof("part")
    if kind == "text":
        return {"type": "text", "text": part.text}
    if kind == "image_url":
        image: Body = {"url": part.image_url.url}
        if part.image_url.detail:
            image["detail"] = part.image_url.detail
        return {"type": "image_url", "image_url": image}
    if kind == "input_audio":
        data = base64.b64encode(part.input_audio.data).decode()
        audio = {"data": data, "format": part.input_audio.format}
        return {"type": "input_audio", "input_audio": audio}
    if kind == "video_url":
        return {"type": "video_url", "video_url": {"url": part.video_url.url}}
    if kind == "audio_url":
        return {"type": "audio_url", "audio_url": {"url": part.audio_url.url}}
    if kind == "other":
        return structs.to_json(part.other, f"{param}.other")
    raise RequestError("is empty", param=param)


def _tool_call(call: prompt_pb2.ToolCall) -> Body:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": call.type or "function", "function": function}


def _tool(tool: prompt_pb2.Tool, param: str) -> Body:
    function: Body = {"name": tool.name}
    if tool.description:
        function["description"] = tool.description
    if tool.parameters:
        function["parameters"] = _json_text(tool.parameters, f"{param}.parameters")
    if tool.HasField("strict"):
        function["strict"] = tool.strict
    return {"type": "function", "function": function}


def _tool_choice(choice: prompt_pb2.ToolChoice) -> object:
    if choice.WhichOneof("choice") == "function":
        return {"type": "function", "function": {"name": choice.function}}
    if choice.mode not in _MODES:
        raise RequestError("is not set", param="chat.tool_choice.mode")
    return _MODES[choice.mode]


def _sampling(sampling: prompt_pb2.Sampling, api: Api) -> Body:
    given = {field.name: value for field, value in sampling.ListFields()}
    body: Body = {
        name: _finite(given[name], f"sampling.{name}") for name in _AS_THEY_ARE if name in given
    }
    if sampling.stop:
        body["stop"] = list(sampling.stop)
    if sampling.stop_token_ids:
        body["stop_token_ids"] = list(sampling.stop_token_ids)
    if sampling.logit_bias:
        body["logit_bias"] = _logit_bias(sampling.logit_bias.items())
    if sampling.HasField("top_logprobs"):
        body |= _logprobs(sampling.top_logprobs, api)
    if sampling.response_format:
        body["response_format"] = _json_text(sampling.response_format, "sampling.response_format")
    return body


def _logit_bias(biases: Iterable[tuple[int, float]]) -> Body:
    return {
        str(token): _finite(bias, f"sampling.logit_bias[{token}]") for token, bias in sorted(biases)
    }


def _logprobs(top: int, api: Api) -> Body:
    return {"logprobs": True, "top_logprobs": top} if api is Api.CHAT else {"logprobs": top}


def _embed_input(item: inference_pb2.EmbedInput, index: int) -> str | list[int]:
    kind = item.WhichOneof("input")
    if kind is None:
        raise RequestError("is empty", param=f"inputs[{index}]")
    return item.text if kind == "text" else list(item.token_ids.ids)


def _finite(value: float, param: str) -> float:
    if not math.isfinite(value):
        raise RequestError("must be a finite number", param=param)
    return value


def _json_text(text: str, param: str) -> object:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"is not JSON: {error}", param=param) from None
    if not isinstance(value, dict):
        raise RequestError("must be the JSON text of an object", param=param)
    return value
