"""A clock that stands still until a test moves it."""

from __future__ import annotations

from cardan.instants import Monotonic


class ManualClock:
    """Seconds from an arbitrary zero; `advance` is the only thing that moves it."""

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now = start_s

    def __call__(self) -> Monotonic:
        """Now."""
        return Monotonic(self._now)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += seconds
