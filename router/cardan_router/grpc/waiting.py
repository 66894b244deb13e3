"""A request in the scheduler's queue that no flight carries: one that asked only where to go.

It is woken as flights are, when there may be room, and its deadlines are looked at in the gateway's
sweep. A timer of its own may fire a moment early, and would find that the wait is not over.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from cardan.lifecycle import Reject, Wait

from cardan_router.boundary import internal

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange

    from cardan_router.gateway import Gateway


class WaitingRoom:
    """All that wait, one `Waiting` for each exchange."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._waits: dict[Exchange, Waiting] = {}

    def enter(
        self, exchange: Exchange, on_reject: Callable[[Reject], None] | None = None
    ) -> Waiting:
        """Wait for a lease, or join whoever waits for it. `on_reject` is told if none comes."""
        if exchange not in self._waits:
            self._waits[exchange] = Waiting(self._gateway, self._waits, exchange, on_reject)
        return self._waits[exchange]

    def leave(self, exchange: Exchange) -> None:
        """The request is over: nobody waits for it any more."""
        if exchange in self._waits:
            self._waits[exchange].close()

    def check(self, now: Monotonic) -> None:
        """Look at the deadlines."""
        for waiting in list(self._waits.values()):
            waiting.check(now)


class Waiting:
    """One request's wait."""

    def __init__(
        self,
        gateway: Gateway,
        room: dict[Exchange, Waiting],
        exchange: Exchange,
        on_reject: Callable[[Reject], None] | None,
    ) -> None:
        self._gateway = gateway
        self._room = room
        self._exchange = exchange
        self._on_reject = on_reject
        self._over: asyncio.Future[Reject | None] = asyncio.get_running_loop().create_future()
        gateway.waiting[exchange] = self

    async def over(self) -> Reject | None:
        """Wait. Why it is turned away; None if it is placed, or was ended by somebody else."""
        return await asyncio.shield(self._over)

    def check(self, now: Monotonic) -> None:
        """Look at the deadlines: the request's own, and that of the queue."""
        exchange = self._exchange
        own, queued_until = exchange.request.deadline_at, exchange.queued_until
        if own is not None and now >= own:
            self._settle(exchange.deadline(now))
        elif queued_until is not None and now >= queued_until:
            self.wake(now)

    def wake(self, now: Monotonic) -> bool:
        """There may be room; False if there was none."""
        action = self._exchange.wake(now)
        if isinstance(action, Wait):
            return False
        self._settle(action if isinstance(action, Reject) else None)
        return True

    def abandon(self, reject: Reject) -> None:
        """The gateway shuts down, or has failed at it."""
        self._settle(self._exchange.abandon(reject, self._gateway.clock()))

    def drop(self) -> None:
        """End it where `abandon` failed too: its call is told, and nothing else."""
        self._gateway.waiting.pop(self._exchange, None)
        self._room.pop(self._exchange, None)
        reject = self._exchange.abandon(internal(), self._gateway.clock())
        if not self._over.done():
            self._over.set_result(reject)

    def close(self) -> None:
        """The request has ended otherwise."""
        self._settle(None)

    def _settle(self, reject: Reject | None) -> None:
        self._gateway.waiting.pop(self._exchange, None)
        self._room.pop(self._exchange, None)
        self._over.set_result(reject)
        if reject is not None and self._on_reject is not None:
            self._on_reject(reject)
