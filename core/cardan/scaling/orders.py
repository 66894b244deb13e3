"""From a decision to what is to be so: scales, what gateways are told, pods to mark and to end.

`decide` says how many replicas each pool is to have; that passes through budgets over all fleets;
then `orders` says how to get there: replicas leave by draining, hot prefixes move, engines that are
wrong are taken out. The answer is level-triggered: what is to be so now, not what is to be done, so
a shell compares it with what is and writes the difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.overlay import Dormant, ModelOverlay
from cardan.scaling import drain, failing, hotspots
from cardan.scaling.decision import ScalingReason
from cardan.scaling.drain import Target
from cardan.scaling.overlaid import overlay_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan.instants import WallTime
    from cardan.scaling.decision import ScalingDecision
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Observation
    from cardan.scaling.spec import ScalingSpec


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a scale target is like.

    `allowed_disruptions` is what its PodDisruptionBudgets allow now (None: it has none), `budgets`
    their names, `by_ordinal` whether it removes the highest ordinal (StatefulSet, LeaderWorkerSet),
    `rollout` how far a rollout of it has come (empty: there is none), `costs` the deletion costs
    that somebody else has given its pods.
    """

    allowed_disruptions: int | None = None
    budgets: tuple[str, ...] = ()
    by_ordinal: bool = False
    rollout: str = ""
    costs: dict[str, int] = msgspec.field(default_factory=dict)


class Orders(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be so. Of a pool that is not in `scale` nothing is to be changed.

    `costs` are the deletion costs of pods that leave, `restart` the pods to delete now.
    """

    scale: dict[str, int] = msgspec.field(default_factory=dict)
    overlay: ModelOverlay = ModelOverlay()
    costs: dict[str, int] = msgspec.field(default_factory=dict)
    restart: tuple[str, ...] = ()
    notes: tuple[ScalingReason, ...] = ()


def orders(
    spec: ScalingSpec,
    decision: ScalingDecision,
    observation: Observation,
    memory: Memory,
    limits: Mapping[str, Limits],
    now: WallTime,
) -> tuple[Orders, Memory]:
    """How a decision is carried out, and what is to be remembered of it.

    Pools whose decision is not valid are left alone: drains that have begun there go no further.
    """
    targets = {
        pool.pool: _target(pool.desired, limits.get(pool.pool))
        for pool in decision.pools
        if pool.valid
    }
    plan, drains, drained = drain.step(
        spec.drain,
        targets,
        observation,
        memory.drains,
        now,
        cordoned=memory.failing.cordoned(),
    )
    roles = {pool.name: pool.role for pool in spec.pools}
    wrong, failures, failed = failing.step(
        spec.failures, observation, memory.failing, now, roles=roles
    )
    moves, spots, moved = hotspots.decide(
        spec.hot_spots,
        observation,
        memory.hot_spots,
        now,
        avoid=(*plan.draining, *wrong.cordoned),
        roles=roles,
    )
    overlay = overlay_of(
        moves,
        draining=plan.draining,
        cordoned=wrong.cordoned,
        dormant=_dormant(spec, decision, observation),
    )
    kept = msgspec.structs.replace(memory, drains=drains, failing=failures, hot_spots=spots)
    given = Orders(
        scale=plan.scale,
        overlay=overlay,
        costs=plan.costs,
        restart=wrong.restart,
        notes=(*drained, *failed, *moved),
    )
    return given, kept


def _target(wanted: int, limits: Limits | None) -> Target:
    known = limits or Limits()
    return Target(
        wanted=wanted,
        allowed_disruptions=known.allowed_disruptions,
        budgets=known.budgets,
        by_ordinal=known.by_ordinal,
        rollout=known.rollout,
        costs=known.costs,
    )


def _dormant(
    spec: ScalingSpec, decision: ScalingDecision, observation: Observation
) -> Dormant | None:
    """Requests wait for a fleet that sleeps, and for one that is only waking up.

    Until a replica is ready nobody serves the model; gateways that stopped expecting it when its
    scale rose from zero would refuse the very request that has woken it.
    """
    if spec.zero.idle_s is None or not decision.pools:
        return None
    serves = any(state.ready for state in observation.pools.values())
    if serves and any(pool.desired for pool in decision.pools):
        return None
    return Dormant(
        hold_requests=spec.zero.hold_requests,
        hold_bytes=spec.zero.hold_bytes,
        hold_s=spec.zero.hold_s,
    )
