"""The answer of a flight, handed from its callbacks to the coroutine of one call.

The flight pushes, the call pulls. Between them lie at most `HIGH_BYTES` and what was under way
when the flight was paused: a client that reads slowly slows its engine down and nobody else. One
that reads nothing at all is cut after a while (`stalled_s`), or it would hold its engine for ever.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING

import grpc

from cardan_router.grpc import responses
from cardan_router.grpc.errors import CallError, code_of, of_reject, of_told

if TYPE_CHECKING:
    from cardan.instants import Monotonic
    from cardan.lifecycle import Reject

    from cardan_router.flight import Flight
    from cardan_router.rejections import Told
    from cardan_router.wire.heads import AnswerHead

# One read of a socket is up to 256 KB, a stream's event some 200 bytes: this is hundreds of events,
# or one read. Reading goes on when a quarter of it is left.
HIGH_BYTES = 65_536
LOW_BYTES = 16_384
# An answer that is not streamed is gathered whole before it can be translated. The largest are
# embeddings: 2,048 inputs of 4,096 numbers as JSON are 170 MB.
MAX_WHOLE_BYTES = 268_435_456


class Answer:
    """A `cardan_router.flight.Sink` that one coroutine reads."""

    def __init__(self) -> None:
        self._head: AnswerHead | None = None
        self._chunks: deque[bytes] = deque()
        self._waiting_bytes = 0
        self._ended = False
        self._error: CallError | None = None
        self._flight: Flight | None = None
        self._paused = False
        self._stalled_at: Monotonic | None = None
        self._changed = asyncio.Event()

    def attach(self, flight: Flight) -> None:
        """The flight whose answer this is, before it starts."""
        self._flight = flight

    def stalled_s(self, now: Monotonic) -> float:
        """For how long the client has taken nothing while more waits than may wait.

        Counted from the first look, so it is asked again and again: reading costs no clock.
        """
        if not self._paused:
            return 0.0
        if self._stalled_at is None:
            self._stalled_at = now
        return now - self._stalled_at

    def head(self, answer: AnswerHead, length: int | None) -> None:  # noqa: ARG002 - Sink's
        """See `Sink`."""
        self._head = answer
        self._changed.set()

    def data(self, payload: bytes, framed: bytes = b"") -> None:  # noqa: ARG002 - Sink's
        """See `Sink`."""
        self._chunks.append(payload)
        self._waiting_bytes += len(payload)
        if self._waiting_bytes > HIGH_BYTES and not self._paused:
            self._paused = True
            if self._flight is not None:
                self._flight.pause()
        self._changed.set()

    def end(self, payload: bytes) -> None:
        """See `Sink`."""
        if payload:
            self._chunks.append(payload)
            self._waiting_bytes += len(payload)
        self._ended = True
        self._changed.set()

    def cut(self, told: Told, message: str) -> None:
        """See `Sink`."""
        self._error = of_told(told, message)
        self._changed.set()

    def reject(self, reject: Reject) -> None:
        """See `Sink`."""
        self._error = of_reject(reject)
        self._changed.set()

    async def begun(self) -> AnswerHead:
        """The head of the answer. Raises `CallError` where there is none, and for an error."""
        while self._head is None:
            if self._error is not None:
                raise self._error
            await self._change()
        if self._head.status >= 400:
            raise engine_error(self._head.status, await self.whole())
        return self._head

    async def read(self) -> bytes:
        """The next bytes, b"" at the end. Raises `CallError` when the rest will never come."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._change()
        payload = self._chunks.popleft()
        self._waiting_bytes -= len(payload)
        self._stalled_at = None
        if self._paused and self._waiting_bytes <= LOW_BYTES:
            self._paused = False
            if self._flight is not None:
                self._flight.resume()
        return payload

    async def whole(self) -> bytes:
        """All that is left. Raises `CallError`, also when it is too large."""
        gathered = bytearray()
        while payload := await self.read():
            gathered += payload
            if len(gathered) > MAX_WHOLE_BYTES:
                raise CallError(
                    grpc.StatusCode.RESOURCE_EXHAUSTED,
                    "ANSWER_TOO_LARGE",
                    f"the engine's answer has more than {MAX_WHOLE_BYTES} bytes",
                )
        return bytes(gathered)

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


def engine_error(http_status: int, body: bytes) -> CallError:
    """An engine's own error answer."""
    code = code_of(http_status)
    try:
        message, param = _message(responses.parse(body))
    except responses.AnswerError:
        message, param = "", None
    return CallError(
        code, f"ENGINE_{code.name}", message or f"the engine answered {http_status}", param=param
    )


def event_error(event: responses.Json) -> CallError | None:
    """The error inside a stream's event, if it is one."""
    if not event.get("error"):
        return None
    error = event["error"]
    status = error.get("code") if isinstance(error, dict) else None
    code = code_of(status) if isinstance(status, int) and status >= 400 else code_of(500)
    message, param = _message(event)
    return CallError(code, f"ENGINE_{code.name}", message or "the engine failed", param=param)


def _message(body: responses.Json) -> tuple[str, str | None]:
    """Message and field of an error: OpenAI's nested form, SGLang's flat one, FastAPI's detail."""
    error = body.get("error", body)
    if not isinstance(error, dict):
        return str(error), None
    param = error.get("param")
    message = error.get("message") or error.get("detail") or ""
    return str(message), param if isinstance(param, str) else None
