"""What a client is sent: heads, bodies in the framing its version understands, errors, cuts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_router.http import errors, writing
from cardan_router.http.routes import Response
from cardan_router.receipts import explained
from cardan_router.rejections import of_reject
from cardan_router.wire.chunks import LAST_CHUNK, chunk

if TYPE_CHECKING:
    import asyncio

    from cardan.lifecycle import Reject
    from cardan.request import Api

    from cardan_router.flight import Flight
    from cardan_router.http.connection import HttpConnection
    from cardan_router.rejections import Told
    from cardan_router.wire.heads import AnswerHead, RequestHead

# Up to here copying a payload behind its head costs less than writing two buffers.
JOIN_BYTES = 16_384


class Answer:
    """The answer to one request at a time of one connection: a `cardan_router.flight.Sink`.

    `close` says that the connection ends with this answer, `api` by which API an engine is asked.
    `flight` is the request on its way, if there is one.
    """

    __slots__ = (
        "_chunked",
        "_connection",
        "_is_bodiless",
        "_is_events",
        "_is_sized",
        "_minor",
        "_origin",
        "_transport",
        "_unsent",
        "api",
        "close",
        "flight",
        "request_id",
    )

    def __init__(self, connection: HttpConnection, transport: asyncio.Transport) -> None:
        self._connection = connection
        self._transport = transport
        self.flight: Flight | None = None
        self.close = False
        self.request_id = ""
        self.api: Api | None = None
        self._minor = 1
        self._origin = ""
        self._chunked = False
        self._is_sized = True
        self._is_bodiless = False
        self._is_events = False
        self._unsent = b""

    def prepare(self, head: RequestHead, request_id: str) -> None:
        """A request's head is there: what its answer must look like follows from it."""
        self.request_id = request_id
        self.close = not head.keep_alive
        self.api = None
        self._minor = head.minor
        self._origin = head.headers.get("origin", "")
        self._is_bodiless = head.method == "HEAD"
        self._is_events = False

    def prepare_unread(self, request_id: str) -> None:
        """A request's head cannot be read: its answer has no more to do with the one before it."""
        self.request_id = request_id
        self.api = None
        self._minor = 1
        self._origin = ""
        self._is_bodiless = False

    def respond(self, response: Response) -> None:
        """The gateway's own answer, whole."""
        body = response.body
        lines = "".join(f"{name}: {value}\r\n" for name, value in response.headers)
        if response.status != 204:
            lines += f"content-type: {response.content_type}\r\ncontent-length: {len(body)}\r\n"
        head = self._head(response.status, lines)
        self._transport.write(head if self._is_bodiless else head + body)
        self._connection.answered()

    def refuse(
        self,
        told: Told,
        message: str,
        param: str | None = None,
        headers: tuple[tuple[str, str], ...] = (),
    ) -> None:
        """An error, in OpenAI's form."""
        body = errors.body_of(told, message, param, self.api)
        self.respond(Response(told.status, body, headers=headers))

    def head(self, answer: AnswerHead, length: int | None) -> None:
        """See `Sink`."""
        lines = answer.passed
        flight = self.flight
        if flight is not None and flight.call.explain:
            lines += f"x-cardan-explain: {explained(flight)}\r\n"
        self._is_sized = length is not None
        self._chunked = length is None and self._minor == 1
        if length is not None:
            lines += f"content-length: {length}\r\n"
        elif self._chunked:
            lines += "transfer-encoding: chunked\r\n"
        else:  # an HTTP/1.0 client takes the end of the connection for the end of the body
            self.close = True
        self._unsent = self._head(answer.status, lines)
        self._is_events = flight is not None and flight.is_stream

    def data(self, payload: bytes, framed: bytes = b"") -> None:
        """See `Sink`."""
        if self._chunked:
            payload = framed or chunk(payload)
        if self._unsent:
            self._write(payload)
        else:
            self._transport.write(payload)

    def end(self, payload: bytes) -> None:
        """See `Sink`."""
        if self._chunked:
            payload = chunk(payload) + LAST_CHUNK if payload else LAST_CHUNK
        self._write(payload)
        self._connection.answered()

    def cut(self, told: Told, message: str) -> None:
        """See `Sink`. An error event where the client reads events, else a broken connection."""
        if self._is_events and not self._is_sized:
            event = errors.event_of(told, message, self.api)
            self.end(event)
        else:
            self._connection.break_off(reset=not self._is_sized and not self._chunked)

    def reject(self, reject: Reject) -> None:
        """See `Sink`."""
        headers: tuple[tuple[str, str], ...] = ()
        if reject.retry_after_s is not None:
            headers = (("retry-after", str(max(1, round(reject.retry_after_s)))),)
        flight = self.flight
        if flight is not None and flight.call.explain:
            headers += (("x-cardan-explain", explained(flight)),)
        param = "model" if of_reject(reject).code == "model_not_found" else None
        self.refuse(of_reject(reject), reject.message, param, headers)

    def _write(self, payload: bytes) -> None:
        """Write, with the head if it is still to be sent: every write is a packet and a call."""
        head, self._unsent = self._unsent, b""
        if len(payload) <= JOIN_BYTES:
            self._transport.write(head + payload)
        else:
            self._transport.writelines((head, payload) if head else (payload,))

    def _head(self, status: int, lines: str) -> bytes:
        server = self._connection.server
        if self.close or server.draining:
            self.close = True
            lines += "connection: close\r\n"
        elif self._minor == 0:
            lines += "connection: keep-alive\r\n"
        if self._origin:
            lines += server.cors_lines(self._origin)
        line = writing.STATUS_LINES.get(status) or writing.status_line(status)
        return (f"{line}{lines}x-request-id: {self.request_id}\r\n{server.date_line}\r\n").encode(
            "latin-1"
        )
