"""Telling the other workers what they want to know, and learning from the one that scrapes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_router.beat import beat
from cardan_router.workers.board import PUBLISH_EVERY_S, Published

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.fleet import Fleet

    from cardan_router.admin import Admin
    from cardan_router.workers.board import Board


class Sharing:
    """Publishes for one worker; `learns` takes engine metrics from the others."""

    def __init__(
        self,
        board: Board,
        fleet: Fleet,
        admin: Admin,
        clock: Callable[[], float],
        *,
        learns: bool,
    ) -> None:
        self._board = board
        self._fleet = fleet
        self._admin = admin
        self._clock = clock
        self._learns = learns

    async def run(self) -> None:
        """For ever."""
        while True:
            self.publish()
            if self._learns:
                for published in self._board.others():
                    self.learn(published)
            await beat(PUBLISH_EVERY_S)

    def publish(self) -> None:
        """Say how things are."""
        known = {
            state.endpoint.url: state.metrics
            for state in self._fleet.endpoints.values()
            if state.metrics is not None
        }
        self._board.publish(
            Published(
                self._board.worker,
                self._clock(),
                self._admin.snapshot(),
                self._admin.receipts(),
                known,
            )
        )

    def learn(self, published: Published) -> None:
        """Take what is newer than what is known."""
        for state in self._fleet.endpoints.values():
            found = published.metrics.get(state.endpoint.url)
            if found is not None and (state.metrics is None or found.at > state.metrics.at):
                state.observe(found)
