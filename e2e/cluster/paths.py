"""Where builds are kept and where clusters run, and the locks of both.

Builds are hundreds of megabytes that outlast a checkout: they live under `$XDG_CACHE_HOME/cardan`.
Running clusters live under `/var/tmp`, because a Unix socket's path ends at 107 bytes and kubelet
adds 50 of its own: a long cache folder would not do. `/var/tmp` is a disk, for images are large;
where there is memory to spare they lie there (`network`).
"""

from __future__ import annotations

import fcntl
import os
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from e2e.cluster.errors import ClusterError
from e2e.cluster.progress import say
from e2e.cluster.versions import STAMP

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import TextIO

ROOT = Path(__file__).parents[2]
# Somebody else may be building all from nothing over a slow line: 11 minutes on a good one.
LOCK_DEADLINE_S = 3600.0
# Who waits longer than this is told what for.
PATIENCE_S = 2.0


def cache_root() -> Path:
    """The folder of all builds, whatever their versions."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "cardan" / "cluster"


def cache() -> Path:
    """The folder of the build with the pinned versions."""
    return cache_root() / STAMP


def runs() -> Path:
    """The folder of this user's running clusters, made if need be.

    Raises:
        ClusterError: the folder is somebody else's.
    """
    folder = Path("/var/tmp") / f"cardan-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise ClusterError(f"{folder} belongs to somebody else")
    return folder


@contextmanager
def locked(
    path: Path, deadline_s: float = LOCK_DEADLINE_S, *, doing: str = "holds it"
) -> Iterator[None]:
    """Hold this file's lock; the kernel lets go of it when the holder dies.

    `doing`: what a holder does, for those who wait.

    Raises:
        ClusterError: somebody holds it all the time.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        _lock(file, path, deadline_s, doing)
        yield


def _lock(file: TextIO, path: Path, deadline_s: float, doing: str) -> None:
    began = time.monotonic()
    is_told = False
    while not _locks(file):
        waited_s = time.monotonic() - began
        if waited_s > deadline_s:
            raise ClusterError(f"another process held {path} for {deadline_s:.0f} s")
        if waited_s > PATIENCE_S and not is_told:
            say(f"waiting for another process, which {doing} (lock: {path})")
            is_told = True
        time.sleep(0.02)


def _locks(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def claim(folder: Path) -> int | None:
    """Lock a folder itself; the descriptor that holds it, or None if somebody does.

    The lock belongs to the open file: whoever inherits the descriptor keeps it, and nothing but
    the folder has to be removed in the end.
    """
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
