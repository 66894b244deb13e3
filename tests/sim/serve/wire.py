"""A raw HTTP/1.1 client: sends bytes, reads one answer by its framing, hides nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


@dataclass
class Answer:
    """One answer as it came: header names in lower case; chunks are those of the framing."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes = b""
    chunks: list[bytes] = field(default_factory=list)

    def header(self, name: str) -> str | None:
        """The first value of a header."""
        return next((value for key, value in self.headers if key == name), None)

    @property
    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    @property
    def events(self) -> list[tuple[str, Any]]:
        """The events of a stream: (name, JSON or text); a comment has the name ":"."""
        return events_of(self.body)


def events_of(body: bytes) -> list[tuple[str, Any]]:
    """Parse the body of an event stream."""
    found: list[tuple[str, Any]] = []
    for block in body.decode(errors="replace").split("\n\n"):
        name, data = "", None
        for line in block.splitlines():
            kind, _, value = line.partition(":")
            if kind == "event":
                name = value.strip()
            elif kind == "data":
                data = value.strip()
            elif line.startswith(":"):
                found.append((":", value.strip()))
        if data is not None:
            found.append((name, data if data == "[DONE]" else json.loads(data)))
    return found


def request_bytes(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """A request head and body."""
    head = {"Host": "test", "Content-Type": "application/json", "Content-Length": str(len(body))}
    head |= headers or {}
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + body


class Wire:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(
        self, method: str, path: str, document: Any = None, headers: dict[str, str] | None = None
    ) -> None:
        """Send a request; a document becomes JSON."""
        body = b"" if document is None else json.dumps(document).encode()
        self.writer.write(request_bytes(method, path, body, headers))
        await self.writer.drain()

    async def head(self) -> Answer:
        """Read a head."""
        raw = await self.reader.readuntil(b"\r\n\r\n")
        return parse_head(raw)

    async def chunk(self) -> bytes:
        """Read one chunk; b"" is the last."""
        size = int((await self.reader.readline()).strip(), 16)
        data = await self.reader.readexactly(size + 2)
        return data[:-2]

    async def rest(self, answer: Answer) -> Answer:
        """Read the body that belongs to a head."""
        if answer.header("transfer-encoding") == "chunked":
            while data := await self.chunk():
                answer.chunks.append(data)
            answer.body = b"".join(answer.chunks)
        else:
            answer.body = await self.reader.readexactly(int(answer.header("content-length") or 0))
        return answer

    async def answer(self) -> Answer:
        """Read a whole answer."""
        return await self.rest(await self.head())

    async def close(self) -> None:
        """Close this side."""
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


def parse_head(raw: bytes) -> Answer:
    """An answer without its body."""
    lines = raw.decode("latin-1").rstrip("\r\n").split("\r\n")
    pairs = [line.partition(":") for line in lines[1:]]
    headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
    return Answer(int(lines[0].split()[1]), headers)


@contextlib.asynccontextmanager
async def connect(url: str) -> AsyncIterator[Wire]:
    """A connection to a server."""
    place = urlsplit(url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port, limit=1 << 22)
    wire = Wire(reader, writer)
    try:
        yield wire
    finally:
        await wire.close()


async def ask(
    url: str,
    method: str,
    path: str,
    document: Any = None,
    headers: dict[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    async with connect(url) as wire:
        await wire.send(method, path, document, headers)
        return await wire.answer()


async def get(url: str, path: str) -> Answer:
    """A GET."""
    return await ask(url, "GET", path)


async def post(url: str, path: str, document: Any, **headers: str) -> Answer:
    """A POST of JSON."""
    return await ask(url, "POST", path, document, headers)
