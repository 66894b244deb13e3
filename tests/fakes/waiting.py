"""Wait for a condition with a deadline, never for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

DEADLINE_S = 10.0


async def until(condition: Callable[[], object], what: str, deadline_s: float = DEADLINE_S) -> None:
    """Let the loop run until `condition` holds; fails the test at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        await asyncio.sleep(0.002)


async def settle(rounds: int = 20) -> None:
    """Let whatever is ready in the loop happen, to show that something does *not* happen."""
    for _ in range(rounds):
        await asyncio.sleep(0)
