"""A task that begins anew when what it works from has changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine


async def run_anew(work: Callable[[], Coroutine[None, None, None]], changed: asyncio.Event) -> None:
    """Run `work` for ever, from its beginning whenever `changed` is set.

    What it raises is raised here; that it is cancelled because of a change is over before it begins
    again.
    """
    while True:
        changed.clear()
        working = asyncio.ensure_future(work())
        waiting = asyncio.ensure_future(changed.wait())
        try:
            await asyncio.wait((working, waiting), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                working.result()
        finally:
            for task in (working, waiting):
                task.cancel()
            await asyncio.gather(working, waiting, return_exceptions=True)
