"""CPU and memory of a process and all its descendants, from the kernel's own accounting.

CPU is utime + stime of every process of the tree, read through each process's CPU clock
(`clock_gettime` on the id that Linux derives from the pid): the same sum that `/proc/PID/stat`
shows, in nanoseconds instead of 10 ms ticks, which would be 5 % of a 400 requests/s window.
"""

from __future__ import annotations

import time
from pathlib import Path

PROC = Path("/proc")
CPUCLOCK_SCHED = 2  # linux/posix-timers.h: the clock of what the scheduler charged


def tree(root: int) -> list[int]:
    """The pids of `root` and its descendants that are alive now."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit():
            parent = _parent(int(entry.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(entry.name))
    found = [root]
    for pid in found:
        found.extend(children.get(pid, ()))
    return found


def cpu_s(root: int) -> float:
    """CPU seconds that the tree of `root` has used so far."""
    return sum(_process_cpu_s(pid) for pid in tree(root))


def rss_bytes(root: int) -> int:
    """Resident bytes of the tree of `root`."""
    return sum(_process_rss_bytes(pid) for pid in tree(root))


def _parent(pid: int) -> int | None:
    try:
        # The name between parentheses may hold anything: fields are counted from its end.
        stat = (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None  # ended while we looked
    return int(stat[1])


def _process_cpu_s(pid: int) -> float:
    try:
        return time.clock_gettime((~pid << 3) | CPUCLOCK_SCHED)
    except OSError:
        return 0.0  # ended while we looked


def _process_rss_bytes(pid: int) -> int:
    try:
        for line in (PROC / str(pid) / "status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1]) * 1024
    except (FileNotFoundError, ProcessLookupError):
        pass
    return 0
