"""One client's connection: requests in, one at a time and in order, answers out.

    IDLE -> BODY -> BUSY -> IDLE …        LINGER -> CLOSED
      head    body    answer                after an answer that the client may still be writing at

A request is routed, and its caller known, when its head is there; so whatever must be refused is
refused before its body is read. A pipelined request waits in `_held` while the one before it runs,
and reading stops when that grows. Otherwise reading goes on while an answer runs, because this is
how a client that leaves is noticed.

Closing right after a refusal would make the kernel reset the connection while the client still
writes, and the refusal could be lost on the way. So the answer is sent, our side is closed, and
what comes is read over for a moment (LINGER).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, cast

from cardan.errors import RequestError

from cardan_router.gateway import ANYBODY
from cardan_router.http import errors, leaving
from cardan_router.http.answer import Answer
from cardan_router.http.reading import BodyReader, PartialHead
from cardan_router.http.routes import Forwarded, refusal_headers
from cardan_router.passing import TO_ENGINES
from cardan_router.rejections import INTERNAL, of_error
from cardan_router.wire.fields import HeadError
from cardan_router.wire.heads import parse_request

if TYPE_CHECKING:
    from cardan.instants import Monotonic

    from cardan_router.calls import Body
    from cardan_router.gateway import Caller
    from cardan_router.http.routes import Route
    from cardan_router.http.server import HttpServer
    from cardan_router.rejections import Told
    from cardan_router.wire.heads import RequestHead

log = logging.getLogger(__name__)

# What a pipelining client may have waiting here before its socket is no longer read.
MAX_HELD_BYTES = 65_536
# After a refusal: how long, and how much of what the client still sends is read over.
LINGER_S, MAX_LINGER_BYTES = 2.0, 16_777_216
# Of a longer body that came with its head a view is handed on (copying 32 KB: 1.6 µs, cold caches),
# if it is at least half of what was read: a view keeps all of that for as long as the body lives.
COPIED_BYTES = 16_384
_IDLE, _BODY, _BUSY, _LINGER, _CLOSED = range(5)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_SLOW_HEAD = HeadError(408, "the head was not complete in time")
_SLOW_BODY = RequestError("the body was not complete in time", code="request_timeout")


class HttpConnection(asyncio.Protocol):
    """A client's connection. `since` is when its present state began, for the sweep."""

    __slots__ = (
        "_answer",
        "_caller",
        "_head",
        "_held",
        "_is_reading",
        "_is_unread",
        "_last_read_at",
        "_lingered",
        "_partial",
        "_reader",
        "_route",
        "_stalled_since",
        "_state",
        "_transport",
        "server",
        "since",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.since: Monotonic = server.now
        self._transport: asyncio.Transport | None = None
        self._answer: Answer | None = None
        self._state = _IDLE
        self._partial: PartialHead | None = None
        self._reader: BodyReader | None = None
        self._held = b""
        self._head: RequestHead | None = None
        self._route: Route | None = None
        self._caller: Caller = ANYBODY
        self._is_reading = True
        self._is_unread = False
        self._lingered = 0
        self._last_read_at: Monotonic = server.now
        self._stalled_since: Monotonic | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._answer = Answer(self, self._transport)
        if not self.server.welcome(self):
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        state = self._state
        if state == _IDLE:
            self._consume(data)
        elif state == _BODY:
            rest = self._take_body(data)
            if rest:
                self._consume(rest)
        elif state == _BUSY:
            self._hold(data)
        elif state == _LINGER:
            self._lingered += len(data)
            if self._lingered > MAX_LINGER_BYTES:
                self.abort()

    def eof_received(self) -> bool:
        """Half-closing is leaving, as engines see it too: nobody waits for the answer."""
        self._left()
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's signature
        """See `asyncio.Protocol`."""
        self.server.farewell(self)
        self._left()
        self._state = _CLOSED
        self._answer = None  # the two know each other; this lets both go at once

    def pause_writing(self) -> None:
        """The client takes no more: neither do we from the engine."""
        self._stalled_since = self.server.gateway.clock()
        if self._answer is not None and self._answer.flight is not None:
            self._answer.flight.pause()

    def resume_writing(self) -> None:
        """The client has taken what was there."""
        self._stalled_since = None
        if self._answer is not None and self._answer.flight is not None:
            self._answer.flight.resume()
        elif self._state == _IDLE:
            self._take_held()

    @property
    def is_owing(self) -> bool:
        """Is the client still to get something?"""
        transport = self._transport
        return self._state in (_BODY, _BUSY) or (
            transport is not None and transport.get_write_buffer_size() > 0
        )

    def answered(self) -> None:
        """The answer is complete: the next request, or the end."""
        answer = self._answer
        if answer is None or self._state == _CLOSED:
            return
        self._head = answer.flight = None
        self.since = self.server.now
        if answer.close:
            self._end()
        else:
            self._state = _IDLE
            if self._held and self._stalled_since is None:
                self._take_held()

    def break_off(self, *, reset: bool) -> None:
        """Close in the middle of an answer. With `reset` where a mere close would look complete."""
        if reset and self._transport is not None:
            self._state = _CLOSED
            leaving.reset(self._transport)
        else:
            self._close()

    def close_if_idle(self, idle_s: float = 0.0) -> None:
        """The server stops: who is between requests goes now, the others after their answer."""
        idle = self._state == _IDLE and self._partial is None
        if idle and self.server.now - self.since >= idle_s:
            self._close()

    def abort(self) -> None:
        """Close at once, whatever is not sent yet."""
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    def check(self, now: Monotonic) -> None:
        """Look at the deadlines of a connection that waits for its client."""
        timeouts = self.server.gateway.timeouts
        state, stalled = self._state, self._stalled_since
        if stalled is not None and now - stalled > timeouts.stalled_reader_s:
            self.abort()
        elif state == _IDLE:
            self._check_idle(now - self.since)
        elif state == _BODY:
            is_late = now - self.since > timeouts.body_s
            if is_late or now - self._last_read_at > timeouts.body_idle_s:
                self._refuse_and_close(_SLOW_BODY)
        elif state == _BUSY:
            if not self._is_reading and self._transport and leaving.has_left(self._transport):
                self.abort()
        elif now - self.since > (LINGER_S if state == _LINGER else timeouts.stalled_reader_s):
            self.abort()  # our side is done, but the client does not take what was written

    def _check_idle(self, idle_s: float) -> None:
        timeouts = self.server.gateway.timeouts
        if self._partial is None:
            if idle_s > timeouts.keep_alive_s:
                self._close()
        elif idle_s > timeouts.head_s:
            self._refuse_head(_SLOW_HEAD)

    def _consume(self, data: bytes) -> None:
        """Take requests off the front, until one runs or no head is complete."""
        while data:
            if self._state != _IDLE or self._stalled_since is not None:
                if self._state <= _BUSY:
                    self._hold(data)
                return
            if self._partial is None and data.startswith(b"\r\n"):
                data = data[2:]  # old clients end a POST with an empty line too many
            end = data.find(b"\r\n\r\n") if self._partial is None else -1
            try:
                if end < 0 or end > self.server.gateway.limits.max_head_bytes:
                    data, end = self._join(data)
                    if end < 0:
                        return
                head = parse_request(data[:end], TO_ENGINES, self.server.gateway.limits.max_headers)
            except HeadError as error:
                self._refuse_head(error)
                return
            data = self._open(head, data, end + 4)

    def _join(self, data: bytes) -> tuple[bytes, int]:
        """A head in pieces: what has come of it, and its end or -1. Raises `HeadError`."""
        if not data:
            return data, -1
        partial = self._partial
        if partial is None:
            partial = self._partial = PartialHead(self.server.gateway.limits.max_head_bytes)
            self.since = self.server.gateway.clock()
        partial.add(data)
        if partial.end < 0:
            return b"", -1
        self._partial = None
        return bytes(partial.data), partial.end

    def _open(self, head: RequestHead, data: bytes, start: int) -> bytes:
        """A request's head is there, its body begins at `start`. Returns what follows both."""
        answer = self._answer
        if answer is None:
            return b""
        gateway = self.server.gateway
        answer.prepare(head, gateway.ids.of(head.headers))
        self._head = head
        length = head.length
        end = start + length
        is_here = length >= 0 and end <= len(data)
        try:
            self._route, self._caller = self.server.resolve(head)
        except RequestError as error:
            self._state = _BUSY
            self._route, self._caller = self.server.routes.find(head.path), ANYBODY
            if not is_here:  # a body that is here is skipped; else this ends the connection
                answer.close = self._is_unread = True
            self._turn_away(of_error(error), error.message, error.param)
            return data[end:] if is_here else b""
        if is_here:
            views = length > COPIED_BYTES and 2 * length >= len(data)
            self._dispatch(memoryview(data)[start:end] if views else data[start:end])
            return data[end:]
        self._state = _BODY
        self.since = self._last_read_at = gateway.clock()
        self._reader = BodyReader(length, gateway.limits.max_body_bytes)
        if start < len(data):
            return self._take_body(data[start:])
        if "expect" in head.headers and self._transport is not None:
            self._transport.write(_CONTINUE)
        return b""

    def _take_body(self, data: bytes) -> bytes:
        """More of a body. Returns what follows it: the caller goes on with that, in its loop."""
        reader = self._reader
        if reader is None:
            raise RuntimeError("a body is read without a head")
        self._last_read_at = self.server.now
        try:
            rest = reader.feed(data)
        except RequestError as error:
            self._refuse_and_close(error)
            return b""
        if rest is None:
            return b""
        self._reader = None
        self._dispatch(reader.body)
        return rest

    def _dispatch(self, body: Body) -> None:
        """The request is complete: answer it, or send it on its way."""
        answer, head, route = self._answer, self._head, self._route
        if answer is None or head is None:
            return
        self._state = _BUSY
        try:
            if type(route) is Forwarded and head.method == "POST":
                answer.api = route.api
                gateway = self.server.gateway
                call = gateway.admit(
                    route.api,
                    route.path,
                    head.headers,
                    body,
                    self._caller,
                    answer.request_id,
                    None,
                    head.passed,
                )
                answer.flight = flight = gateway.flight(call, answer)
                flight.start()
                if self._stalled_since is not None:
                    flight.pause()
            else:
                answer.respond(self.server.respond(head, route, body))
        except RequestError as error:
            self._turn_away(of_error(error), error.message, error.param)
        except Exception:  # the request boundary: one request fails, not the process
            log.exception("request %s failed", answer.request_id)
            self._turn_away(INTERNAL, "the gateway failed", None)

    def _turn_away(self, told: Told, message: str, param: str | None) -> None:
        answer, route = self._answer, self._route
        if answer is None or self._state != _BUSY:
            return
        self.server.gateway.recorder.turned_away(
            told,
            request_id=answer.request_id,
            path="" if route is None else route.path,
            tenant=self._caller.name,
        )
        answer.refuse(told, message, param, refusal_headers(told, route))

    def _refuse_and_close(self, error: RequestError) -> None:
        self._state = _BUSY
        self._partial = None
        self._reader = None
        if self._answer is not None:
            self._answer.close = self._is_unread = True
        self._turn_away(of_error(error), error.message, error.param)

    def _refuse_head(self, error: HeadError) -> None:
        """A head that cannot be read: nothing after it can be trusted."""
        self._route, self._caller = None, ANYBODY
        if self._answer is not None:
            self._answer.prepare_unread(self.server.gateway.ids.of({}))
        code = errors.HEAD_CODES.get(error.status, "bad_request")
        self._refuse_and_close(RequestError(error.message, code=code))

    def _hold(self, data: bytes) -> None:
        """Keep what came too early; a client that goes on is read no further."""
        self._held += data
        if len(self._held) > MAX_HELD_BYTES and self._is_reading and self._transport is not None:
            self._is_reading = False
            self._transport.pause_reading()

    def _take_held(self) -> None:
        held, self._held = self._held, b""
        self._read_on()
        self._consume(held)

    def _read_on(self) -> None:
        if not self._is_reading and self._transport is not None:
            self._is_reading = True
            self._transport.resume_reading()

    def _end(self) -> None:
        """Our side is done. A client that is still writing must see the answer before the close."""
        transport = self._transport
        self._held = b""
        if transport is not None and self._is_unread and transport.can_write_eof():
            self._state = _LINGER
            self.since = self.server.gateway.clock()
            self._read_on()
            transport.write_eof()
        else:
            self._close()

    def _close(self) -> None:
        """Close when what is written has gone out; `check` sees to it that this has an end."""
        self._state = _CLOSED
        self.since = self.server.gateway.clock()
        if self._transport is not None:
            self._transport.close()

    def _left(self) -> None:
        if self._answer is not None and self._answer.flight is not None:
            flight, self._answer.flight = self._answer.flight, None
            flight.client_left()
