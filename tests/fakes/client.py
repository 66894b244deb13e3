"""A client that sends exactly the bytes a test gives it, and reads answers strictly.

The answers are parsed by llhttp (`httptools`), which is not our own parser.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from typing import TYPE_CHECKING, Any

import httptools

from tests.fakes.message import Message
from tests.fakes.waiting import DEADLINE_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Reply(Message):
    """One parsed answer."""

    def __init__(self) -> None:
        super().__init__([], b"")
        self.status = 0
        self.complete = False
        self.keep_alive = False

    @property
    def events(self) -> list[Any]:
        """The data of its server-sent events, parsed; `[DONE]` as text."""
        lines = [line[6:] for line in self.body.split(b"\n") if line.startswith(b"data: ")]
        return [line.decode() if line == b"[DONE]" else json.loads(line) for line in lines]


class _Reading:
    """Callbacks of `httptools` that build one `Reply`."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.parser = httptools.HttpResponseParser(self)

    def on_header(self, name: bytes, value: bytes) -> None:
        self.reply.headers.append((name.decode().lower(), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self.reply.status = self.parser.get_status_code()
        self.reply.keep_alive = self.parser.should_keep_alive()

    def on_body(self, body: bytes) -> None:
        self.reply.body += body

    def on_message_complete(self) -> None:
        self.reply.complete = True


class RawClient:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._rest = b""

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self._writer.write(data)
        await self._writer.drain()

    async def reply(self, *, is_head: bool = False) -> Reply:
        """Read one answer; 100 Continue is an answer too. Partial if the connection ends in it."""
        async with asyncio.timeout(DEADLINE_S):
            return await self._reply(is_head=is_head)

    async def _reply(self, *, is_head: bool) -> Reply:
        head = self._rest
        while b"\r\n\r\n" not in head:
            data = await self._reader.read(65536)
            if not data:
                raise ConnectionError(f"closed before a head: {head!r}")
            head += data
        split = head.index(b"\r\n\r\n") + 4
        self._rest = head[split:]
        reply = Reply()
        reading = _Reading(reply)
        reading.parser.feed_data(head[:split])
        if is_head or reply.status < 200 or reply.status in (204, 304):
            reply.complete = True
        length = reply.header("content-length")
        if length is None and reply.header("transfer-encoding") is None and not reply.complete:
            reply.body = self._rest + await self._reader.read(-1)
            self._rest = b""
            reply.complete = True
        while not reply.complete:
            await self._feed(reading, None if length is None else int(length))
        return reply

    async def _feed(self, reading: _Reading, length: int | None) -> None:
        """Give the parser what belongs to this answer, and no more."""
        reply = reading.reply
        if not self._rest:
            self._rest = await self._reader.read(65536)
            if not self._rest:
                raise ConnectionError(f"closed within a body: {reply.body[-200:]!r}")
        if length is not None:
            take = length - len(reply.body)
            data, self._rest = self._rest[:take], self._rest[take:]
            reading.parser.feed_data(data)
            return
        for i in range(len(self._rest)):  # chunked: the end is where the parser says so
            reading.parser.feed_data(self._rest[i : i + 1])
            if reply.complete:
                self._rest = self._rest[i + 1 :]
                return
        self._rest = b""

    async def read_some(self) -> bytes:
        """Whatever comes next; b"" at the end."""
        if self._rest:
            data, self._rest = self._rest, b""
            return data
        async with asyncio.timeout(DEADLINE_S):
            return await self._reader.read(65536)

    async def read_until(self, part: bytes) -> bytes:
        """Read until `part` has come; returns all of it."""
        data = self._rest
        self._rest = b""
        while part not in data:
            more = await self.read_some()
            assert more, data
            data += more
        return data

    async def rest(self) -> bytes:
        """Everything until the server closes; a reset counts as a close."""
        data = self._rest
        self._rest = b""
        async with asyncio.timeout(DEADLINE_S):
            with contextlib.suppress(ConnectionError):
                while more := await self._reader.read(65536):
                    data += more
        return data

    async def is_closed(self) -> bool:
        """Wait for the server to close; False if it sends something instead."""
        return await self.rest() == b""

    def pause(self) -> None:
        """Stop reading from the socket: a client that stalls."""
        self._writer.transport.pause_reading()  # type: ignore[attr-defined]

    def resume(self) -> None:
        """Read again."""
        self._writer.transport.resume_reading()  # type: ignore[attr-defined]

    def half_close(self) -> None:
        """Send a FIN and go on reading."""
        self._writer.write_eof()

    def leave(self) -> None:
        """Close."""
        self._writer.close()

    def reset(self) -> None:
        """Close with a RST."""
        sock = self._writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._writer.transport.abort()


@contextlib.asynccontextmanager
async def connect(port: int) -> AsyncIterator[RawClient]:
    """A connection to 127.0.0.1, closed at the end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield RawClient(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def post(
    body: bytes | dict[str, Any],
    path: str = "/v1/chat/completions",
    headers: tuple[str, ...] = (),
    *,
    version: str = "1.1",
) -> bytes:
    """A POST of JSON."""
    if isinstance(body, dict):
        body = json.dumps(body).encode()
    lines = [
        f"POST {path} HTTP/{version}",
        "host: gateway",
        "content-type: application/json",
        f"content-length: {len(body)}",
        *headers,
    ]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chat(text: str = "hello", **fields: Any) -> dict[str, Any]:
    """A chat body for the model of the fakes."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


def get(path: str, headers: tuple[str, ...] = (), *, method: str = "GET") -> bytes:
    """A request without a body."""
    return "\r\n".join([f"{method} {path} HTTP/1.1", "host: gateway", *headers, "", ""]).encode()
