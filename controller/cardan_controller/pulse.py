"""Whether a loop gets on with its work.

A tick over five hundred fleets may take minutes where the API server is slow, and is well; one that
waits for ever for something that never comes looks the same from outside, until nothing has come of
it for long. So a loop beats whenever a part of its work is done.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic

# No part of a tick takes so long: the slowest, a question to the API server, is given up after 30 s
# (`cardan_kube.api`), and a few of them may follow one another.
HUNG_TICKS: Final = 20
LEAST_HUNG_S: Final = 120.0


def hung_after_s(tick_s: float) -> float:
    """After how long without a beat a loop is taken to hang."""
    return max(LEAST_HUNG_S, HUNG_TICKS * tick_s)


class Pulse:
    """One loop's."""

    def __init__(self, clock: Callable[[], Monotonic]) -> None:
        self._clock = clock
        self._last: Monotonic | None = None

    def beat(self) -> None:
        """Something was done, and there is more to do."""
        self._last = self._clock()

    def rest(self) -> None:
        """There is nothing to do for now."""
        self._last = None

    def still_s(self) -> float:
        """How long nothing was done of what there is to do."""
        return 0.0 if self._last is None else self._clock() - self._last


class Room(asyncio.Semaphore):
    """So many writes at once; each that is over is a beat."""

    def __init__(self, places: int, beat: Callable[[], None]) -> None:
        super().__init__(places)
        self._beat = beat

    def release(self) -> None:
        """See `asyncio.Semaphore`."""
        self._beat()
        super().release()
