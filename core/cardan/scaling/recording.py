"""Recorded observations: what a fleet's operator saw, tick by tick, to be decided upon again.

A recording is text, one JSON object a line. The first line says what it is and whose:

    {"recording": "cardan.dev/observations", "version": 1, "fleet": "chat", "spec": {...}}

and every other line is one `Observation`, in order of time. `spec` is the fleet's specification
when it was recorded, so that a replay can ask what would have been done, or with another one what
else. This module only turns lines into values and back; files belong to the shells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal, TypeVar

import msgspec
from cardan.errors import CardanError
from cardan.scaling.observation import Observation
from cardan.scaling.spec import ScalingSpec

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

VERSION: Final = 1


class RecordingError(CardanError):
    """A line of a recording that cannot be read; the message says which and why."""


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """The first line."""

    recording: Literal["cardan.dev/observations"] = "cardan.dev/observations"
    version: int = VERSION
    fleet: str = ""
    spec: ScalingSpec | None = None


_T = TypeVar("_T")
_ENCODER: Final = msgspec.json.Encoder()


def header_line(fleet: str, spec: ScalingSpec | None = None) -> bytes:
    """How a recording begins, with its line end."""
    return _ENCODER.encode(Header(fleet=fleet, spec=spec)) + b"\n"


def observation_line(observation: Observation) -> bytes:
    """One tick, with its line end."""
    return _ENCODER.encode(observation) + b"\n"


def read_recording(lines: Iterable[bytes]) -> tuple[Header, Iterator[Observation]]:
    """The header at once and the observations as they are asked for; empty lines are skipped.

    Raises RecordingError for the first line now, and from the iterator for whatever is wrong later:
    not an observation, or earlier than the one before it.
    """
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    first = next(numbered, None)
    if first is None:
        raise RecordingError("no lines in the recording")
    header = _decode(Header, *first)
    if header.version > VERSION:
        raise RecordingError(f"line {first[0]}: version {header.version}; {VERSION} is known here")
    return header, _observations(numbered)


def _observations(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Observation]:
    last: float | None = None
    for number, line in numbered:
        observation = _decode(Observation, number, line)
        if last is not None and observation.at < last:
            raise RecordingError(f"line {number}: earlier than the line before it")
        last = observation.at
        yield observation


def _decode(kind: type[_T], number: int, line: bytes) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise RecordingError(f"line {number}: {error}") from error
