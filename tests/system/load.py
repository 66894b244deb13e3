"""Streams of chat under load, each one judged: complete, honestly failed, or lost."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import aiohttp


@dataclass
class Stream:
    """What one client saw."""

    status: int = 0
    events: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    broken: str = ""

    @property
    def error(self) -> dict[str, Any] | None:
        """The error event, if there was one."""
        errors = [event["error"] for event in self.events if "error" in event]
        return errors[0] if errors else None

    @property
    def tokens(self) -> int:
        """Content events."""
        return sum(
            1
            for event in self.events
            for choice in event.get("choices", ())
            if choice.get("delta", {}).get("content")
        )

    @property
    def complete(self) -> bool:
        """It said why it finished, and nothing went wrong."""
        finished = any(
            choice.get("finish_reason")
            for event in self.events
            for choice in event.get("choices", ())
        )
        return self.status == 200 and finished and self.done and self.error is None

    @property
    def lost(self) -> bool:
        """It failed although no byte of an answer had come, or it ended without a word."""
        if self.complete:
            return False
        return self.tokens == 0 or self.error is None


async def stream_chat(
    session: aiohttp.ClientSession,
    url: str,
    body: dict[str, Any],
    headers: dict[str, str] | None = None,
) -> Stream:
    """Send one streaming chat and read it to its end, whatever that is."""
    seen = Stream()
    try:
        async with session.post(
            f"{url}/v1/chat/completions", json={**body, "stream": True}, headers=headers
        ) as answer:
            seen.status = answer.status
            async for line in answer.content:
                text = line.strip()
                if not text.startswith(b"data:"):
                    continue
                payload = text[5:].strip()
                if payload == b"[DONE]":
                    seen.done = True
                else:
                    seen.events.append(json.loads(payload))
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        seen.broken = repr(error)
    return seen


def chat(model: str, text: str, tokens: int) -> dict[str, Any]:
    """A chat body."""
    return {
        "model": model,
        "messages": [{"role": "user", "content": text}],
        "max_tokens": tokens,
    }
