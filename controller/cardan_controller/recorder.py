"""What decisions were made of, written down for `--replay`.

A file is one fleet's for a while: it begins with the specification and what was remembered, so that
it can be decided upon again without the files before it, and another begins when the specification
changes or the file is long. All files together stay below a bound; the oldest go first. Writing is
best effort: a disk that is full costs the recording, never a tick.
"""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from cardan.scaling.recording import header_line, observation_line, tick_of

if TYPE_CHECKING:
    from cardan.instants import WallTime
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Observation

    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl"
# A file is so much of all that may be kept: what goes at once is little.
PART: Final = 1 / 16


class RecordConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Observations, written down for `--replay`: a line for each fleet and tick of who leads.

    In files of `folder` (empty: none are written) that take `max_bytes` together; then the oldest
    are deleted. A line of a fleet with 20 replicas has 20 to 30 KB.
    """

    folder: str = ""
    max_bytes: Annotated[int, msgspec.Meta(ge=1_000_000)] = 268_435_456


class _Open(NamedTuple):
    """The file that a fleet's lines go to; whose specification it begins with."""

    path: Path
    uid: str
    generation: int


class Recorder:
    """Writes the recordings of one process. Without a folder it writes none."""

    def __init__(self, config: RecordConfig) -> None:
        self._folder = Path(config.folder) if config.folder else None
        self._most = config.max_bytes
        self._bytes: dict[Path, int] = {}  # of all files, the oldest first
        self._total = 0
        self._open: dict[tuple[str, str], _Open] = {}
        self._trouble: str | None = ""

    def start(self) -> None:
        """Make the folder, and know what is there from before; `OSError` if that cannot be."""
        if self._folder is None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        found = [(path.stat(), path) for path in self._folder.glob(f"*{SUFFIX}")]
        for stat, path in sorted(found, key=lambda item: (item[0].st_mtime_ns, item[1])):
            self._bytes[path] = stat.st_size
            self._total += stat.st_size

    def took(
        self, fleet: Fleet, observation: Observation, memory: Memory, *, held: str, stale: str
    ) -> None:
        """A fleet was decided for: by this, remembering that."""
        if self._folder is None or fleet.spec is None:
            return
        line = observation_line(tick_of(observation, memory, held=held, stale=stale))
        try:
            path = self._file(self._folder, fleet, fleet.spec, observation.at, memory)
            self._write(path, line)
        except OSError as error:
            self._open.pop((fleet.meta.namespace, fleet.meta.name), None)
            if error.strerror != self._trouble:
                log.warning("what is decided is not recorded: %s", error)
            self._trouble = error.strerror
        else:
            self._trouble = ""

    def _file(
        self, folder: Path, fleet: Fleet, spec: FleetSpec, at: WallTime, memory: Memory
    ) -> Path:
        """Where a fleet's next line goes; begun, if it is to be another file than its last."""
        key = (fleet.meta.namespace, fleet.meta.name)
        uid, generation = fleet.meta.uid, fleet.meta.generation
        now = self._open.get(key)
        same = now is not None and now[1:] == (uid, generation)
        if same and now is not None and self._bytes.get(now.path, self._most) < self._most * PART:
            return now.path
        path = folder / f"{'.'.join(key)}.{_moment(at)}{SUFFIX}"
        self._write(path, header_line("/".join(key), spec.scaling(), memory))
        self._open[key] = _Open(path, uid, generation)
        return path

    def _write(self, path: Path, line: bytes) -> None:
        with path.open("ab") as file:
            file.write(line)
        self._bytes[path] = self._bytes.get(path, 0) + len(line)
        self._total += len(line)
        while self._total > self._most:
            oldest = next(iter(self._bytes))
            oldest.unlink(missing_ok=True)
            self._total -= self._bytes.pop(oldest)


def _moment(at: WallTime) -> str:
    """A time in a file's name, that sorts."""
    time = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"
