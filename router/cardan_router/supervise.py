"""Every long-lived task of the process, by name; none dies in silence.

A task that raises is logged with its traceback, counted, and started again after a back-off. The
back-off starts at 0.1 s and doubles to 5 s; a task that then runs for a minute starts over.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

log = logging.getLogger(__name__)

FIRST_BACKOFF_S = 0.1
MAX_BACKOFF_S = 5.0
FORGIVEN_AFTER_S = 60.0


class Supervisor:
    """Spawns tasks and keeps them running until `close`."""

    def __init__(self, on_restart: Callable[[str], None]) -> None:
        self._on_restart = on_restart
        self._tasks: dict[str, asyncio.Task[None]] = {}

    @property
    def names(self) -> list[str]:
        """What runs, sorted."""
        return sorted(self._tasks)

    def spawn(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        """Keep `run` running under `name`; a task that returns is finished and not restarted."""
        if name in self._tasks:
            raise RuntimeError(f"two tasks are called {name}")
        self._tasks[name] = asyncio.get_running_loop().create_task(
            self._keep(name, run), name=f"cardan:{name}"
        )

    async def close(self) -> None:
        """Cancel all tasks and wait until they are gone."""
        tasks, self._tasks = list(self._tasks.values()), {}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _keep(self, name: str, run: Callable[[], Awaitable[None]]) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = FIRST_BACKOFF_S
        while True:
            started_at = loop.time()
            try:
                await run()
            except Exception:  # the supervisor: logs, counts and restarts
                log.exception("task %s failed; again in %.1f s", name, backoff_s)
            else:
                self._tasks.pop(name, None)
                return
            self._on_restart(name)
            if loop.time() - started_at > FORGIVEN_AFTER_S:
                backoff_s = FIRST_BACKOFF_S
            await asyncio.sleep(backoff_s)
            backoff_s = min(backoff_s * 2, MAX_BACKOFF_S)
