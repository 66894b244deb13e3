"""Recorded observations: what a fleet's operator saw, tick by tick, to be decided upon again.

A recording is text, one JSON object a line. The first line says what it is and whose:

    {"recording": "cardan.dev/observations", "version": 1, "fleet": "chat", "spec": {...}}

and every other line is one `Observation`, in order of time, with whatever else a decision was made
of (`Tick`). `spec` is the fleet's specification when it was recorded, so that a replay can ask what
would have been done, or with another one what else, and `memory` what was remembered before the
first line. What decisions remember of each other follows from one line to the next; what was begun
and is under way (drains, restarts, moves) depends on writes that may have failed, so each line has
it. This module only turns lines into values and back; files belong to the shells.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

import msgspec
from cardan.errors import CardanError
from cardan.scaling.drain import DrainMemory
from cardan.scaling.failing import FailingMemory
from cardan.scaling.hotspots import HotSpotMemory
from cardan.scaling.memory import Memory
from cardan.scaling.observation import Observation
from cardan.scaling.spec import PoolSpec, ScalingSpec

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
    memory: Memory | None = None


class Tick(Observation, frozen=True, kw_only=True):
    """A line: what was observed, and what else its decision was made of.

    `held` says why nothing was to be done, `stale` why nothing was to shrink. `drains`, `failing`
    and `hot_spots` were under way before it.
    """

    held: str = ""
    stale: str = ""
    drains: DrainMemory = DrainMemory()
    failing: FailingMemory = FailingMemory()
    hot_spots: HotSpotMemory = HotSpotMemory()

    def remembering(self, memory: Memory) -> Memory:
        """What was remembered when it was decided: what follows from before, and this."""
        return msgspec.structs.replace(
            memory, drains=self.drains, failing=self.failing, hot_spots=self.hot_spots
        )


def tick_of(observation: Observation, memory: Memory, *, held: str = "", stale: str = "") -> Tick:
    """An observation as a line; `memory` is what was remembered before it."""
    return Tick(
        **{name: getattr(observation, name) for name in observation.__struct_fields__},
        held=held,
        stale=stale,
        drains=memory.drains,
        failing=memory.failing,
        hot_spots=memory.hot_spots,
    )


_T = TypeVar("_T")
_ENCODER: Final = msgspec.json.Encoder()


def header_line(fleet: str, spec: ScalingSpec | None = None, memory: Memory | None = None) -> bytes:
    """How a recording begins, with its line end. Of a shell's `spec` only the core's part stays."""
    plain = None if spec is None else _plain(spec)
    return _ENCODER.encode(Header(fleet=fleet, spec=plain, memory=memory)) + b"\n"


def _plain(spec: ScalingSpec) -> ScalingSpec:
    pools = tuple(PoolSpec(**_fields(PoolSpec, pool)) for pool in spec.pools)
    return ScalingSpec(**{**_fields(ScalingSpec, spec), "pools": pools})


def _fields(kind: type[msgspec.Struct], value: object) -> dict[str, Any]:
    return {name: getattr(value, name) for name in kind.__struct_fields__}


def observation_line(observation: Observation) -> bytes:
    """One tick, with its line end."""
    return _ENCODER.encode(observation) + b"\n"


def read_recording(lines: Iterable[bytes]) -> tuple[Header, Iterator[Tick]]:
    """The header at once and the ticks as they are asked for; empty lines are skipped.

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
    return header, _ticks(numbered)


def _ticks(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Tick]:
    last: float | None = None
    for number, line in numbered:
        tick = _decode(Tick, number, line)
        if last is not None and tick.at < last:
            raise RecordingError(f"line {number}: earlier than the line before it")
        last = tick.at
        yield tick


def _decode(kind: type[_T], number: int, line: bytes) -> _T:
    try:
        return msgspec.json.decode(line, type=kind)
    except msgspec.DecodeError as error:
        raise RecordingError(f"line {number}: {error}") from error
