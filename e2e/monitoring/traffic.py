"""Chats for a while, as clients send them: `python -m e2e.monitoring.traffic URL MODEL SECONDS`.

A few conversations share prompts, so that caches fill; some ask for a model that is not there.
"""

from __future__ import annotations

import asyncio
import sys
import time

import aiohttp

from tests.system.load import chat, stream_chat

CONVERSATIONS = 6
PROMPTS = [f"{n} " + "lorem ipsum dolor " * 400 for n in range(3)]
USAGE = {"stream_options": {"include_usage": True}}


async def main(url: str, model: str, duration_s: float) -> None:
    """All conversations, and how many answers were complete."""
    end = time.monotonic() + duration_s
    async with aiohttp.ClientSession() as session:
        counts = await asyncio.gather(
            *(converse(session, url, model, n, end) for n in range(CONVERSATIONS))
        )
    sys.stdout.write(f"{sum(counts)}\n")


async def converse(
    session: aiohttp.ClientSession, url: str, model: str, number: int, end: float
) -> int:
    """One client's requests, one after the other."""
    complete = turn = 0
    while time.monotonic() < end:
        turn += 1
        text = f"{PROMPTS[number % len(PROMPTS)]} {number} {turn}"
        seen = await stream_chat(session, url, chat(model, text, 20) | USAGE)
        complete += seen.complete
        if turn % 5 == 0:
            await stream_chat(session, url, chat("no-such-model", "hello", 3))
        await asyncio.sleep(0.1)
    return complete


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], float(sys.argv[3])))
