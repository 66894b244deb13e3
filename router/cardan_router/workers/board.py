"""What the workers of one gateway tell each other: one small file each, in a private folder.

Each worker replaces its file about once a second; whoever answers `/metrics` reads those of the
others, which takes microseconds and cannot block, unlike asking a peer that may be busy. The folder
lies in memory (`/dev/shm`) where there is one. A worker that replaces a dead one counts on from its
file, so sums never fall.
"""

from __future__ import annotations

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import msgspec
from cardan.metrics import EngineMetrics

from cardan_router.telemetry.registry import Snapshot

# Scraped metrics are trusted for three seconds and pass through here on their way to the others.
PUBLISH_EVERY_S = 0.5
# A worker that has not published for so long hangs or is gone; its counters still count, what it
# said of the present does not.
FRESH_S = 5.0


class Published(msgspec.Struct):
    """One worker's file. `at` is on the machine's monotonic clock, which all workers share.

    `metrics` are the engines', by URL: of two pods of one name each has its own.
    """

    worker: str
    at: float
    snapshot: Snapshot
    receipts: list[dict[str, Any]] = []
    metrics: dict[str, EngineMetrics] = {}


class Board:
    """The folder, as one worker sees it."""

    def __init__(self, folder: Path, worker: str) -> None:
        self.folder = folder
        self.worker = worker
        self._file = folder / f"{worker}.msgpack"
        self._fresh = folder / f".{worker}.new"

    def publish(self, published: Published) -> None:
        """Replace this worker's file; a full disk only makes others see an older one."""
        with contextlib.suppress(OSError):
            self._fresh.write_bytes(msgspec.msgpack.encode(published))
            self._fresh.replace(self._file)

    def predecessor(self) -> Published | None:
        """What a worker of the same place published before it died."""
        return _read(self._file)

    def others(self) -> list[Published]:
        """What all other workers published last."""
        found = (
            _read(path) for path in sorted(self.folder.glob("*.msgpack")) if path != self._file
        )
        return [published for published in found if published is not None]


def make_folder() -> Path:
    """A new private folder for a board."""
    memory = Path("/dev/shm")  # noqa: S108 - mkdtemp makes a folder of our own in it
    with contextlib.suppress(OSError):
        if memory.is_dir():
            return Path(tempfile.mkdtemp(prefix="cardan-", dir=memory))
    return Path(tempfile.mkdtemp(prefix="cardan-"))


def _read(path: Path) -> Published | None:
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Published)
    except (OSError, msgspec.DecodeError):
        return None
