"""Periodic work in step.

An idle process that wakes finds its caches cold and pays about 0.15 ms for it, however little it
then does (measured: 3 ms of CPU a second for twenty wakes that did next to nothing). So whatever
comes again and again waits for the next multiple of its period on the loop's clock: what is due
twice a second and five times a second comes in six wakes, not in as many as there are tasks.
"""

from __future__ import annotations

import asyncio


async def beat(period_s: float) -> None:
    """Sleep until the loop's clock is at the next multiple of `period_s`, to the millisecond."""
    period_ms = max(1, round(period_s * 1000))
    now_ms = round(asyncio.get_running_loop().time() * 1000)
    await asyncio.sleep((period_ms - now_ms % period_ms) / 1000)
