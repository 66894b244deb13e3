"""A small engine for tests of the gRPC door: OpenAI's API, with answers a test can hold back."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import orjson

from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

DONE = b"data: [DONE]\n\n"


class Ask(NamedTuple):
    """One request that reached the engine."""

    path: str
    headers: dict[str, str]
    body: Any


class Engine:
    """Answers by `behave`, which a test may replace; counts what runs."""

    def __init__(self) -> None:
        self.asks: list[Ask] = []
        self.running = 0
        self.most_running = 0
        self.left = 0
        self.connections: set[asyncio.StreamWriter] = set()
        self.url = ""
        self.go_on = asyncio.Event()
        self.go_on.set()
        self.behave: Callable[[Ask, asyncio.StreamWriter], Awaitable[None]] = self.answer

    async def answer(self, ask: Ask, out: asyncio.StreamWriter) -> None:
        """Say "w0 w1 …" as many times as `max_tokens`, waiting for `go_on` before the last."""
        count = ask.body.get("max_tokens", 3)
        if ask.path == "/v1/embeddings":
            await write_json(out, embedding(ask))
        elif ask.body.get("stream"):
            write_stream_head(out)
            for i in range(count):
                if i == count - 1:
                    await out.drain()
                    await self.go_on.wait()
                out.write(event(chunk(ask, f"w{i} ", "stop" if i == count - 1 else None)))
            out.write(event({"id": "c", "choices": [], "usage": usage(count)}) + DONE)
            out.write_eof()
        else:
            await self.go_on.wait()
            await write_json(out, whole(ask, "".join(f"w{i} " for i in range(count)), count))

    async def serve(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        """One connection, one request; it counts as open until its transport is gone."""
        self.connections.add(out)
        try:
            await self._serve(reader, out)
        finally:
            out.close()
            with contextlib.suppress(ConnectionError):
                await out.wait_closed()
            self.connections.remove(out)

    async def _serve(self, reader: asyncio.StreamReader, out: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            ask = await _read(reader)
            self.asks.append(ask)
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            answering = asyncio.ensure_future(self.behave(ask, out))
            leaving = asyncio.ensure_future(reader.read(1))
            try:
                await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
                if answering.done():
                    await answering
                    await out.drain()
                else:
                    self.left += 1
            finally:
                self.running -= 1
                answering.cancel()
                leaving.cancel()
                await asyncio.gather(answering, leaving, return_exceptions=True)


@contextlib.asynccontextmanager
async def engine() -> AsyncIterator[Engine]:
    """An engine that listens."""
    made = Engine()
    server = await asyncio.start_server(made.serve, "127.0.0.1", 0)
    made.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield made
    finally:
        made.go_on.set()
        server.close()
        await until(lambda: made.running == 0)
        for out in made.connections:
            out.close()
        await until(lambda: not made.connections)


def event(members: object) -> bytes:
    """A server-sent event."""
    return b"data: " + orjson.dumps(members) + b"\n\n"


def chunk(ask: Ask, text: str, finish: str | None = None) -> dict[str, object]:
    """A chunk of a stream of either API."""
    choice: dict[str, object] = {"index": 0, "finish_reason": finish}
    choice |= {"delta": {"content": text}} if "messages" in ask.body else {"text": text}
    return {"id": "c", "model": ask.body.get("model", "m"), "created": 7, "choices": [choice]}


def whole(ask: Ask, text: str, count: int) -> dict[str, object]:
    """A whole answer of either API."""
    choice: dict[str, object] = {"index": 0, "finish_reason": "stop"}
    if "messages" in ask.body:
        choice["message"] = {"role": "assistant", "content": text}
    else:
        choice["text"] = text
    return {
        "id": "c",
        "model": ask.body.get("model", "m"),
        "choices": [choice],
        "usage": usage(count),
    }


def embedding(ask: Ask) -> dict[str, object]:
    """Vectors that tell which input they belong to."""
    inputs = ask.body["input"] if isinstance(ask.body["input"], list) else [ask.body["input"]]
    data = [{"index": i, "embedding": [float(i), len(str(item))]} for i, item in enumerate(inputs)]
    return {"object": "list", "model": "m", "data": data, "usage": usage(0)}


def usage(completion: int) -> dict[str, object]:
    """What the engine counted."""
    return {
        "prompt_tokens": 5,
        "completion_tokens": completion,
        "total_tokens": 5 + completion,
        "prompt_tokens_details": {"cached_tokens": 2},
    }


def write_stream_head(out: asyncio.StreamWriter) -> None:
    """The head of a stream that ends with its connection."""
    out.write(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n")


async def write_json(out: asyncio.StreamWriter, body: object, status: int = 200) -> None:
    """A sized JSON answer."""
    data = orjson.dumps(body)
    head = f"HTTP/1.1 {status} X\r\ncontent-type: application/json\r\nconnection: close\r\n"
    out.write(f"{head}content-length: {len(data)}\r\n\r\n".encode() + data)
    await out.drain()


async def _read(reader: asyncio.StreamReader) -> Ask:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Ask(head[0].split(" ")[1], headers, orjson.loads(body))
