"""Files of OpenAI requests: whole bodies, sent as they were recorded.

Each line holds a `body`, and may hold a `timestamp` (seconds, or a date and time) and the path as
`url`. The lines of OpenAI's batch files (`custom_id`, `method`, `url`, `body`) are of this format
and have no time. Without a `url` the path follows from the body: `messages` or `prompt`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec

from cardan_sim.traces.request import RecordedBody, TraceRequest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cardan_sim.traces.source import Line

# About four bytes of English a token; used only to leave out prompts over a limit.
_BYTES_A_TOKEN: Final = 4
_LENGTH_FIELDS: Final = ("max_completion_tokens", "max_tokens", "max_output_tokens")


class RecordedLine(msgspec.Struct, frozen=True):
    """One line of the file; what else it holds is ignored."""

    body: dict[str, object]
    timestamp: float | str | None = None
    url: str | None = None


_DECODER: Final = msgspec.json.Decoder(RecordedLine)


def looks_like_requests(text: str) -> bool:
    """Whether a first line is of this format."""
    return text.lstrip().startswith("{") and '"body"' in text


def parse_requests(lines: Iterable[Line], block_tokens: int) -> Iterator[TraceRequest]:
    """The requests of a file, in its order; `block_tokens` has no say, prompts are whole.

    Raises TraceError on the first line that is not of the format.
    """
    del block_tokens
    for line in lines:
        yield _decode(line)


def _decode(line: Line) -> TraceRequest:
    try:
        record = _DECODER.decode(line.text)
        arrival_s = _seconds(record.timestamp)
    except (msgspec.DecodeError, ValueError) as error:
        raise line.error(str(error)) from error
    body = record.body
    prompt = {key: body[key] for key in ("messages", "prompt", "input") if key in body}
    return TraceRequest(
        arrival_s=arrival_s,
        input_tokens=max(1, len(msgspec.json.encode(prompt)) // _BYTES_A_TOKEN),
        output_tokens=_output_tokens(body),
        prompt=RecordedBody(_path(line, record), body),
    )


def _seconds(stamp: float | str | None) -> float | None:
    if not isinstance(stamp, str):
        return stamp
    moment = datetime.fromisoformat(stamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _path(line: Line, record: RecordedLine) -> str:
    if record.url is not None:
        path = urlsplit(record.url).path
        return path if path.startswith("/") else f"/{path}"
    if "messages" in record.body:
        return "/v1/chat/completions"
    if "prompt" in record.body:
        return "/v1/completions"
    raise line.error('no "url", and the body has neither "messages" nor "prompt"')


def _output_tokens(body: dict[str, object]) -> int | None:
    for name in _LENGTH_FIELDS:
        value = body.get(name)
        if isinstance(value, int):
            return value
    return None
