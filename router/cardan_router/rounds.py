"""Visiting every endpoint again and again: each on its own schedule, never too many at once.

Probe and scrape are both this. A visit returns after how many seconds it wants to be made again;
the round adds jitter, so that a thousand endpoints that joined together drift apart, and stretches
the times where the fleet is so large that visits would cost more than they tell. Those who are
*eager* (about to join a large fleet) do not wait for the many: they share a rate of their own.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from cardan_router.beat import beat

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from random import Random

    from cardan.fleet import EndpointState, Fleet

log = logging.getLogger(__name__)

Visit = "Callable[[EndpointState], Awaitable[float]]"

# The schedule is looked at when a visit is due, within these bounds: no oftener than the first, and
# a new endpoint waits at most the second for its first visit. (Each look wakes an idle process.)
LOOK_S = 0.05
MAX_LOOK_S = 0.25
# The visits of a small fleet cost less than the wakes for them would: there they come together, on
# the beat of what wakes the process anyway (`gateway.SWEEP_S`).
FEW = 16
FEW_LOOK_S = 0.2
# Upwards only: "at most once a second" is a promise to the engine.
JITTER = 0.2
# After a visit that raised something unforeseen.
AFTER_BUG_S = 5.0


class _Entry:
    """One endpoint's place in the schedule."""

    __slots__ = ("due_at", "hurried", "state", "task")

    def __init__(self, state: EndpointState, due_at: float) -> None:
        self.state = state
        self.due_at = due_at
        self.task: asyncio.Task[None] | None = None
        self.hurried = False  # while a visit was in the air: another one at once


class Rounds:
    """Runs `visit` for every endpoint of a fleet."""

    def __init__(
        self,
        name: str,
        fleet: Fleet,
        visit: Callable[[EndpointState], Awaitable[float]],
        rng: Random,
        *,
        max_concurrent: int,
        max_per_s: float,
        eager: Callable[[EndpointState], bool] = lambda _: False,
    ) -> None:
        self.name = name
        self.max_concurrent = max_concurrent
        self.max_per_s = max_per_s
        self._fleet = fleet
        self._visit = visit
        self._rng = rng
        self._eager = eager
        self._entries: dict[str, _Entry] = {}
        self._in_air = 0

    def reconfigure(self, *, max_concurrent: int, max_per_s: float) -> None:
        """Take other bounds; what is in the air stays there."""
        self.max_concurrent = max_concurrent
        self.max_per_s = max_per_s

    def hurry(self, id_: str) -> None:
        """Visit one endpoint at the next look, a quarter of a second from now at most."""
        entry = self._entries.get(id_)
        if entry is not None:
            entry.due_at = 0.0
            entry.hurried = entry.task is not None

    async def run(self) -> None:
        """For ever; cancelling it cancels the visits in the air."""
        loop = asyncio.get_running_loop()
        try:
            while True:
                self._follow_fleet(loop.time())
                self._start_due(loop.time())
                if len(self._entries) <= FEW and not any(map(self._is_eager, self._entries)):
                    await beat(FEW_LOOK_S)
                else:
                    await asyncio.sleep(self._until_due_s(loop.time()))
        finally:
            for entry in self._entries.values():
                if entry.task is not None:
                    entry.task.cancel()
            self._entries.clear()

    def _is_eager(self, id_: str) -> bool:
        return self._eager(self._entries[id_].state)

    def _follow_fleet(self, now: float) -> None:
        endpoints = self._fleet.endpoints
        for id_, entry in list(self._entries.items()):
            if endpoints.get(entry.state.id) is not entry.state:
                if entry.task is not None:
                    entry.task.cancel()
                del self._entries[id_]
        for id_, state in endpoints.items():
            if id_ not in self._entries:
                self._entries[id_] = _Entry(state, now)

    def _until_due_s(self, now: float) -> float:
        due_at = min((e.due_at for e in self._entries.values() if not e.task), default=now + 1.0)
        return min(MAX_LOOK_S, max(LOOK_S, due_at - now))

    def _start_due(self, now: float) -> None:
        due = [entry for entry in self._entries.values() if not entry.task and now >= entry.due_at]
        due.sort(key=lambda entry: entry.due_at)  # who has waited longest, or some never would
        for entry in due[: max(0, self.max_concurrent - self._in_air)]:
            self._in_air += 1
            entry.task = asyncio.get_running_loop().create_task(
                self._run_one(entry), name=f"cardan:{self.name}:{entry.state.id}"
            )

    async def _run_one(self, entry: _Entry) -> None:
        wait_s = AFTER_BUG_S
        try:
            wait_s = await self._visit(entry.state)
        except Exception:  # one endpoint's visit must not end the others'
            log.exception("%s of %s failed", self.name, entry.state.id)
        finally:
            self._in_air -= 1
            entry.task = None
            spread = 1.0 + JITTER * self._rng.random()
            floor_s = self._peers(entry) / self.max_per_s
            if not entry.hurried:
                entry.due_at = asyncio.get_running_loop().time() + max(wait_s, floor_s) * spread
            entry.hurried = False

    def _peers(self, entry: _Entry) -> int:
        """With how many an endpoint shares the rate of visits: the eager ones are few."""
        if not self._eager(entry.state):
            return len(self._entries)
        return sum(self._eager(other.state) for other in self._entries.values())
