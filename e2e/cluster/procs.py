"""Who is whose child, read from /proc."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from pathlib import Path

PROC = Path("/proc")


def name(pid: int) -> str:
    """The process's short name, "" if it is gone."""
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def children(pid: int) -> list[int]:
    """Its children, by asking everybody for their parent: not every Linux has `children` files."""
    return [int(entry.name) for entry in PROC.glob("[0-9]*") if _parent(entry) == pid]


def _parent(entry: Path) -> int | None:
    try:
        stat = (entry / "stat").read_text()
    except OSError:  # it ended while we looked
        return None
    return int(stat.rpartition(")")[2].split()[1])  # the name before it may hold anything


def kill(pid: int) -> None:
    """SIGKILL, of a process that may be gone already."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


async def only_child(pid: int, deadline_s: float = 10.0) -> int:
    """The child that this process is about to have.

    Raises:
        OSError: it ended without one, or took too long.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while loop.time() < end and (PROC / str(pid)).exists():
        if found := children(pid):
            return found[0]
        await asyncio.sleep(0.005)
    raise ChildProcessError("unshare failed: see namespaces.log")
