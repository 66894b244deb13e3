"""One HTTP/1.1 connection to an engine: one request at a time, its answer's framing counted.

The head is parsed, the body is counted (or its chunks read) and handed on as it comes. A connection
is used again only if the answer ended exactly where its framing said and the engine has not asked
to close: bytes that nobody expects mean that the two sides disagree, and then it is closed.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, cast

from cardan.lifecycle import Failure

from cardan_router.boundary import give_up
from cardan_router.passing import TO_CLIENTS
from cardan_router.wire.chunks import ChunkError, ChunkReader
from cardan_router.wire.fields import HeadError
from cardan_router.wire.heads import CHUNKED, parse_answer

if TYPE_CHECKING:
    from cardan.instants import Monotonic

    from cardan_router.calls import Call
    from cardan_router.flight import Flight
    from cardan_router.upstream.pools import Pool
    from cardan_router.wire.heads import AnswerHead

# An engine's head is under a kilobyte; this is not one any more.
MAX_HEAD_BYTES = 65_536
# A refusal's body is read over so that the connection can be kept, unless it is longer than this.
MAX_DISCARDED_BYTES = 65_536
# Smaller bodies are joined with the head: copying them costs less than a second buffer.
JOIN_BYTES = 16_384

_IDLE: Final = 0
_HEAD: Final = 1
_SIZED: Final = 2
_CHUNKS: Final = 3
_UNTIL_CLOSE: Final = 4
_CLOSED: Final = 5
_IN_ANSWER: Final = (_HEAD, _SIZED, _CHUNKS)


class EngineConnection(asyncio.Protocol):
    """A connection of one `Pool`, idle or carrying one flight's request."""

    __slots__ = (
        "_buffer",
        "_chunks",
        "_discarded",
        "_flight",
        "_keep",
        "_left",
        "_paused",
        "_pool",
        "_state",
        "_transport",
        "_uses",
        "idle_since",
    )

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport | None = None
        self._flight: Flight | None = None
        self._state = _IDLE
        self._buffer = b""
        self._chunks: ChunkReader | None = None
        self._left = 0
        self._discarded = 0
        self._keep = True
        self._paused = False
        self._uses = 0
        self.idle_since: Monotonic | None = None

    @property
    def is_usable(self) -> bool:
        """Open, idle, and neither side is closing it."""
        return (
            self._state == _IDLE
            and self._transport is not None
            and not self._transport.is_closing()
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)
        self._pool.made(self)

    def send(self, flight: Flight, call: Call) -> None:
        """Send a request; the flight gets the answer."""
        transport = self._transport
        if transport is None:
            raise RuntimeError("a connection that was never made is used")
        self._flight = flight
        self._state = _HEAD
        self._keep = True
        self._uses += 1
        body = call.body
        begin = self._pool.request_lines.get(call.path) or self._pool.request_line(call.path)
        head = f"{begin}{call.head}content-length: {len(body)}\r\n\r\n".encode("latin-1")
        if len(body) <= JOIN_BYTES:
            transport.write(head + body)
        else:
            transport.writelines((head, body))

    def pause(self) -> None:
        """Stop reading: the client is slower than the engine."""
        if not self._paused and self._transport is not None:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()

    def discard(self) -> None:
        """Nobody wants the rest of the answer; keep the connection if it is short."""
        self._flight = None
        self._discarded = 0
        self.resume()
        if self._state == _UNTIL_CLOSE:
            self.abandon()
        elif self._state in _IN_ANSWER:  # else there is no rest, and it may be another's by now
            self._pool.discarding(self)

    def abandon(self) -> None:
        """Close at once: the engine takes this as the client's leaving and stops computing."""
        self._flight = None
        self._state = _CLOSED
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        flight, state = self._flight, self._state
        try:
            if state == _CHUNKS:
                chunks = cast("ChunkReader", self._chunks)  # there is one in this state
                payload = chunks.whole(data)
                if payload and flight is not None:
                    flight.on_data(payload, data)
                else:
                    self._chunked(data, chunks)
            elif state == _HEAD:
                self._head(data)
            elif state == _SIZED:
                self._sized(data)
            elif state == _UNTIL_CLOSE:
                self._give(data)
            else:  # nobody has asked anything
                self.abandon()
        except Exception as error:
            if flight is None:  # nobody's answer: the loop says it and closes
                raise
            if self._flight is None or self._flight is flight:  # not another's by now
                self.abandon()
            give_up(flight, error)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self._pool.forget(self)
        state, self._state = self._state, _CLOSED
        flight, self._flight = self._flight, None
        if flight is None:
            return
        try:
            if state == _UNTIL_CLOSE and exc is None:
                flight.on_end(b"")
            elif state == _HEAD and self._uses > 1 and not self._buffer:
                flight.on_lost(Failure.STALE)
            else:
                flight.on_lost(Failure.RESET)
        except Exception as error:  # noqa: BLE001 - the request boundary, which logs
            give_up(flight, error)

    def _head(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        end = data.find(b"\r\n\r\n")
        if end < 0:
            self._buffer = data
            if len(data) > MAX_HEAD_BYTES:
                self._broken()
            return
        self._buffer = b""
        try:
            answer = parse_answer(data[:end], TO_CLIENTS)
        except HeadError:
            self._broken()
            return
        rest = data[end + 4 :]
        if answer.length == len(rest) and answer.status >= 200:  # all of it in one read
            self._keep = answer.keep_alive
            self._complete(rest, answer)
        elif answer.status >= 200:
            self._begin(answer, rest)
        elif answer.status == 101:
            self._broken()
        elif rest:  # interim answers say nothing to us
            self._head(rest)

    def _begin(self, answer: AnswerHead, rest: bytes) -> None:
        """The head of the answer proper; `rest` is what came behind it."""
        self._keep = answer.keep_alive
        length = answer.length
        if length >= 0:
            self._state = _SIZED
            self._left = length
        elif length == CHUNKED:
            self._state = _CHUNKS
            self._chunks = ChunkReader()
        else:
            self._state = _UNTIL_CLOSE
        if self._flight is not None:
            self._flight.on_head(answer)
        if rest:
            self.data_received(rest)

    def _sized(self, data: bytes) -> None:
        left = self._left - len(data)
        self._left = left
        if left > 0:
            self._give(data)
        elif left == 0:
            self._complete(data)
        else:
            self._keep = False
            self._complete(data[:left])

    def _chunked(self, data: bytes, chunks: ChunkReader) -> None:
        try:
            payload = chunks.feed(data)
        except ChunkError:
            self._broken()
            return
        if chunks.done:
            self._chunks = None
            if chunks.rest:
                self._keep = False
            self._complete(payload)
        elif payload:
            self._give(payload)

    def _give(self, payload: bytes) -> None:
        if self._flight is not None:
            self._flight.on_data(payload)
            return
        self._discarded += len(payload)
        if self._discarded > MAX_DISCARDED_BYTES:
            self.abandon()

    def _complete(self, payload: bytes, answer: AnswerHead | None = None) -> None:
        """The answer ended: the connection first, so that whatever follows may use it again.

        `answer` is given if its head has come with its end.
        """
        flight, self._flight = self._flight, None
        transport = self._transport
        # An engine may answer before it has read all: what is not written yet must not be.
        if self._keep and transport is not None and not transport.get_write_buffer_size():
            self._state = _IDLE
            if self._paused:
                self.resume()
            self._pool.put(self)
        else:
            self.abandon()
        if flight is None:
            return
        if answer is None:
            flight.on_end(payload)
        else:
            flight.on_whole(answer, payload)

    def _broken(self) -> None:
        flight = self._flight
        self.abandon()
        if flight is not None:
            flight.on_lost(Failure.BROKEN)
