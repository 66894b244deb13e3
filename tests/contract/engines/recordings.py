"""Exchanges recorded from real engines, and the shape of an answer.

A shape keeps what a client depends on: status, header names, content type, members and their JSON
types at every level, the order and kinds of events, and the words that carry meaning (`object`,
`finish_reason`, error `type` and `code`, ...). It drops texts, numbers, ids and times.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.sim.serve.wire import Answer, events_of, parse_head

REFERENCE = Path(__file__).parents[3] / "../shared/reference"

# Words that a client may branch on: compared as they are.
TELLING = frozenset({"object", "type", "code", "finish_reason", "role", "owned_by", "status"})
TELLING |= {"param", "stop_reason"}
# Written by the transport, not by the route.
TRANSPORT = frozenset({"date", "server", "content-length"})


@dataclass(frozen=True)
class Exchange:
    """One recorded request and its answer."""

    name: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    answer: Answer

    @property
    def whole(self) -> bool:
        """The recorded body was not cut."""
        return len(self.body) == int(self.headers.get("Content-Length", "0"))


def folder(engine: str, name: str) -> Path:
    """A folder of fixtures; skips the test where the recordings are not at hand."""
    found = REFERENCE / f"{engine}-fixtures" / name
    if not found.is_dir():
        pytest.skip(f"recordings not at hand: {found}")
    return found


def names(engine: str, name: str) -> list[str]:
    """The exchanges of a folder, in their order; none where the recordings are not at hand."""
    index = REFERENCE / f"{engine}-fixtures" / name / "http" / "index.json"
    if not index.is_file():
        return []
    return [entry["name"] for entry in json.loads(index.read_text())]


def load(where: Path, name: str) -> Exchange:
    """Read one exchange."""
    raw = (where / "http" / f"{name}.request.http").read_bytes()
    head, _, body = raw.partition(b"\r\n\r\n")
    lines = head.decode("latin-1").split("\r\n")
    method, path, _ = lines[0].split(" ", 2)
    headers = dict(line.split(": ", 1) for line in lines[1:])
    raw = (where / "http" / f"{name}.response.http").read_bytes()
    head, _, rest = raw.partition(b"\r\n\r\n")
    answer = parse_head(head)
    answer.body = dechunked(rest) if answer.header("transfer-encoding") == "chunked" else rest
    return Exchange(name, method, path, headers, body, answer)


def dechunked(raw: bytes) -> bytes:
    """The body inside a chunked framing."""
    body = b""
    while raw:
        size, _, raw = raw.partition(b"\r\n")
        length = int(size, 16)
        body += raw[:length]
        raw = raw[length + 2 :]
        if not length:
            break
    return body


def shape(value: Any, name: str = "") -> Any:
    """Members and types; telling words as they are; the items of a list once for each shape."""
    if isinstance(value, dict):
        return {key: shape(item, key) for key, item in sorted(value.items())}
    if isinstance(value, list):
        shapes: list[Any] = []
        for item in value:
            one = shape(item, name)
            if one not in shapes:
                shapes.append(one)
        return shapes
    if name in TELLING and isinstance(value, str | int):
        return value
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, int | float):
        return "number"
    return "null" if value is None else "string"


def event_shapes(events: list[tuple[str, Any]]) -> list[Any]:
    """The kinds of events in their order; equal neighbours count once, for engines merge tokens."""
    found: list[Any] = []
    for name, data in events:
        one = [name, data if isinstance(data, str) else shape(data)]
        if not found or found[-1] != one:
            found.append(one)
    return found


def answer_shape(answer: Answer) -> dict[str, Any]:
    """Everything a client depends on."""
    kind = answer.header("content-type")
    body: Any = answer.body.decode(errors="replace")[:40]
    if kind and kind.startswith("text/event-stream"):
        body = event_shapes(events_of(answer.body))
    elif kind and kind.startswith("application/json"):
        body = shape(answer.json)
    elif kind and kind.startswith("text/plain; version"):
        body = "metrics"
    return {
        "status": answer.status,
        "content-type": kind,
        "headers": sorted({name for name, _ in answer.headers} - TRANSPORT),
        "body": body,
    }
