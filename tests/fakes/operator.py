"""The operator's port, as the operator itself serves it: it notes who waits for which model."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

from aiohttp import web
from cardan.instants import WallTime
from cardan_controller.serving import Port
from cardan_controller.wakes import Wakes
from prometheus_client import CollectorRegistry

from tests.fakes.ports import hold_port, number_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


class Replica:
    """One replica of an operator. `asked` counts the pushes that came, noted or not."""

    def __init__(self) -> None:
        self.leading = True
        self.leader = ""
        self.asked = 0
        self._held = hold_port()
        self.url = f"http://127.0.0.1:{number_of(self._held)}"
        self._wakes = Wakes(lambda: None)
        self._runner: web.AppRunner | None = None

    def leads(self) -> bool:
        """See `cardan_controller.serving.Standing`."""
        self.asked += 1
        return self.leading

    def leader_url(self) -> str:
        """See `cardan_controller.serving.Standing`."""
        return self.leader

    def ready(self) -> bool:
        """See `cardan_controller.serving.Standing`."""
        return True

    def hangs(self) -> str:
        """See `cardan_controller.serving.Standing`."""
        return ""

    def note(self, namespace: str, model: str) -> bool:
        """Is somebody waiting for this model?"""
        return self._wakes.requested_at(namespace, model, _now()) is not None

    async def start(self) -> None:
        """Listen."""
        port = Port(self, self._wakes, CollectorRegistry(), _now)
        self._runner = web.AppRunner(port.application())
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", number_of(self._held)).start()

    async def stop(self) -> None:
        """Nobody listens any more."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    async def close(self) -> None:
        """Gone for good."""
        await self.stop()
        self._held.close()


def _now() -> WallTime:
    return WallTime(time.time())


@contextlib.asynccontextmanager
async def replicas(count: int = 1) -> AsyncIterator[list[Replica]]:
    """So many replicas that listen; all lead until told otherwise."""
    made = [Replica() for _ in range(count)]
    for one in made:
        await one.start()
    try:
        yield made
    finally:
        for one in made:
            await one.close()
