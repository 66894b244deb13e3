"""What an engine's answer says beside its status: refusals, errors inside streams, usage.

Looking must be cheap, since every token passes here: a payload is searched for a word before
anything is parsed. Inside JSON strings quotes are escaped, so `"error"` with both its quotes can
only be a key or a whole value.
"""

from __future__ import annotations

import re
from typing import Annotated, Any

import msgspec
import orjson
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Failure

from cardan_router.passing import TO_CLIENTS
from cardan_router.rejections import ENGINE_CREDENTIALS, ENGINE_ERROR, error_body
from cardan_router.wire.heads import AnswerHead

_DATA_LINE = re.compile(rb"^data:[ ]?([^\r\n]*)\r?\n", re.MULTILINE)
_WHOLE_DATA_LINE = re.compile(rb"^data:[ ]?([^\r\n]*)", re.MULTILINE)
_USAGE = re.compile(rb'"usage"\s*:\s*\{')
# What vLLM 0.32 says in a 500, or in a stream's first event, when its core is gone (seen when its
# core process was killed). The request may be the cause, so it counts as a reset.
_DYING = b"EngineCore encountered an issue"
# What it says to new work while it drains; /health goes on saying 200. Nobody has worked on it.
_DRAINING = b"cannot schedule new futures after shutdown"

_Count = Annotated[int, msgspec.Meta(ge=0)]


class _Details(msgspec.Struct, gc=False):
    cached_tokens: _Count | None = None


class _Reported(msgspec.Struct, gc=False):
    """The usage of chats and completions, as all engines write it."""

    prompt_tokens: _Count | None
    completion_tokens: _Count | None = None
    prompt_tokens_details: _Details | None = None
    cache_read_input_tokens: _Count | None = None


_reported = msgspec.json.Decoder(_Reported).decode

_REFUSAL_CODES = (503, 429)
_CREDENTIALS = (401, 403)


def first_event(held: bytes) -> bytes | None:
    """The data of the first event of a stream; None while only comments and blanks have come."""
    match = _DATA_LINE.search(held)
    return None if match is None else match[1]


def failure_of_event(event: bytes) -> Failure | None:
    """What a first event says against going on: a refusal, a dying engine, or nothing."""
    error = _error_of(event)
    if error is None:
        return None
    if error.get("code") in _REFUSAL_CODES or error.get("type") == "overloaded_error":
        return Failure.REFUSED
    return failure_of_error(event)


def failure_of_error(body: bytes) -> Failure | None:
    """What an error's text says of the engine; None if it is an answer like any other."""
    if _DYING in body:
        return Failure.RESET
    return Failure.REFUSED if _DRAINING in body else None


def has_error(payload: bytes) -> bool:
    """Is there an error event in these bytes of a stream? Call it if they contain `"error"`."""
    return any(_error_of(match[1]) is not None for match in _WHOLE_DATA_LINE.finditer(payload))


def usage_in(text: bytes) -> Usage | None:
    """The last usage object in the end of an answer, streamed or not; None if there is none."""
    at = text.rfind(b'"usage"')
    while at >= 0:
        match = _USAGE.match(text, at)
        end = 0 if match is None else _object_end(text, match.end())
        if match is not None and end:
            usage = text[match.end() - 1 : end]
            try:
                reported = _reported(usage)
            except msgspec.DecodeError:  # wrong somewhere, or not chat's: field by field
                return _parsed_usage(usage)
            details, cached = reported.prompt_tokens_details, reported.cache_read_input_tokens
            if details is not None and details.cached_tokens is not None:
                cached = details.cached_tokens
            return Usage(reported.prompt_tokens, reported.completion_tokens, cached)
        at = text.rfind(b'"usage"', 0, at)
    return None


def outcome_of(status: int) -> Outcome:
    """What an answer that came whole amounts to."""
    if status < 400:
        return Outcome.OK
    return Outcome.CLIENT_ERROR if status < 500 else Outcome.ENGINE_ERROR


def told_error(answer: AnswerHead, body: bytes) -> tuple[AnswerHead, bytes]:
    """An engine's error answer as the client gets it: head, and body in OpenAI's nested form.

    An engine that refuses *our* key says nothing about the client's, so the client must not take
    it for an answer to its own.
    """
    status = answer.status
    if status in _CREDENTIALS:
        status = ENGINE_CREDENTIALS.status
        message = "the engine does not accept the gateway's credentials"
        body = error_body(ENGINE_CREDENTIALS, message)
    else:
        body = nested_error(body)
    headers = {**answer.headers, "content-type": "application/json"}
    passed = "".join([TO_CLIENTS.passed(*field) for field in headers.items()])
    return AnswerHead(status, headers, len(body), passed, True), body


def nested_error(body: bytes) -> bytes:
    """An engine's error in OpenAI's form: SGLang's is flat, FastAPI's is `{"detail": …}`."""
    try:
        error = orjson.loads(body)
    except orjson.JSONDecodeError:
        error = {}
    if isinstance(error, dict) and isinstance(error.get("error"), dict):
        return body
    fields = error if isinstance(error, dict) else {}
    message = fields.get("error") or fields.get("message") or fields.get("detail")
    told = {
        "message": message if isinstance(message, str) else "the engine answered with an error",
        "type": fields.get("type") or ENGINE_ERROR.type,
        "param": fields.get("param"),
        "code": fields.get("code") or ENGINE_ERROR.code,
    }
    return orjson.dumps({"error": told})


def _error_of(event: bytes) -> dict[str, Any] | None:
    """The error object of an event's data, if it is an error event."""
    if b'"error"' not in event:
        return None
    try:
        data = orjson.loads(event)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(data, dict):
        return None
    error = data.get("error")
    if isinstance(error, dict):
        return error
    if error or data.get("object") == "error":
        return data
    return None


def _object_end(text: bytes, at: int) -> int:
    """Where an object ends that holds numbers and such objects, and begins just before `at`.

    0 if it does not end.
    """
    opened, end = 1, at
    while opened > 0:
        start, end = end, text.find(b"}", end) + 1
        if not end:
            return 0
        opened += text.count(b"{", start, end) - 1
    return end


def _parsed_usage(text: bytes) -> Usage | None:
    try:
        return _usage_of(orjson.loads(text))
    except orjson.JSONDecodeError:
        return None


def _usage_of(fields: dict[str, Any]) -> Usage:
    """Chat's names, then those of responses and messages."""
    if "prompt_tokens" in fields or "completion_tokens" in fields:
        prompt, completion = fields.get("prompt_tokens"), fields.get("completion_tokens")
        details = fields.get("prompt_tokens_details")
    else:
        prompt, completion = fields.get("input_tokens"), fields.get("output_tokens")
        details = fields.get("input_tokens_details")
    cached = details.get("cached_tokens") if type(details) is dict else None
    if cached is None:
        cached = fields.get("cache_read_input_tokens")
    return Usage(
        prompt if type(prompt) is int and prompt >= 0 else None,
        completion if type(completion) is int and completion >= 0 else None,
        cached if type(cached) is int and cached >= 0 else None,
    )
