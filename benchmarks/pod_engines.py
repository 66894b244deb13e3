"""A thousand engines in one process: each at a loopback address of its own, all on one port.

    python -m benchmarks.pod_engines COUNT PORT

Each answers introspection, its health path and chat completions, and the process writes down when:
the first health probe of an address since it was last forgotten, and its last request. A line on
standard input is a command (`forget ADDRESS`, `tell`), the answer to `tell` one line of JSON.
Times are of the machine's monotonic clock, which all processes share.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time

MODELS = b'{"data":[{"id":"m","owned_by":"vllm"}]}'
CHAT = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "x"}}],
    }
).encode()


def address(number: int) -> str:
    """The address of an engine."""
    return f"127.1.{number // 250}.{number % 250 + 1}"


def _answer(body: bytes) -> bytes:
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (
        len(body),
        body,
    )


class Seen:
    """When each address was first probed and last asked."""

    def __init__(self) -> None:
        self.probed_at: dict[str, float] = {}
        self.asked_at: dict[str, float] = {}

    def command(self, text: str) -> str:
        """Do what a line says; the answer, empty if there is none."""
        word, _, where = text.strip().partition(" ")
        if word == "tell":
            return json.dumps({"probed_at": self.probed_at, "asked_at": self.asked_at})
        self.probed_at.pop(where, None)
        return ""


class Engine(asyncio.Protocol):
    """One connection; requests are small and come whole."""

    def __init__(self, seen: Seen) -> None:
        self._seen = seen
        self._transport: asyncio.Transport | None = None
        self._where = ""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio.Protocol`."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._where = transport.get_extra_info("sockname")[0]

    def data_received(self, data: bytes) -> None:
        """See `asyncio.Protocol`."""
        assert self._transport
        if data.startswith(b"GET /v1/models"):
            self._transport.write(_answer(MODELS))
        elif data.startswith(b"GET "):
            self._seen.probed_at.setdefault(self._where, time.monotonic())
            self._transport.write(_answer(b""))
        else:
            self._seen.asked_at[self._where] = time.monotonic()
            self._transport.write(_answer(CHAT))


async def main(count: int, port: int) -> None:
    """Listen at all addresses until standard input ends."""
    loop = asyncio.get_running_loop()
    seen = Seen()
    hosts = [address(number) for number in range(count)]
    await loop.create_server(lambda: Engine(seen), hosts, port, backlog=1024)
    sys.stdout.write("listening\n")
    sys.stdout.flush()
    lines = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    while line := await lines.readline():
        answer = seen.command(line.decode())
        if answer:
            sys.stdout.write(answer + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2])))
