"""How busy the event loop is, as the kernel's scheduler saw it: what the gateway scales on.

A gateway process is one thread that sleeps when it has nothing to do. It is saturated when it never
sleeps, and long before its queue (which fills when *engines* are too few) says anything. The kernel
counts both parts of a thread's working day: time on a CPU, and time it was ready to run but had
none, because neighbours or a CPU limit held it up. Their sum over wall time is 1 for a saturated
loop, whatever the machine, the limit or the neighbours; CPU time alone is not.
"""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic

# Long enough that one big request does not look like saturation, shorter than any scrape interval
# that autoscalers work with (15 s and more).
WINDOW_S: Final = 10.0
# Three numbers: nanoseconds on a CPU, nanoseconds waiting for one, turns. Of the main thread, which
# is the event loop's.
SCHEDSTAT = Path("/proc/self/schedstat")


def working_s() -> float:
    """Seconds that the main thread has been running or ready to run.

    CPU time of the process where the kernel does not tell, or says 0 as one built without
    CONFIG_SCHED_INFO does: it then cannot see lack of CPU.
    """
    try:
        on_cpu_ns, waiting_ns, _ = SCHEDSTAT.read_text().split()
    except (OSError, ValueError):
        return time.process_time()
    if on_cpu_ns == "0":
        return time.process_time()
    return (int(on_cpu_ns) + int(waiting_ns)) / 1e9


class LoopBusy:
    """The share of the last ten seconds in which the loop had work. Call `look` about once a
    second.
    """

    def __init__(self, read_s: Callable[[], float] = working_s) -> None:
        self._read_s = read_s
        self._seen: deque[tuple[float, float]] = deque()

    def look(self, now: Monotonic) -> None:
        """Note the present; forget what is older than the window."""
        self._seen.append((now, self._read_s()))
        while len(self._seen) > 2 and self._seen[1][0] <= now - WINDOW_S:
            self._seen.popleft()

    def ratio(self) -> float:
        """0 to 1; 0 before there is anything to compare."""
        if len(self._seen) < 2:
            return 0.0
        (then, worked_then_s), (now, worked_s) = self._seen[0], self._seen[-1]
        return min(1.0, max(0.0, (worked_s - worked_then_s) / (now - then)))
