"""The clock: a heap of (time, serial, action).

The serial makes ties deterministic: what was planned first happens first. There is no other source
of order, so a run is a function of its inputs.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Action = Callable[..., object]


class Kernel:
    """Simulated time, in seconds from zero; it never goes backwards."""

    __slots__ = ("_heap", "_serial", "now")

    def __init__(self) -> None:
        self.now = 0.0
        self._heap: list[tuple[float, int, Action, tuple[object, ...]]] = []
        self._serial = 0

    def __len__(self) -> int:
        """Actions that are planned."""
        return len(self._heap)

    def at(self, time_s: float, action: Action, *arguments: object) -> None:
        """Plan an action. ValueError for the past: an effect before its cause is a bug."""
        if time_s < self.now:
            raise ValueError(f"planned for {time_s}, and it is {self.now} already")
        self._serial += 1
        heapq.heappush(self._heap, (time_s, self._serial, action, arguments))

    def after(self, delay_s: float, action: Action, *arguments: object) -> None:
        """Plan an action some time from now."""
        self.at(self.now + delay_s, action, *arguments)

    def run(self) -> None:
        """Do everything in order until nothing is planned."""
        heap = self._heap
        pop = heapq.heappop
        while heap:
            self.now, _, action, arguments = pop(heap)
            action(*arguments)
