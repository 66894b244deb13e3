"""The edge of a call: metadata in, failures out.

Metadata has the names that HTTP headers have, so it is handed on as headers, as lines of the head
that the engine is sent. gRPC's core lets line ends through in a value, which would be a request of
the client's making there; so what is no header of HTTP/1.1 is refused here. Every failure leaves as
a google.rpc status, and nothing of a bug's text reaches the client.
"""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, TypeVar

import grpc
from cardan.errors import RequestError
from grpc import aio

from cardan_router.grpc.errors import DETAILS, CallError, of_request_error
from cardan_router.grpc.responses import AnswerError
from cardan_router.grpc.sse import StreamError
from cardan_router.rejections import of_error

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from cardan_router.gateway import Caller, Gateway

log = logging.getLogger(__name__)

Context = aio.ServicerContext[Any, Any]
Q = TypeVar("Q")
T = TypeVar("T")

# Of the transport, not of the request: an engine must not be told that JSON is "application/grpc".
_TRANSPORT = frozenset({"content-type", "te", "grpc-accept-encoding", "grpc-encoding"})
_DEADLINE = "x-request-timeout-ms"
# A token of RFC 9110 §5.6.2, in lower case as HTTP/2 demands (RFC 9113 §8.2).
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]+")
# Visible ASCII, blanks and tabs: gRPC's own rule for text, which its core does not enforce.
_VALUE = re.compile(r"[\t\x20-\x7e]*")
# A name is repeated in the status, which travels in bounded trailers.
_MAX_NAME_CHARS = 128
# A year: who sets a deadline further away wants none (client libraries write "infinite" so).
_LONGEST_MS = 365 * 86_400_000


class Rpc:
    """One call: its context, metadata, id, and who makes it."""

    __slots__ = ("context", "headers", "request_id", "tenant")

    def __init__(self, context: Context, gateway: Gateway) -> None:
        self.context = context
        self.headers: dict[str, str] = {}
        self.request_id = gateway.ids.of(dict(_text_of(context)))
        self.tenant = ""

    def identify(self, gateway: Gateway) -> Caller:
        """Who calls. Raises `RequestError`."""
        caller = gateway.identify(self.headers)
        self.tenant = caller.name
        return caller

    def adopt_deadline(self) -> None:
        """The call's deadline is the request's, unless metadata asks for an earlier one."""
        remaining_s: float | None = self.context.time_remaining()
        if remaining_s is None or remaining_s * 1000 > _LONGEST_MS:
            return
        remaining_ms = max(1, round(remaining_s * 1000))
        given = self.headers.get(_DEADLINE)
        # A number with more digits is refused where the header is read.
        if given is None or (re.fullmatch("[0-9]{1,12}", given) and int(given) > remaining_ms):
            self.headers[_DEADLINE] = str(remaining_ms)


async def guarded(
    gateway: Gateway,
    context: Context,
    method: str,
    handle: Callable[[Rpc, Q], Awaitable[T]],
    request: Q,
) -> T:
    """Run the handler of a call; whatever it raises leaves as a status with details."""
    rpc = Rpc(context, gateway)
    context.set_trailing_metadata((("x-request-id", rpc.request_id),))
    try:
        rpc.headers = headers_of(context)
        return await handle(rpc, request)
    except RequestError as wrong:
        told = of_error(wrong)
        gateway.recorder.turned_away(
            told, request_id=rpc.request_id, path=method, tenant=rpc.tenant
        )
        error = of_request_error(wrong)
    except CallError as failed:
        error = failed
    except (AnswerError, StreamError) as broken:
        error = CallError(grpc.StatusCode.INTERNAL, "ENGINE_ANSWER", str(broken))
    except aio.AbortError:
        raise
    except Exception:  # the request boundary: one call fails, not the process
        log.exception("%s failed", method, extra={"request_id": rpc.request_id})
        error = CallError(grpc.StatusCode.INTERNAL, "INTERNAL_ERROR", "an internal error occurred")
    trailers = (("x-request-id", rpc.request_id), (DETAILS, error.details(rpc.request_id)))
    return await context.abort(error.code, error.message, trailers)


def headers_of(context: Context) -> dict[str, str]:
    """The metadata of a call as HTTP headers; binary metadata has no such form and is left out.

    `RequestError` for a name or value that is none of HTTP's.
    """
    headers: dict[str, str] = {}
    for name, value in _text_of(context):
        if _NAME.fullmatch(name) is None:
            raise RequestError("a name holds characters that are not allowed", param="metadata")
        if _VALUE.fullmatch(value) is None:
            raise RequestError(
                "the value holds characters that are not allowed", param=name[:_MAX_NAME_CHARS]
            )
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def _text_of(context: Context) -> Iterator[tuple[str, str]]:
    for name, value in context.invocation_metadata() or ():
        if isinstance(value, str) and name not in _TRANSPORT:
            yield name, value
