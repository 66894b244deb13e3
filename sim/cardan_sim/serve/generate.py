"""The routes that generate: parse, check, submit, then one body or a stream of events."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final

from cardan_sim.engine import Ended, Request
from cardan_sim.serve import asks, faults
from cardan_sim.serve.errors import ApiError
from cardan_sim.serve.makes.vllm import DEAD
from cardan_sim.serve.pump import EngineDiedError
from cardan_sim.serve.reply import Totals

if TYPE_CHECKING:
    from collections.abc import Callable

    from aiohttp import web

    from cardan_sim.serve.asks import Ask, Body
    from cardan_sim.serve.context import Call, Context
    from cardan_sim.serve.makes.base import Frames
    from cardan_sim.serve.pump import Feed, Piece
    from cardan_sim.serve.reply import Reply

KEEP_ALIVE: Final = b": keep-alive\n\n"


async def chat(context: Context, call: Call) -> web.StreamResponse:
    """/v1/chat/completions."""
    return await _generate(context, call, asks.chat_ask)


async def completions(context: Context, call: Call) -> web.StreamResponse:
    """/v1/completions."""
    return await _generate(context, call, asks.completion_ask)


async def messages(context: Context, call: Call) -> web.StreamResponse:
    """/v1/messages."""
    return await _generate(context, call, asks.messages_ask)


async def responses(context: Context, call: Call) -> web.StreamResponse:
    """/v1/responses."""
    return await _generate(context, call, asks.responses_ask)


async def native(context: Context, call: Call) -> web.StreamResponse:
    """SGLang's /generate."""
    return await _generate(context, call, asks.native_ask)


async def invocations(context: Context, call: Call) -> web.StreamResponse:
    """/invocations: a chat or a completion, whichever the body looks like."""

    def either(body: Body, vocab_size: int) -> Ask:
        ask = asks.chat_ask if "messages" in body else asks.completion_ask
        return ask(body, vocab_size)

    return await _generate(context, call, either)


async def _generate(
    context: Context, call: Call, parse: Callable[[Body, int], Ask]
) -> web.StreamResponse:
    body = await call.json_body()
    asks.check_types(body)
    ask = parse(body, context.settings.spec.vocab_size)
    context.make.check(ask, call.headers)
    created = int(time.time())
    reply = context.make.begin(ask, call.headers, context.engine.vocabulary, created)
    _note(call, ask, reply)
    if context.make.name == "sglang" and reply.id in context.rids:
        raise ApiError(400, f"Duplicate request ID detected: {reply.id}")
    _check_poison(context, ask)
    try:
        feed = context.pump.open(_sequences(context, ask), streamed=ask.stream)
    except EngineDiedError:
        raise ApiError(500, DEAD, "InternalServerError") from None
    context.rids[reply.id] = feed.ids
    try:
        if ask.stream:
            return await _stream(context, call, reply, feed)
        return await _whole(context, call, reply, feed)
    except faults.CutError:
        _outcome(call, "error")
        raise
    except (asyncio.CancelledError, ConnectionError):
        _outcome(call, "left")
        raise
    finally:
        context.rids.pop(reply.id, None)
        feed.close()


def _note(call: Call, ask: Ask, reply: Reply) -> None:
    if call.record is not None:
        call.record.stream = ask.stream
        call.record.model = ask.model
        call.record.prompt_tokens = reply.prompt_tokens


def _outcome(call: Call, outcome: str) -> None:
    if call.record is not None:
        call.record.outcome = outcome


def _check_poison(context: Context, ask: Ask) -> None:
    """A token id beyond the vocabulary kills an SGLang engine, and all that runs on it."""
    vocab_size = context.settings.spec.vocab_size
    if any(max(prompt) >= vocab_size for prompt in ask.prompts):
        context.crash()


