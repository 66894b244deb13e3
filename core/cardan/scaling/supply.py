"""What of the replicas that were asked for can be counted on.

A replica that starts is supply from the moment it is asked for: what it will serve is not asked
for again. It stops being supply when it is late (`pending_deadline_s`) or when the scheduler finds
no node for it. A late one is made up for by a spare elsewhere, so that one stuck pod takes nothing
from the fleet; there are never more spares than a quarter of what is ready, since what keeps more
of a pool from starting is not one node's trouble, and more of the same would not start either. One
without a node is not made up for in its own pool, where the next would find none either: the
shortage is told, and other pools of the role are asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason

if TYPE_CHECKING:
    from cardan.instants import WallTime
    from cardan.scaling.observation import PendingReplica, PoolState

# Spares for late replicas, as a part of those that are ready (one at least).
SPARE_SHARE: Final = 0.25
# A cluster autoscaler brings a GPU node in three to five minutes (what the large clouds document);
# a replica without a node for longer than this will not get one soon.
SHORTAGE_S: Final = 300.0


class Supply(msgspec.Struct, frozen=True, kw_only=True):
    """The replicas of one pool by what may be expected of them.

    `current` is what is asked for. `ready` serve, `starting` will, `overdue` should have long ago,
    `unplaced` have no node (`words`: the scheduler's; `unplaced_s`: for how long, the longest of
    them). The rest of `current` has not been created yet.
    """

    current: int
    ready: int
    starting: int = 0
    overdue: int = 0
    unplaced: int = 0
    unplaced_s: float = 0.0
    words: str = ""

    @property
    def placeable(self) -> int:
        """How many replicas are known to have room."""
        return max(0, self.current - self.unplaced)

    @property
    def short(self) -> bool:
        """Is it settled that there is no room for more?"""
        return self.unplaced > 0 and self.unplaced_s >= SHORTAGE_S

    @property
    def spares(self) -> int:
        """How many more make up for those that are late."""
        return min(self.overdue, max(1, int(self.ready * SPARE_SHARE)))


def supply_of(pool: PoolState, deadline_s: float, now: WallTime) -> Supply:
    """Count the replicas of a pool."""
    unplaced = [one for one in pool.pending if one.unschedulable]
    placed = [one for one in pool.pending if not one.unschedulable]
    overdue = sum(now - one.since >= deadline_s for one in placed)
    return Supply(
        current=pool.desired,
        ready=pool.ready,
        starting=len(placed) - overdue,
        overdue=overdue,
        unplaced=len(unplaced),
        unplaced_s=max((now - one.since for one in unplaced), default=0.0),
        words=_words(unplaced),
    )


def told(supply: Supply, deadline_s: float) -> tuple[ScalingReason, ...]:
    """What a person should know of this pool's supply."""
    reasons: list[ScalingReason] = []
    if supply.overdue:
        words = (
            f"{supply.overdue} replicas not ready after {deadline_s:g} s no longer count: "
            f"{supply.spares} spare"
        )
        reasons.append(ScalingReason(ReasonCode.PENDING_OVERDUE, words))
    if supply.unplaced:
        words = f"no node for {supply.unplaced} replicas: {supply.words}"
        reasons.append(ScalingReason(ReasonCode.CAPACITY_SHORTAGE, words))
    return tuple(reasons)


def covered(supply: Supply, desired: int) -> ScalingReason | None:
    """Why nothing more is asked for although fewer than `desired` serve."""
    if supply.ready < desired <= supply.current and supply.starting:
        words = f"{supply.ready} ready and {supply.starting} on their way cover {desired}"
        return ScalingReason(ReasonCode.PENDING_COVERS, words)
    return None


def _words(unplaced: list[PendingReplica]) -> str:
    """The scheduler's words for the first of them by name, so that they do not alternate."""
    return min(unplaced, key=lambda one: one.name).unschedulable if unplaced else ""
