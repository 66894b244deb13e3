"""A tiny HTTP server that answers GETs by path: what engines say of themselves."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, cast

from tests.fakes.ports import hold_port, number_of
from tests.fakes.waiting import until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Stub:
    """`answers` maps a path to status and body; what is asked for is written down in `asked`.

    A path whose answer is None is accepted and never answered. `raw` answers everything, unframed.
    """

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, bytes] | None] = {}
        self.asked: list[str] = []
        self.heads: list[bytes] = []
        self.raw: bytes | None = None
        self.server: asyncio.Server | None = None
        self.connections: set[asyncio.Transport] = set()
        self._held = hold_port()
        self.url = f"http://127.0.0.1:{number_of(self._held)}"

    def vllm(self, *models: str) -> Stub:
        """Answer as a healthy vLLM does."""
        self.answers["/v1/models"] = (200, model_list("vllm", *models))
        self.answers["/health"] = (200, b"")
        return self

    def sglang(self, *models: str) -> Stub:
        """Answer as a healthy SGLang does."""
        self.answers["/v1/models"] = (200, model_list("sglang", *models))
        self.answers["/ready"] = (200, b"")
        return self

    async def start(self) -> None:
        """Listen, on the same port each time."""
        loop = asyncio.get_running_loop()
        port = number_of(self._held)
        self.server = await loop.create_server(lambda: _Connection(self), "127.0.0.1", port)

    async def stop(self) -> None:
        """Nobody listens any more, and who is connected is cut."""
        if self.server is not None:
            self.server.close()
            self.server = None
        for transport in list(self.connections):
            transport.abort()
        await until(lambda: not self.connections)

    async def close(self) -> None:
        """Stop for good: the port is anybody's."""
        await self.stop()
        self._held.close()

    def answer(self, head: bytes) -> bytes | None:
        """What a request is answered with; None for nothing at all."""
        self.heads.append(head)
        path = head.split(b" ")[1].decode()
        self.asked.append(path)
        if self.raw is not None:
            return self.raw
        found = self.answers.get(path, (404, b"{}"))
        if found is None:
            return None
        status, body = found
        return b"HTTP/1.1 %d X\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


class _Connection(asyncio.Protocol):
    """One request, one answer, closed."""

    def __init__(self, stub: Stub) -> None:
        self._stub = stub
        self._head = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._stub.connections.add(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stub.connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        self._head += data
        if b"\r\n\r\n" in self._head:
            answer = self._stub.answer(self._head)
            if answer is not None:
                self._transport.write(answer)
                self._transport.close()


def model_list(owner: str, *models: str) -> bytes:
    """A body of `/v1/models`."""
    entries = ",".join(
        f'{{"id":"{model}","object":"model","owned_by":"{owner}"}}' for model in models
    )
    return f'{{"object":"list","data":[{entries}]}}'.encode()


@contextlib.asynccontextmanager
async def stub() -> AsyncIterator[Stub]:
    """A stub that listens."""
    made = Stub()
    await made.start()
    try:
        yield made
    finally:
        await made.close()
