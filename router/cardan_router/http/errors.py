"""Errors as OpenAI's clients, and Anthropic's on `/v1/messages`, read them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import orjson
from cardan.request import Api

from cardan_router.rejections import error_object

if TYPE_CHECKING:
    from cardan_router.rejections import Told

# Codes of heads that cannot be read, by status; the others are `bad_request`.
HEAD_CODES = {
    408: "request_timeout",
    431: "headers_too_large",
    501: "not_implemented",
    505: "http_version",
}


def body_of(told: Told, message: str, param: str | None, api: Api | None) -> bytes:
    """An error answer's body."""
    error: dict[str, object] = {"error": error_object(told, message, param)}
    if api is Api.MESSAGES:
        error["type"] = "error"
    return orjson.dumps(error)


def event_of(told: Told, message: str, api: Api | None) -> bytes:
    """An error event in a stream that has begun.

    The SDKs raise on it. No `[DONE]` follows, so a client that does not know error events still
    sees that the stream is not complete. It begins with an empty line, because the engine may have
    broken off within an event.
    """
    error: dict[str, object] = {"error": error_object(told, message)}
    name = b""
    if api is Api.MESSAGES or api is Api.RESPONSES:
        name = b"event: error\n"
        error |= {"type": "error"}
    if api is Api.RESPONSES:
        error |= {"code": told.code, "message": message, "param": None}
    return b"\n\n%bdata: %b\n\n" % (name, orjson.dumps(error))
