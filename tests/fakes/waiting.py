"""Wait for a condition with a deadline, never for a time."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

# Costs nothing where all is well; a machine that runs six suites at once has been seen to take
# seconds over what takes it milliseconds alone.
DEADLINE_S = 30.0


async def until(
    condition: Callable[[], object], what: str = "a condition", deadline_s: float = DEADLINE_S
) -> None:
    """Let the loop run until `condition` holds; fails the test at the deadline."""
    loop = asyncio.get_running_loop()
    end = loop.time() + deadline_s
    while not condition():
        if loop.time() > end:
            raise AssertionError(f"waited {deadline_s} s in vain: {what}")
        await asyncio.sleep(0.002)


async def soon(happens: Awaitable[T]) -> T:
    """What must happen without anything more being done; fails the test at the deadline."""
    async with asyncio.timeout(DEADLINE_S):
        return await happens


async def settle(rounds: int = 20) -> None:
    """Let whatever is ready in the loop happen, to show that something does *not* happen."""
    for _ in range(rounds):
        await asyncio.sleep(0)
