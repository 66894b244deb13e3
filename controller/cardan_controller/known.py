"""What a leader knows of a fleet between ticks.

All of it that must not be lost is in the fleet's status, from which a new leader begins: the memory
of decisions, what each scale was and was to be, who has changed one by hand. A fleet that was
deleted and made anew under its name is another fleet.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.instants import WallTime
from cardan.scaling.memory import Memory

from cardan_controller.crds.fleet import Mode
from cardan_controller.planning import MANAGER

if TYPE_CHECKING:
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.crds.status import FleetStatus
    from cardan_controller.gathering import Part
    from cardan_controller.planning import Home, Scaling

log = logging.getLogger(__name__)

# Who writes in our name what we have not asked for.
ANOTHER: Final = f"another {MANAGER}"
HANDS_OFF: Final = "cardan.dev/manual-scale-wins"


class Known:
    """One fleet's. Whoever writes has taken it and holds `busy`; `turn` counts how often.

    `seen` is what each pool's scale asked for when it was looked at last, `written` what we asked
    for last, `asked` also if that was refused; `manual` who has changed it since. `home` is where
    the gateways were told, `told_at` when the status was written last.
    """

    def __init__(self, fleet: Fleet) -> None:
        self.uid = fleet.meta.uid
        self.status: FleetStatus = fleet.status
        self.memory = _memory(fleet)
        pools = fleet.status.pools
        self.seen = {pool.name: pool.current for pool in pools}
        self.written = {pool.name: pool.desired for pool in pools}
        self.asked: dict[str, int] = {}
        self.manual = {pool.name: pool.manual for pool in pools if pool.manual}
        self.looked = False
        self.home: Home | None = None
        self.told_at = WallTime(0.0)
        self.busy = asyncio.Lock()
        self.turn = 0

    async def take(self) -> None:
        """To write; who takes it lets `busy` go. Does not wait while nobody has it."""
        await self.busy.acquire()
        self.turn += 1

    def held(self, fleet: Fleet, spec: FleetSpec, part: Part) -> str:
        """Why nothing is to be done; empty if something may."""
        if spec.paused:
            return "spec.paused"
        if part.conflict:
            return part.conflict
        if self.manual and fleet.meta.annotations.get(HANDS_OFF) == "true":
            pool, who = next(iter(sorted(self.manual.items())))
            return f"{who} has scaled {pool}, and the annotation {HANDS_OFF} lets that stand"
        return ""

    def look(self, part: Part, mode: Mode) -> None:
        """A scale that changed, and not by us, was changed by hand: until we change it again.

        Of a fleet that only recommends others are to change it: no hand is a strange one.
        """
        if mode is Mode.RECOMMEND:
            self.seen = {pool: scaling.replicas for pool, scaling in part.scalings.items()}
            self.written = dict(self.seen)
            self.manual.clear()
            return
        for pool, scaling in part.scalings.items():
            before = self.seen.get(pool)
            if before is not None and not self._is_ours(pool, before, scaling):
                who = scaling.writers[0] if scaling.writers else "somebody"
                if who != MANAGER:
                    self.manual[pool] = who
                elif self.looked and scaling.replicas != self.asked.get(pool):
                    self._is_of_another(pool, scaling)
            elif scaling.replicas == self.written.get(pool):
                self.manual.pop(pool, None)  # it was changed back
            self.seen[pool] = scaling.replicas
        self.looked = True

    def _is_of_another(self, pool: str, scaling: Scaling) -> None:
        """Two that lead, each by a Lease of its own, undo each other's work."""
        self.manual[pool] = ANOTHER
        words = "%s: another operator has set %d replicas: only one may look after a fleet"
        log.warning(words, scaling.path, scaling.replicas)

    def asks(self, pool: str, replicas: int) -> None:
        """We are about to ask for so many."""
        self.asked[pool] = replicas

    def tried(self, pool: str, replicas: int) -> None:
        """We have asked for so many, and were not answered."""
        self.written[pool] = replicas

    def scaled(self, pool: str, replicas: int) -> None:
        """We have asked for so many."""
        self.written[pool] = replicas
        self.manual.pop(pool, None)

    def _is_ours(self, pool: str, before: int, scaling: Scaling) -> bool:
        """Is a scale what it was, or what we were about to make of it?

        Where it does not tell who wrote it, any step of the way is taken for ours: who led before
        may have ended between a step and the status that would tell of it.
        """
        written = self.written.get(pool, before)
        if scaling.replicas in (before, written):
            return True
        return not scaling.writers and before > scaling.replicas > written


def _memory(fleet: Fleet) -> Memory:
    """What the fleet's status remembers; nothing, if another version wrote it."""
    try:
        return msgspec.convert(fleet.status.memory, Memory)
    except msgspec.ValidationError:
        log.warning("%s/%s: its memory cannot be read", fleet.meta.namespace, fleet.meta.name)
        return Memory()
