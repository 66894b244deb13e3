"""Reading an answer as its bytes arrive: what came when, and what it said about itself.

No I/O and no clock: the client feeds bytes with the time at which the socket gave them, and asks
at the end how the answer ended.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import orjson

if TYPE_CHECKING:
    from cardan_sim.replay.sample import Sample

_DONE: Final = b"[DONE]"
# The fields of a delta that are output, in the engines' and OpenAI's words.
_CONTENT_FIELDS: Final = ("content", "reasoning_content", "reasoning", "tool_calls")


class StreamReader:
    """Reads a stream of server-sent events into a sample."""

    def __init__(self, sample: Sample) -> None:
        """The sample gets first content, gaps and usage as they come."""
        self._sample = sample
        self._pending = b""
        self._last_s: float | None = None
        self._done = False
        self._error: str | None = None

    def feed(self, chunk: bytes, now_s: float) -> None:
        """Bytes that arrived at `now_s`, cut anywhere."""
        data = self._pending + chunk
        if b"\r" in data:
            data = data.replace(b"\r\n", b"\n")
        *events, self._pending = data.split(b"\n\n")
        for event in events:
            self._event(event, now_s)

    def end(self) -> str | None:
        """The kind of error the stream ended with, or None when it came whole."""
        if self._error is not None:
            return self._error
        return None if self._done else "cut"

    def _event(self, event: bytes, now_s: float) -> None:
        for line in event.split(b"\n"):
            if line.startswith(b"data:"):
                self._data(line[5:].strip(), now_s)

    def _data(self, data: bytes, now_s: float) -> None:
        if data == _DONE:
            self._done = True
            return
        try:
            message = orjson.loads(data)
        except orjson.JSONDecodeError:
            self._error = "event is not JSON"
            return
        if not isinstance(message, dict):
            self._error = "event is not an object"
            return
        if message.get("error") is not None:
            self._error = "error event"
        if has_content(message):
            self._content(now_s)
        read_usage(message, self._sample)

    def _content(self, now_s: float) -> None:
        if self._last_s is None:
            self._sample.first_s = now_s
        else:
            self._sample.gaps_s.append(now_s - self._last_s)
        self._last_s = now_s


class BodyReader:
    """Reads an answer that is one JSON body (embeddings and the like) into a sample."""

    def __init__(self, sample: Sample) -> None:
        """The first byte counts as the first content."""
        self._sample = sample
        self._chunks: list[bytes] = []

    def feed(self, chunk: bytes, now_s: float) -> None:
        """Bytes that arrived at `now_s`."""
        if self._sample.first_s is None:
            self._sample.first_s = now_s
        self._chunks.append(chunk)

    def end(self) -> str | None:
        """The kind of error, or None for a JSON object without one."""
        try:
            message = orjson.loads(b"".join(self._chunks))
        except orjson.JSONDecodeError:
            return "answer is not JSON"
        if not isinstance(message, dict):
            return "answer is not an object"
        read_usage(message, self._sample)
        return None if message.get("error") is None else "error answer"


def has_content(message: dict[str, object]) -> bool:
    """Whether an event of a chat or text completion carries output."""
    choices = message.get("choices")
    if not isinstance(choices, list):
        return False
    return any(isinstance(choice, dict) and _choice_has_content(choice) for choice in choices)


def _choice_has_content(choice: dict[str, object]) -> bool:
    if choice.get("text"):
        return True
    delta = choice.get("delta")
    return isinstance(delta, dict) and any(delta.get(name) for name in _CONTENT_FIELDS)


def read_usage(message: dict[str, object], sample: Sample) -> None:
    """Take over the token counts of a message, where it has them."""
    usage = message.get("usage")
    if not isinstance(usage, dict):
        return
    sample.prompt_tokens = _count(usage, "prompt_tokens")
    sample.output_tokens = _count(usage, "completion_tokens")
    details = usage.get("prompt_tokens_details")
    if isinstance(details, dict):
        sample.cached_tokens = _count(details, "cached_tokens")


def _count(usage: dict[str, object], name: str) -> int | None:
    value = usage.get(name)
    return value if isinstance(value, int) else None
