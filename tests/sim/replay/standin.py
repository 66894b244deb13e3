"""A stand-in for an endpoint: it answers each request as the test scripted it, and counts."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aiohttp import web

if TYPE_CHECKING:
    import asyncio
    from collections.abc import AsyncIterator, Callable


@dataclass
class Answer:
    """How one request is answered: after `gate` opens, `tokens` events, and then `ending`."""

    tokens: int = 3
    status: int = 200
    ending: str = "whole"  # or "error event", "no done", "reset"
    cached_tokens: int | None = 0
    endpoint: str | None = None
    gate: asyncio.Event | None = None


@dataclass
class StandIn:
    """The server's script and what it saw."""

    script: Callable[[dict[str, object]], Answer]
    bodies: list[dict[str, object]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    url: str = ""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        body = json.loads(await request.read())
        self.bodies.append(body)
        self.keys.append(request.headers.get("authorization"))
        answer = self.script(body)
        if answer.status != 200:
            return web.json_response({"error": {"message": "no"}}, status=answer.status)
        receipt = json.dumps({"endpoint": answer.endpoint}) if answer.endpoint else None
        response = web.StreamResponse(headers={"content-type": "text/event-stream"})
        if receipt is not None and request.headers.get("x-cardan-explain") == "1":
            response.headers["x-cardan-explain"] = receipt
        if answer.gate is not None:
            await answer.gate.wait()
        await response.prepare(request)
        await self._stream(response, request, answer)
        return response

    async def _stream(
        self, response: web.StreamResponse, request: web.Request, answer: Answer
    ) -> None:
        await response.write(event({"choices": [{"delta": {"role": "assistant", "content": ""}}]}))
        for _ in range(answer.tokens):
            await response.write(event({"choices": [{"delta": {"content": " yes"}}]}))
        if answer.ending == "reset":
            assert request.transport is not None
            request.transport.abort()
            return
        if answer.ending == "error event":
            await response.write(event({"error": {"message": "queue full"}}))
        usage: dict[str, object] = {"prompt_tokens": 20, "completion_tokens": answer.tokens}
        if answer.cached_tokens is not None:
            usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens}
        await response.write(event({"choices": [], "usage": usage}))
        if answer.ending != "no done":
            await response.write(b"data: [DONE]\n\n")

    async def models(self, request: web.Request) -> web.Response:
        return web.json_response({"data": [{"id": "standing-in"}]})


def event(message: dict[str, object]) -> bytes:
    """One server-sent event."""
    return b"data: " + json.dumps(message).encode() + b"\n\n"


@asynccontextmanager
async def standing_in(script: Callable[[dict[str, object]], Answer]) -> AsyncIterator[StandIn]:
    """The server, on a port of its own, for the length of a block."""
    stand_in = StandIn(script)
    app = web.Application(client_max_size=1 << 26)
    app.router.add_post("/v1/chat/completions", stand_in.answer)
    app.router.add_post("/v1/completions", stand_in.answer)
    app.router.add_get("/v1/models", stand_in.models)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    stand_in.url = f"http://{host}:{port}"
    try:
        yield stand_in
    finally:
        await runner.cleanup()
