"""A client of raw HTTP/1.1: it sends what the scenario wrote and reads all of what comes."""

from __future__ import annotations

import asyncio
import contextlib
import json
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

ANSWER_S = 30.0
LIMIT = 2**22  # of one head line or chunk


class Answer(msgspec.Struct, frozen=True):
    """A whole answer; status 0 means that the connection closed or time ran out without one."""

    status: int
    head: bytes = b""
    body: bytes = b""


def chat(prompt: str, stream: bool = False) -> bytes:
    """The body of a chat request with that prompt."""
    messages = [{"role": "user", "content": prompt}]
    body = {"model": "mock-model", "messages": messages, "max_tokens": 1, "stream": stream}
    return json.dumps(body).encode()


def post(body: bytes, target: str = "/v1/chat/completions") -> bytes:
    """The bytes of a POST."""
    return _request("POST", target, body)


def get(target: str) -> bytes:
    """The bytes of a GET."""
    return _request("GET", target, b"")


async def ask(port: int, request: bytes, deadline_s: float = ANSWER_S) -> Answer:
    """Send one request on a connection of its own and read the whole answer."""
    with contextlib.suppress(OSError, EOFError, TimeoutError, ValueError):
        async with asyncio.timeout(deadline_s):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=LIMIT)
            try:
                writer.write(request)
                return await _answer(reader)
            finally:
                writer.close()
    return Answer(0)


async def _answer(reader: asyncio.StreamReader) -> Answer:
    head = await reader.readuntil(b"\r\n\r\n")
    status = int(head.split(b" ", 2)[1])
    if status == 100:
        return await _answer(reader)
    return Answer(status, head, await _body(reader, _fields(head)))


async def _body(reader: asyncio.StreamReader, fields: Mapping[bytes, bytes]) -> bytes:
    if b"content-length" in fields:
        return await reader.readexactly(int(fields[b"content-length"]))
    if b"transfer-encoding" not in fields:
        return await reader.read()
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    return bytes(body)


def _fields(head: bytes) -> dict[bytes, bytes]:
    pairs = (line.partition(b":") for line in head.split(b"\r\n")[1:])
    return {name.lower(): value.strip() for name, _, value in pairs}


def _request(method: str, target: str, body: bytes) -> bytes:
    lines = [
        f"{method} {target} HTTP/1.1",
        "host: 127.0.0.1",
        "content-type: application/json",
        f"content-length: {len(body)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
