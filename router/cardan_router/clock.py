"""The one place of the gateway that reads a clock."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import cast

from cardan.instants import Monotonic, WallTime

Clock = Callable[[], Monotonic]
"""Seconds that never jump. Everything in the process uses the same one; tests hand in their own."""


monotonic: Clock = cast("Clock", time.monotonic)
"""The process's clock. Not wrapped in a function: it is read several times for each request."""


def wall_time() -> WallTime:
    """Seconds since 1970, for what a person or another system reads."""
    return WallTime(time.time())
