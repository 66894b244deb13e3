"""How many replicas each pool is to have, and how old that knowledge is: for those who do it.

Who leads knows what it has decided. Who follows knows what the leader has written into the fleets'
statuses. A status is written when it says something new, so it is as good as its watch and as the
leader that would write it: its age is the time since either was heard last, and of a leader that
renews its lease every two seconds that is next to nothing. What is older than a limit is not told:
who asks is to keep the replicas there are.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, NamedTuple, Protocol

from cardan.scaling.decision import ReasonCode

from cardan_controller.crds.status import ConditionType, Truth

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cardan.instants import WallTime

    from cardan_controller.crds.status import Condition, PoolStatus


def recommended(pools: Iterable[PoolStatus], conditions: Iterable[Condition]) -> dict[str, int]:
    """How many replicas a status says that each pool is to have.

    Nothing of a specification that cannot be decided by, and of a target that cannot be read: what
    stands there of those is no decision.
    """
    told = {one.type: one for one in conditions if one.status is Truth.FALSE}
    if ConditionType.SPEC_VALID.value in told:
        return {}
    unknown = {ReasonCode.TARGET_ERROR.value}
    able = told.get(ConditionType.ABLE_TO_SCALE.value)
    if able is not None and able.reason == ReasonCode.TARGET_ERROR.value:
        unknown.add(ReasonCode.PAUSED.value)  # which is told before what is wrong
    return {pool.name: pool.desired for pool in pools if pool.reason not in unknown}


class Pool(NamedTuple):
    """A pool by its full name."""

    namespace: str
    fleet: str
    pool: str


class Decided(NamedTuple):
    """What was decided here, and when."""

    desired: int
    at: WallTime


class Recommended(NamedTuple):
    """A number with its age; `here`: it was decided by the replica that tells it."""

    desired: int
    age_s: float
    here: bool


class Statuses(Protocol):
    """What statuses tell."""

    def desired(self, namespace: str, fleet: str) -> Mapping[str, int]:
        """By pool; empty for a fleet that nothing was decided for."""

    def age_s(self) -> float:
        """How long ago they were certainly what the leader means."""


class Recommendations:
    """The numbers that were decided last, and a way to wait for other ones."""

    def __init__(
        self, statuses: Statuses, clock: Callable[[], WallTime], *, stale_after_s: float
    ) -> None:
        self.stale_after_s = stale_after_s
        self._statuses = statuses
        self._clock = clock
        self._decided: dict[Pool, Decided] = {}
        self._changed = asyncio.Event()

    def set(self, decided: dict[Pool, Decided]) -> None:
        """All that was decided here, after a tick."""
        before = {pool: one.desired for pool, one in self._decided.items()}
        self._decided = decided
        if before != {pool: one.desired for pool, one in decided.items()}:
            self.changed()

    def changed(self) -> None:
        """Something is different: whoever waits is to look again."""
        self._changed.set()
        self._changed = asyncio.Event()

    def get(self, pool: Pool) -> Recommended | None:
        """What a pool is to have; None if nothing was decided. It may be stale."""
        own = self._decided.get(pool)
        if own is not None:
            return Recommended(own.desired, max(0.0, self._clock() - own.at), here=True)
        told = self._statuses.desired(*pool[:2]).get(pool.pool)
        return None if told is None else Recommended(told, self._statuses.age_s(), here=False)

    def pools_of(self, namespace: str, fleet: str) -> list[Pool]:
        """The pools of a fleet that something was decided for."""
        own = [pool for pool in self._decided if pool[:2] == (namespace, fleet)]
        told = self._statuses.desired(namespace, fleet)
        return own or [Pool(namespace, fleet, pool) for pool in told]

    async def change(self) -> None:
        """Until something is decided differently."""
        await self._changed.wait()
