"""Scenarios that a client causes: it stalls, leaves, dawdles, or simply stays."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from benchmarks import wire
from benchmarks.fake_engine import STREAM_HEAD, Connection, Request, fall_silent, say_nothing
from benchmarks.scenarios.stage import MB, Finding, Stage, stage, until

if TYPE_CHECKING:
    from benchmarks.candidates import Candidate

LARGE_BYTES = 200 * MB
STALL_S = 3.0  # without progress: everything between engine and reader is full
STALLED_LIMIT_MB = 2.0
LEAVE_LIMIT_S = 1.0
HEADS = 20
HEAD_LIMIT_S = 30.0
IDLE_CLIENTS = 5000
IDLE_LIMIT_MB = 20.0


async def stalled_reader(candidate: Candidate) -> Finding:
    """A client reads the head of a 200 MB answer and no more: the gateway must stop reading too."""
    grown = [await _stalled(candidate, stream) for stream in (False, True)]
    figure = f"{grown[0]:.1f} MB sized, {grown[1]:.1f} MB streamed"
    return Finding(max(grown) <= STALLED_LIMIT_MB, figure)


async def _stalled(candidate: Candidate, stream: bool) -> float:
    async with stage(candidate, _send_streamed if stream else _send_sized, engines=1) as play:
        before = play.gateway.rss_bytes()
        reader, writer = await asyncio.open_connection("127.0.0.1", play.port, limit=4096)
        try:
            writer.write(wire.post(wire.chat("all of it", stream=stream)))
            if await until(lambda: bool(play.engines[0].posts), 10.0) is None:
                return LARGE_BYTES / MB  # it never reached the engine: nothing was measured
            await _until_stalled(play)
            del reader  # never read: the kernel's buffers and then the gateway's fill up
            return (play.gateway.rss_bytes() - before) / MB
        finally:
            writer.transport.abort()


async def _until_stalled(play: Stage) -> None:
    """Until the engine has sent everything, or nothing more for a while."""
    sent, since = -1, time.monotonic()
    while sent < LARGE_BYTES and time.monotonic() - since < STALL_S:
        now_sent = sum(c.sent_bytes for c in play.engines[0].connections)
        if now_sent != sent:
            sent, since = now_sent, time.monotonic()
        await asyncio.sleep(0.1)


def _send_sized(connection: Connection, _request: Request) -> None:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    connection.send_large(head % LARGE_BYTES, LARGE_BYTES)


def _send_streamed(connection: Connection, _request: Request) -> None:
    first = b"data: {}\n\n"
    framed = b"%x\r\n%s\r\n%x\r\n" % (len(first), first, LARGE_BYTES)
    connection.send_large(STREAM_HEAD + framed, LARGE_BYTES)


async def silent_leave(candidate: Candidate) -> Finding:
    """A client leaves while its stream says nothing: the engine must be told at once."""
    waits = [await _left(candidate, before_head) for before_head in (False, True)]
    words = ["never" if wait is None else f"{wait:.2f} s" for wait in waits]
    passed = all(wait is not None and wait <= LEAVE_LIMIT_S for wait in waits)
    return Finding(passed, f"{words[0]} in the stream, {words[1]} before its head")


async def _left(candidate: Candidate, before_head: bool) -> float | None:
    async with stage(candidate, say_nothing if before_head else fall_silent, engines=1) as play:
        reader, writer = await asyncio.open_connection("127.0.0.1", play.port)
        writer.write(wire.post(wire.chat("go on", stream=True)))
        if await until(lambda: bool(play.engines[0].posts), 10.0) is None:
            return None  # it never reached the engine: nothing was measured
        asked = [c for c in play.engines[0].connections if c.completions]
        if not before_head:
            await reader.readuntil(b"\r\n\r\n")
        await asyncio.sleep(0.3)  # a client that leaves at once would only race the engine's start
        writer.close()
        return await until(lambda: all(c.closed.is_set() for c in asked), 10.0)


async def unfinished_heads(candidate: Candidate) -> Finding:
    """Clients that never finish a head, half of them dripping, are cut while others are served."""
    async with stage(candidate) as play:
        pairs = [await asyncio.open_connection("127.0.0.1", play.port) for _ in range(HEADS)]
        for _, writer in pairs:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nx-slow: ")
        ended = [asyncio.create_task(reader.read()) for reader, _ in pairs]
        served, asked, start = 0, 0, time.monotonic()
        while time.monotonic() - start < HEAD_LIMIT_S and not all(t.done() for t in ended):
            for _, writer in pairs[::2]:
                writer.write(b"a")
            asked += 1
            served += (await play.ask(deadline_s=5.0)).status == 200
            await asyncio.sleep(1.0)
        took_s, cut = time.monotonic() - start, sum(task.done() for task in ended)
        for task, (_, writer) in zip(ended, pairs, strict=True):
            task.cancel()
            writer.transport.abort()
        await asyncio.gather(*ended, return_exceptions=True)
    figure = f"{cut} of {HEADS} cut in {took_s:.0f} s, {served} of {asked} others served"
    return Finding(cut == HEADS and served == asked, figure)


async def idle_clients(candidate: Candidate) -> Finding:
    """Thousands of keep-alive clients that have asked once and then say nothing."""
    async with stage(candidate) as play:
        before = play.gateway.rss_bytes()
        pairs = [await _asked_once(play.port) for _ in range(IDLE_CLIENTS)]
        grown_mb = (play.gateway.rss_bytes() - before) / MB
        still_open = sum(not reader.at_eof() for reader, _ in pairs)
        for _, writer in pairs:
            writer.transport.abort()
    figure = f"{grown_mb:.1f} MB, {still_open} still connected"
    return Finding(grown_mb <= IDLE_LIMIT_MB and still_open == IDLE_CLIENTS, figure)


async def _asked_once(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
    writer.write(wire.get("/v1/models"))
    await reader.readuntil(b"\r\n\r\n")
    return reader, writer
