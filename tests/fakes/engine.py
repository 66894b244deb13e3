"""An engine that answers exactly what a test scripts, byte for byte.

A script is called with each request and yields steps: bytes to send, an `asyncio.Event` to wait
for, `CLOSE` (a FIN), `RESET` (a RST) or `HANG` (nothing more, until the peer leaves). When it ends
the connection is kept alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import json
import socket
import struct
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from tests.fakes.message import Message
from tests.fakes.ports import hold_port, number_of

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator


class Do(enum.Enum):
    """Steps that are not bytes."""

    CLOSE = "close"
    RESET = "reset"
    HANG = "hang"


Step = bytes | asyncio.Event | Do
CLOSE, RESET, HANG = Do.CLOSE, Do.RESET, Do.HANG


class Seen(Message):
    """A request as the engine got it; `left` is set when its connection is gone."""

    def __init__(self, line: str, headers: list[tuple[str, str]], body: bytes) -> None:
        super().__init__(headers, body)
        self.line = line
        self.left = asyncio.Event()


Script = Callable[[Seen], Iterable[Step]]


def plain(
    body: bytes | None = None, status: str = "200 OK", content_type: str = "application/json"
) -> bytes:
    """A whole answer with a length."""
    if body is None:
        body = json.dumps(
            {
                "id": "chatcmpl-1",
                "object": "chat.completion",
                "choices": [
                    {
                        "index": 0,
                        "message": {"role": "assistant", "content": "hello"},
                        "finish_reason": "stop",
                    }
                ],
                "usage": {
                    "prompt_tokens": 12,
                    "completion_tokens": 3,
                    "total_tokens": 15,
                    "prompt_tokens_details": {"cached_tokens": 8},
                },
            }
        ).encode()
    return (
        f"HTTP/1.1 {status}\r\ndate: Sat, 01 Jan 2000 00:00:00 GMT\r\nserver: uvicorn\r\n"
        f"content-length: {len(body)}\r\ncontent-type: {content_type}\r\n\r\n"
    ).encode() + body


SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LAST_CHUNK = b"0\r\n\r\n"


def chunk(payload: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(payload), payload)


def event(data: object) -> bytes:
    """One server-sent event."""
    text = data if isinstance(data, str) else json.dumps(data)
    return f"data: {text}\n\n".encode()


def token(i: int) -> bytes:
    """One chat chunk with the token `t{i}`, in its event and its HTTP chunk."""
    return chunk(event({"id": "c", "choices": [{"index": 0, "delta": {"content": f"t{i} "}}]}))


DONE = chunk(event("[DONE]"))


def answer_all(_: Seen) -> Iterable[Step]:
    """The script of an engine that is well."""
    yield plain()


class FakeEngine:
    """A scripted engine on a port of its own."""

    def __init__(self, script: Script = answer_all, tls: ssl.SSLContext | None = None) -> None:
        self.script = script
        self.tls = tls
        self.requests: list[Seen] = []
        self.connections = 0
        self.open_connections = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._held = hold_port()

    @property
    def url(self) -> str:
        """Its origin."""
        return f"{'http' if self.tls is None else 'https'}://127.0.0.1:{self.port}"

    @property
    def port(self) -> int:
        """Its port, which it keeps when it is restarted."""
        return number_of(self._held)

    async def start(self) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=self.tls)

    async def stop(self) -> None:
        """Stop listening and reset every connection: the process was killed."""
        if self._server is not None:
            self._server.close()
        for writer in list(self._writers):
            _reset(writer)
        while self._writers:  # noqa: ASYNC110 - polling is good enough for a test
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Stop for good: the port is anybody's."""
        await self.stop()
        self._held.close()

    def close_connections(self) -> None:
        """Close every connection politely, as a keep-alive time-out does."""
        for writer in list(self._writers):
            writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open_connections += 1
        self._writers.add(writer)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            self.open_connections -= 1
            self._writers.discard(writer)
            with contextlib.suppress(OSError):
                writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        seen = await _read_request(reader)
        self.requests.append(seen)
        watch = asyncio.ensure_future(_wait_for_leaving(reader, seen))
        try:
            for step in self.script(seen):
                if not await _perform(step, writer, seen):
                    return False
            return not seen.left.is_set()
        finally:
            watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await watch


async def _perform(step: Step, writer: asyncio.StreamWriter, seen: Seen) -> bool:
    if isinstance(step, bytes):
        writer.write(step)
        await writer.drain()
    elif isinstance(step, asyncio.Event):
        waits = [asyncio.ensure_future(e.wait()) for e in (step, seen.left)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        return not seen.left.is_set() or step.is_set()
    elif step is RESET:
        _reset(writer)
        return False
    elif step is CLOSE:
        return False
    else:
        await seen.left.wait()
        return False
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    sock = writer.get_extra_info("socket")
    if sock is not None:  # closed already
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Seen:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *rest = head[:-4].split("\r\n")
    headers = [(n.lower(), v.strip()) for n, _, v in (text.partition(":") for text in rest)]
    lengths = [v for n, v in headers if n == "content-length"]
    assert len(lengths) == 1, headers
    assert not [v for n, v in headers if n == "transfer-encoding"], headers
    return Seen(line, headers, await reader.readexactly(int(lengths[0])))


async def _wait_for_leaving(reader: asyncio.StreamReader, seen: Seen) -> None:
    """A client that leaves is seen as the end of the stream; it sends nothing meanwhile."""
    try:
        while not reader.at_eof() and reader.exception() is None:
            if reader._buffer:  # type: ignore[attr-defined]
                return  # the next request is there: nobody has left
            await asyncio.sleep(0.002)
    finally:
        if reader.at_eof() or reader.exception() is not None:
            seen.left.set()


@contextlib.asynccontextmanager
async def engines(count: int, script: Script = answer_all) -> AsyncIterator[list[FakeEngine]]:
    """`count` engines with one script, stopped at the end."""
    started = [FakeEngine(script) for _ in range(count)]
    for engine in started:
        await engine.start()
    try:
        yield started
    finally:
        for engine in started:
            await engine.close()
