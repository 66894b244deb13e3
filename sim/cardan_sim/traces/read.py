"""From a path to requests: find the format out, read, and put in order of arrival."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.traces.mooncake import looks_like_mooncake, parse_mooncake
from cardan_sim.traces.openai_requests import looks_like_requests, parse_requests
from cardan_sim.traces.request import TraceError, TraceRequest
from cardan_sim.traces.source import Line, read_lines
from cardan_sim.traces.tables import looks_like_table, parse_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

# What Mooncake's published files use; the other block format we know says 16.
DEFAULT_BLOCK_TOKENS: Final = 512


class Format(NamedTuple):
    """How a format is known by its first line, and how a file of it is read."""

    looks_right: Callable[[str], bool]
    parse: Callable[[Iterable[Line], int], Iterator[TraceRequest]]


_TABLE: Final = Format(looks_like_table, parse_table)
FORMATS: Final[dict[str, Format]] = {
    "mooncake": Format(looks_like_mooncake, parse_mooncake),
    "azure": _TABLE,
    "burstgpt": _TABLE,
    "openai": Format(looks_like_requests, parse_requests),
}


def read_trace(
    path: Path, *, trace_format: str | None = None, block_tokens: int = DEFAULT_BLOCK_TOKENS
) -> list[TraceRequest]:
    """The requests of a trace file in order of arrival, the first at zero seconds.

    `trace_format` is a key of FORMATS; None looks at the first line. Where the file has no times
    the order is the file's. Raises TraceError, naming the file and the line.
    """
    lines = read_lines(path)
    first = next(lines, None)
    if first is None:
        raise TraceError(f"{path}: no requests in it")
    parse = FORMATS[trace_format or _detect(first)].parse
    requests = list(parse(chain([first], lines), block_tokens))
    if not requests:
        raise TraceError(f"{path}: no requests in it")
    return _in_order(path, requests)


def _detect(first: Line) -> str:
    for name, known in FORMATS.items():
        if known.looks_right(first.text):
            return name
    raise first.error(f"of no known format ({', '.join(FORMATS)}); say which with --format")


def _in_order(path: Path, requests: list[TraceRequest]) -> list[TraceRequest]:
    """Sorted by arrival from zero; a file has times on every line or on none."""
    arrivals = [request.arrival_s for request in requests if request.arrival_s is not None]
    if not arrivals:
        return requests
    if len(arrivals) != len(requests):
        raise TraceError(f"{path}: only {len(arrivals)} of {len(requests)} requests have a time")
    origin_s = min(arrivals)
    ordered = sorted(zip(arrivals, requests, strict=True), key=lambda pair: pair[0])
    return [replace(r, arrival_s=arrival_s - origin_s) for arrival_s, r in ordered]
