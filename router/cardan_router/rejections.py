"""The one table from what went wrong to what the client is told.

HTTP and gRPC read it, so the same fault has the same meaning everywhere. `type` and `code` follow
OpenAI's error object; `grpc` is the name of a `grpc.StatusCode`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import orjson
from cardan.lifecycle import RejectReason

if TYPE_CHECKING:
    from cardan.errors import RequestError
    from cardan.lifecycle import Reject


class Told(NamedTuple):
    """How one fault is told: HTTP status, OpenAI type and code, gRPC status name."""

    status: int
    type: str
    code: str
    grpc: str


_INVALID = "invalid_request_error"
_SERVER = "server_error"

BY_REASON: dict[RejectReason, Told] = {
    RejectReason.UNKNOWN_MODEL: Told(404, _INVALID, "model_not_found", "NOT_FOUND"),
    RejectReason.NO_ENDPOINT: Told(503, _SERVER, "no_endpoint", "UNAVAILABLE"),
    RejectReason.QUEUE_FULL: Told(429, "rate_limit_error", "queue_full", "RESOURCE_EXHAUSTED"),
    RejectReason.QUEUE_TIMEOUT: Told(503, _SERVER, "queue_timeout", "UNAVAILABLE"),
    RejectReason.REFUSED: Told(503, _SERVER, "engine_overloaded", "UNAVAILABLE"),
    RejectReason.UNREACHABLE: Told(503, _SERVER, "engine_unreachable", "UNAVAILABLE"),
    # INTERNAL and not UNAVAILABLE: gRPC clients try UNAVAILABLE again by themselves, and this
    # request may be what broke the engine.
    RejectReason.RESET: Told(502, _SERVER, "engine_reset", "INTERNAL"),
    RejectReason.TIMEOUT: Told(504, _SERVER, "engine_timeout", "DEADLINE_EXCEEDED"),
    RejectReason.DEADLINE: Told(504, _SERVER, "deadline_exceeded", "DEADLINE_EXCEEDED"),
    RejectReason.SHUTTING_DOWN: Told(503, _SERVER, "shutting_down", "UNAVAILABLE"),
    RejectReason.INTERNAL: Told(500, _SERVER, "internal_error", "INTERNAL"),
}

INVALID = Told(400, _INVALID, "invalid_value", "INVALID_ARGUMENT")
INTERNAL = BY_REASON[RejectReason.INTERNAL]
ENGINE_ERROR = Told(500, _SERVER, "engine_error", "INTERNAL")
ENGINE_CREDENTIALS = Told(502, _SERVER, "engine_credentials", "INTERNAL")
CUT = Told(502, _SERVER, "engine_cut", "UNAVAILABLE")

_BY_CODE: dict[str, Told] = {
    told.code: told
    for told in (
        Told(401, "authentication_error", "invalid_api_key", "UNAUTHENTICATED"),
        Told(404, _INVALID, "unknown_url", "UNIMPLEMENTED"),
        Told(404, _INVALID, "model_not_found", "NOT_FOUND"),
        Told(405, _INVALID, "method_not_allowed", "UNIMPLEMENTED"),
        Told(408, _INVALID, "request_timeout", "DEADLINE_EXCEEDED"),
        Told(413, _INVALID, "request_too_large", "RESOURCE_EXHAUSTED"),
        Told(415, _INVALID, "unsupported_encoding", "INVALID_ARGUMENT"),
        Told(417, _INVALID, "expectation_failed", "INVALID_ARGUMENT"),
        Told(431, _INVALID, "headers_too_large", "RESOURCE_EXHAUSTED"),
        Told(501, _INVALID, "not_implemented", "UNIMPLEMENTED"),
        Told(505, _INVALID, "http_version", "UNIMPLEMENTED"),
        INTERNAL,
    )
}


def of_reject(reject: Reject) -> Told:
    """How a turned-away request is told."""
    return BY_REASON[reject.reason]


def of_error(error: RequestError) -> Told:
    """How a wrong request is told: by its code, and 400 with that code where there is no entry."""
    told = _BY_CODE.get(error.code)
    return told if told is not None else INVALID._replace(code=error.code)


def error_object(told: Told, message: str, param: str | None = None) -> dict[str, object]:
    """OpenAI's error object (the inner one)."""
    return {"message": message, "type": told.type, "param": param, "code": told.code}


def error_body(told: Told, message: str, param: str | None = None) -> bytes:
    """OpenAI's error body."""
    return orjson.dumps({"error": error_object(told, message, param)})
