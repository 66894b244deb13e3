"""What decisions were made of, written down for `--replay`.

A file is one fleet's for a while: it begins with the specification and what was remembered, so that
it can be decided upon again without the files before it, and another begins when the specification
changes or the file is long. All files together stay below a bound; the oldest go first. Writing is
best effort: a disk that is full costs the recording, never a tick.

A thread does it, in the order of the ticks. In the event loop 500 fleets of 20 replicas held
everything else up for 130 to 220 ms a tick on an ordinary disk (ext4, 11 MB a tick), and a single
file for up to 170 ms; handing them over takes 1 ms. A bounded number of lines waits for the disk.
What finds no room is dropped and counted, and the fleet's next line begins another file, which can
be decided upon again without it.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import queue
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from cardan.scaling.recording import header_line, observation_line, tick_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import WallTime
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Observation

    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec

log = logging.getLogger(__name__)

SUFFIX: Final = ".jsonl"
# A file is so much of all that may be kept: what goes at once is little.
PART: Final = 1 / 16
# Two ticks over five hundred fleets; as lines they would be some 22 MB.
MOST_WAITING: Final = 1000
# How long a process that ends waits for what is still to be written.
LEAVE_S: Final = 5.0


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


class _Taken(NamedTuple):
    """What a fleet was decided by; `anew`: in a file of its own, for the last line was dropped."""

    fleet: Fleet
    spec: FleetSpec
    observation: Observation
    memory: Memory
    held: str
    stale: str
    anew: bool


class Recorder:
    """Has a thread write the recordings of one process. Without a folder it writes none.

    `dropped` is called for each line that finds no room.
    """

    def __init__(
        self,
        config: RecordConfig,
        dropped: Callable[[], None] = lambda: None,
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._files = _Files(Path(config.folder), config.max_bytes) if config.folder else None
        self._dropped = dropped
        self._most_waiting = most_waiting
        self._waiting: queue.Queue[_Taken | None] = queue.Queue()
        self._thread: threading.Thread | None = None
        self._gaps: set[tuple[str, str]] = set()
        self._behind = False

    def start(self) -> None:
        """Make the folder, and know what is there from before; `OSError` if that cannot be."""
        if self._files is not None:
            self._files.start()
            self._thread = threading.Thread(
                target=self._work, args=(self._files,), name="recorder", daemon=True
            )
            self._thread.start()

    def took(
        self, fleet: Fleet, observation: Observation, memory: Memory, *, held: str, stale: str
    ) -> None:
        """A fleet was decided for: by this, remembering that."""
        if self._thread is None or fleet.spec is None:
            return
        key = (fleet.meta.namespace, fleet.meta.name)
        waiting = self._waiting.unfinished_tasks
        if waiting >= self._most_waiting:
            self._gaps.add(key)
            self._dropped()
            if not self._behind:
                log.warning("what is decided is not all recorded: the disk is too slow")
            self._behind = True
            return
        anew = key in self._gaps
        self._gaps.discard(key)
        if waiting == 0:  # caught up: where one line at a time finds room, it is told no more
            self._behind = False
        self._waiting.put(_Taken(fleet, fleet.spec, observation, memory, held, stale, anew))

    def interrupt(self, key: tuple[str, str]) -> None:
        """What comes next of a fleet is not decided by what was remembered here: another file."""
        self._gaps.add(key)

    def forget(self, key: tuple[str, str]) -> None:
        """A fleet is gone."""
        self._gaps.discard(key)

    def flush(self) -> None:
        """Wait until all that was taken is written."""
        self._waiting.join()

    def close(self) -> None:
        """Write what is left, if that can be done soon."""
        if self._thread is not None:
            self._waiting.put(None)
            self._thread.join(LEAVE_S)

    def _work(self, files: _Files) -> None:
        """The thread."""
        while (taken := self._waiting.get()) is not None:
            try:
                files.write(taken)
            except Exception:  # the boundary of one line: those after it are written
                log.exception("a line of a recording could not be made")
            finally:
                self._waiting.task_done()
        self._waiting.task_done()


class _Files:
    """The files of a folder, and what goes to which; one thread's."""

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._bytes: dict[Path, int] = {}  # of all files, the oldest first
        self._total = 0
        self._open: dict[tuple[str, str], _Open] = {}
        self._trouble: str | None = ""

    def start(self) -> None:
        """See `Recorder`."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = [(path.stat(), path) for path in self._folder.glob(f"*{SUFFIX}")]
        for stat, path in sorted(found, key=lambda item: (item[0].st_mtime_ns, item[1])):
            self._bytes[path] = stat.st_size
            self._total += stat.st_size

    def write(self, taken: _Taken) -> None:
        """A line; what the disk refuses is lost."""
        meta = taken.fleet.meta
        if taken.anew:
            self._open.pop((meta.namespace, meta.name), None)
        tick = tick_of(taken.observation, taken.memory, held=taken.held, stale=taken.stale)
        try:
            path = self._file(taken.fleet, taken.spec, taken.observation.at, taken.memory)
            self._write(path, observation_line(tick))
        except OSError as error:
            self._open.pop((meta.namespace, meta.name), None)
            if error.strerror != self._trouble:
                log.warning("what is decided is not recorded: %s", error)
            self._trouble = error.strerror
        else:
            self._trouble = ""

    def _file(self, fleet: Fleet, spec: FleetSpec, at: WallTime, memory: Memory) -> Path:
        """Where a fleet's next line goes; begun, if it is to be another file than its last."""
        key = (fleet.meta.namespace, fleet.meta.name)
        uid, generation = fleet.meta.uid, fleet.meta.generation
        now = self._open.get(key)
        same = now is not None and now[1:] == (uid, generation)
        if same and now is not None and self._bytes.get(now.path, self._most) < self._most * PART:
            return now.path
        path = self._folder / f"{'.'.join(key)}.{_moment(at)}{SUFFIX}"
        self._write(path, header_line("/".join(key), spec.scaling(), memory))
        self._open[key] = _Open(path, uid, generation)
        return path

    def _write(self, path: Path, line: bytes) -> None:
        try:
            with path.open("ab") as file:
                file.write(line)
        except OSError:
            with contextlib.suppress(OSError):
                self._lost(path)
            raise
        self._bytes[path] = self._bytes.get(path, 0) + len(line)
        self._total += len(line)
        while self._total > self._most:
            oldest = next(iter(self._bytes))
            oldest.unlink(missing_ok=True)
            self._total -= self._bytes.pop(oldest)

    def _lost(self, path: Path) -> None:
        """A line was not written, or in part: a file that was only begun goes, others count."""
        if path not in self._bytes:
            path.unlink(missing_ok=True)
            return
        size = path.stat().st_size
        self._total += size - self._bytes[path]
        self._bytes[path] = size


def _moment(at: WallTime) -> str:
    """A time in a file's name, that sorts."""
    time = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return f"{time:%Y%m%dT%H%M%S}.{time.microsecond // 1000:03d}Z"
