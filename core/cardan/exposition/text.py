"""Prometheus text, read only for what is wanted.

Engines print 70 to 270 KB a scrape, nearly all of it histogram buckets that nobody here reads. One
compiled pattern walks the body and stops only at lines that begin with a wanted name: 270 KB take
under 2 ms. Whatever cannot be read (a torn line, a value that is no finite number) is skipped, and
a series that is skipped is missing, never zero.

Both the classic format and OpenMetrics are understood: time stamps and exemplars after the value
are ignored.
"""

from __future__ import annotations

import re
from math import isfinite
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# Labels end at the first brace outside quotes; the alternatives begin with different characters,
# so the pattern is linear on any input.
_LABELS = rb'(?:\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*)\})?'
_VALUE = rb"[ \t]+([^ \t\r\n]+)"
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n"}


class Sample(NamedTuple):
    """One series: its labels and its value."""

    labels: Mapping[str, str]
    value: float


class Wanted:
    """A set of series names, compiled once; `read` finds their samples in a scrape."""

    def __init__(self, names: Iterable[str]) -> None:
        # The longest first: an alternation takes the first that fits, and one name may begin
        # another. A space or a brace must follow, so a name never matches the start of a longer.
        ordered = sorted(names, key=len, reverse=True)
        choice = b"|".join(re.escape(name.encode()) for name in ordered)
        self._pattern = re.compile(rb"^(" + choice + rb")" + _LABELS + _VALUE, re.MULTILINE)

    def read(self, body: bytes) -> dict[str, list[Sample]]:
        """Samples by name; a name without a readable sample is absent."""
        found: dict[str, list[Sample]] = {}
        for match in self._pattern.finditer(body):
            name, labels, text = match.groups()
            value = _number(text)
            if value is not None:
                sample = Sample(_labels(labels), value)
                found.setdefault(name.decode(), []).append(sample)
        return found


def increase(before: float | None, after: float | None) -> float | None:
    """How much a counter rose between two scrapes; None if either does not know.

    A counter that fell was reset by a restart: what it shows is what it rose since, at least.
    """
    if before is None or after is None:
        return None
    return after - before if after >= before else after


def _number(text: bytes) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if isfinite(value) else None


def _labels(text: bytes | None) -> dict[str, str]:
    if not text:
        return {}
    pairs = _LABEL.findall(text.decode("utf-8", "replace"))
    return {name: _unescape(value) if "\\" in value else value for name, value in pairs}


def _unescape(value: str) -> str:
    return _ESCAPE.sub(lambda match: _ESCAPES.get(match[1], match[1]), value)
