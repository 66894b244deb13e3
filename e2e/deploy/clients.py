"""Clients as the field has them, without retries: connections, pools, one streamed answer checked.

Three kinds. *Fresh* ones connect for each request. *Young* pools keep a connection for five seconds
and look whether it was closed before they use it again, as httpx, and so the OpenAI SDK, do. *Old*
pools keep connections for as long as the server lets them and take the one that was idle longest,
as urllib3's and many proxies' do; that is the pool that is most likely to write at the moment in
which a server closes.
"""

from __future__ import annotations

import asyncio
import json
import select
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, cast

if TYPE_CHECKING:
    from collections.abc import Callable

Kind = Literal["fresh", "young", "old"]
Outcome = Literal[
    "ok", "refused", "no connection", "reset", "status", "cut", "told", "wrong", "late"
]
"""What became of a request.

refused: nobody listens. no connection: no answer to the connection's first packet. reset: the
connection broke before a byte of the answer. status: another one than 200. cut: it broke in the
middle, and the client was not told why. told: the stream ended with an error event. wrong: it is
complete, but not what was asked for. late: not complete in time.
"""

# httpx's default (`keepalive_expiry`).
YOUNG_S: Final = 5.0
CONNECT_S: Final = 10.0
ANSWER_S: Final = 60.0
LAST_CHUNK: Final = b"\r\n0\r\n\r\n"
DONE: Final = b"data: [DONE]"
WORDS: Final = "lorem ipsum dolor sit amet "


@dataclass(frozen=True, slots=True)
class Asked:
    """What every request asks for: a streamed answer of exactly so many tokens.

    There are 32 prompts, so that engines have some to share; or one, of `same` letters: no way to
    look at more of it tells one request from another.
    """

    host: str
    port: int
    model: str
    tokens: int
    same: int = 0

    def request(self, number: int, kind: Kind) -> bytes:
        """The bytes of one request."""
        prompt = (WORDS * (self.same // len(WORDS) + 1))[: self.same] or f"Say {number % 32}"
        body = json.dumps(
            {
                "model": self.model,
                "messages": [{"role": "user", "content": prompt}],
                "max_tokens": self.tokens,
                "ignore_eos": True,
                "stream": True,
                "stream_options": {"include_usage": True},
            }
        ).encode()
        connection = "close" if kind == "fresh" else "keep-alive"
        head = (
            f"POST /v1/chat/completions HTTP/1.1\r\nhost: {self.host}:{self.port}\r\n"
            f"connection: {connection}\r\ncontent-type: application/json\r\n"
            f"content-length: {len(body)}\r\n\r\n"
        )
        return head.encode() + body


class Connection(asyncio.Protocol):
    """A client's connection, with one answer at a time."""

    def __init__(self, gone: Callable[[Connection], None]) -> None:
        self._gone = gone
        self._transport: asyncio.Transport | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.answer = bytearray()
        self.idle_since = 0.0
        self.first_byte_at = 0.0
        self.is_closed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        if not self.answer:
            self.first_byte_at = asyncio.get_running_loop().time()
        self.answer += data
        if self._waiter is not None and not self._waiter.done() and is_whole(self.answer):
            self._waiter.set_result(None)

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio.Protocol`."""
        self.is_closed = True
        self._gone(self)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def ask(self, request: bytes) -> None:
        """Send it and wait until the answer is whole, or broken. Raises TimeoutError."""
        self.answer.clear()
        self.first_byte_at = 0.0
        self._waiter = asyncio.get_running_loop().create_future()
        if self._transport is None or self.is_closed:
            return
        self._transport.write(request)
        async with asyncio.timeout(ANSWER_S):
            await self._waiter

    @property
    def is_usable(self) -> bool:
        """Whether it is open, by what the kernel knows now: a client looks before it writes."""
        if self.is_closed or self._transport is None or self._transport.is_closing():
            return False
        poll = select.poll()
        poll.register(self._transport.get_extra_info("socket").fileno(), select.POLLIN)
        return not poll.poll(0)

    def close(self) -> None:
        """Close it."""
        if self._transport is not None:
            self._transport.close()


class Pool:
    """Idle connections of one kind."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        self.dialled = 0
        self.reused = 0
        self._idle: deque[Connection] = deque()

    async def connection(self, asked: Asked) -> Connection:
        """An idle connection that is still open, or a new one. Raises OSError, TimeoutError."""
        loop = asyncio.get_running_loop()
        while self._idle:
            idle = self._idle.pop() if self.kind == "young" else self._idle.popleft()
            if self.kind == "young" and loop.time() - idle.idle_since > YOUNG_S:
                idle.close()
            elif idle.is_usable:
                self.reused += 1
                return idle
            else:
                idle.close()
        self.dialled += 1
        async with asyncio.timeout(CONNECT_S):
            _, made = await loop.create_connection(
                lambda: Connection(self._forget), asked.host, asked.port
            )
        return made

    def put(self, connection: Connection) -> None:
        """Its answer is whole: keep it, unless the server said that it closes."""
        head = bytes(connection.answer[: connection.answer.find(b"\r\n\r\n")]).lower()
        if self.kind == "fresh" or connection.is_closed or b"connection: close" in head:
            connection.close()
            return
        connection.idle_since = asyncio.get_running_loop().time()
        self._idle.append(connection)

    def close(self) -> None:
        """Close what is idle."""
        while self._idle:
            self._idle.pop().close()

    def _forget(self, connection: Connection) -> None:
        if connection in self._idle:
            self._idle.remove(connection)


def is_whole(answer: bytearray) -> bool:
    """Whether an answer has its last byte."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return False
    length = header(answer[:head], b"content-length")
    if length is not None:
        return len(answer) >= head + 4 + int(length)
    return answer.endswith(LAST_CHUNK)


def header(head: bytes | bytearray, name: bytes) -> bytes | None:
    """A header's value in a head."""
    for line in bytes(head).split(b"\r\n")[1:]:
        key, _, value = line.partition(b":")
        if key.strip().lower() == name:
            return value.strip()
    return None


def judge(answer: bytearray, tokens: int) -> tuple[Outcome, str]:
    """What became of a request by the bytes of its answer, and the detail that explains it."""
    head = answer.find(b"\r\n\r\n")
    if head < 0:
        return "reset", f"after {len(answer)} bytes"
    status = bytes(answer[9:12])
    body = bytes(answer[head + 4 :])
    if status != b"200":
        return "status", f"{status.decode()} {body[:200].decode(errors='replace')}"
    if b'"error"' in body:
        return "told", body[-300:].decode(errors="replace")
    if not is_whole(answer):
        return "cut", f"after {body.count(b'data: ')} events"
    if DONE not in body or f'"completion_tokens":{tokens}'.encode() not in body.replace(b" ", b""):
        return "wrong", body[-300:].decode(errors="replace")
    return "ok", ""