def _sequences(context: Context, ask: Ask) -> list[Request]:
    """One request of the model for each choice."""
    body = ask.body
    limit, ends_with = ask.limit, "length"
    if limit is None:
        limit, ends_with = context.settings.default_output, "stop"
    if ask.tool is not None:
        limit = min(limit, -(-len(ask.tool.arguments) // 4))
    priority = body.get("priority")
    return [
        Request(
            context.next_id(),
            prompt,
            limit,
            ends_with="stop" if ends_with == "stop" else "length",
            priority=priority if isinstance(priority, int) else 0,
            cache_seed=ask.cache_seed,
            sampling_seed=int(body.get("seed") or 0) * 1000 + choice,
            streamed=ask.stream,
        )
        for prompt in ask.prompts
        for choice in range(ask.n)
    ]


async def _whole(context: Context, call: Call, reply: Reply, feed: Feed) -> web.Response:
    try:
        while not feed.over:
            for piece in await feed.next():
                if piece.token_id is not None:
                    reply.say(piece.choice, piece.token_id)
        for piece in feed.rest():
            if piece.token_id is not None:
                reply.say(piece.choice, piece.token_id)
    except EngineDiedError:
        _outcome(call, "died")
        raise ApiError(500, DEAD, "InternalServerError") from None
    if feed.refused is not None:
        _outcome(call, "refused")
        raise context.make.refusal(feed.refused)
    ends = [end for end in feed.ends if end is not None]
    totals = _totals(call, ends, reply)
    _outcome(call, "whole")
    body = context.make.whole(reply, ends, totals)
    return call.json(body, headers=_orca(context, call))


def _totals(call: Call, ends: list[Ended], reply: Reply) -> Totals:
    totals = Totals.of(ends, reply.ask.n)
    if call.record is not None:
        call.record.cached_tokens = totals.cached
        call.record.output_tokens = totals.generated
    return totals


def _orca(context: Context, call: Call) -> dict[str, str]:
    """vLLM tells its load in a response header to who asks for it (not in streams)."""
    wanted = call.headers.get("endpoint-load-metrics-format", "").upper()
    if context.make.name != "vllm" or wanted not in ("JSON", "TEXT"):
        return {}
    load = context.engine.gauges
    values = {
        "num_requests_waiting": float(load.waiting),
        "kv_cache_usage_perc": load.used_blocks / context.settings.spec.kv_blocks,
    }
    if wanted == "JSON":
        text = json.dumps({"named_metrics": values})
    else:
        text = ", ".join(f"named_metrics.{name}={value}" for name, value in values.items())
    return {"endpoint-load-metrics": f"{wanted} {text}"}


async def _stream(context: Context, call: Call, reply: Reply, feed: Feed) -> web.StreamResponse:
    make = context.make
    if make.head_first and feed.refused is not None:
        _outcome(call, "refused")
        raise make.refusal(feed.refused)
    response = await call.event_stream() if make.head_first else None
    try:
        first = await _first_pieces(context, feed, response)
    except EngineDiedError:
        first = []
    if response is None:
        response = await call.event_stream()
    writer = _Writer(context, call, reply, feed, response)
    await writer.run(first)
    await response.write_eof()
    return response


async def _first_pieces(
    context: Context, feed: Feed, response: web.StreamResponse | None
) -> list[Piece]:
    """Wait for the first news, with comments in the stream if the server is told to send them."""
    interval_s = context.settings.sse_keep_alive_s
    if response is None or not interval_s:
        return await feed.next()
    waiting = asyncio.ensure_future(feed.next())
    try:
        while not (await asyncio.wait([waiting], timeout=interval_s))[0]:
            await response.write(KEEP_ALIVE)
        return waiting.result()
    finally:
        waiting.cancel()


class _Writer:
    """Writes the events of one stream, each as a chunk of its own."""

    def __init__(
        self,
        context: Context,
        call: Call,
        reply: Reply,
        feed: Feed,
        response: web.StreamResponse,
    ) -> None:
        self._context = context
        self._call = call
        self._reply = reply
        self._feed = feed
        self._write = response.write
        self._frames: Frames = context.make.frames(reply)
        self._opened = False
        self._tokens = 0

    async def run(self, pieces: list[Piece]) -> None:
        """To the end of the stream, however it ends."""
        feed, make, reply = self._feed, self._context.make, self._reply
        _outcome(self._call, "stream")
        try:
            while True:
                for piece in pieces:
                    if piece.ended is not None and piece.ended.reason == "refused":
                        await self._fail(make.refusal(piece.ended), "refused")
                        return
                    await self._piece(piece)
                if feed.over and not feed.pending:
                    break
                pieces = await feed.next()
        except EngineDiedError:
            await self._fail(ApiError(500, DEAD, "InternalServerError"), "died")
            return
        ends = [end for end in feed.ends if end is not None]
        for event in self._frames.closing(_totals(self._call, ends, reply)):
            await self._write(event)

    async def _fail(self, error: ApiError, outcome: str) -> None:
        _outcome(self._call, outcome)
        for event in self._context.make.stream_error(error, self._reply):
            await self._write(event)

    async def _piece(self, piece: Piece) -> None:
        frames = self._frames
        if not self._opened:
            self._opened = True
            for event in frames.opening():
                await self._write(event)
        if piece.ended is not None:
            events = frames.last(piece.choice, piece.token_id, piece.ended)
        elif piece.token_id is not None:
            events = frames.token(piece.choice, piece.token_id)
        else:
            return
        for event in events:
            await self._write(event)
        self._tokens += 1
        self._cut()

    def _cut(self) -> None:
        """The fault that ends a stream in its middle."""
        limit = self._context.faults.cut_after_tokens
        if limit is not None and self._tokens >= limit:
            faults.reset(self._call.request.transport)
            raise faults.CutError
