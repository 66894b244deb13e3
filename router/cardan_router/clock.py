"""The one place of the gateway that reads a clock."""

from __future__ import annotations

import time
from collections.abc import Callable

from cardan.instants import Monotonic, WallTime

Clock = Callable[[], Monotonic]
"""Seconds that never jump. Everything in the process uses the same one; tests hand in their own."""


def monotonic() -> Monotonic:
    """The process's clock."""
    return Monotonic(time.monotonic())


def wall_time() -> WallTime:
    """Seconds since 1970, for what a person or another system reads."""
    return WallTime(time.time())
