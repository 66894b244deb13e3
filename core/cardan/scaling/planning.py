"""From what a role needs to how many replicas each of its pools is to have.

A `Plan` is one pool on its way there: what is asked for now, what is to be, and the reasons in the
order of the steps. The steps: size the pools (`sized`), then hold each within its limits
(`limited`).

Where the scheduler finds no node for a pool's replicas, the other pools of its role are asked for
what is missing. The pool's own ask stands as far as the role would like it to: taken back, it would
be made again as soon as nothing says any more that there is no room. It grows only where no other
pool can help, and not at all once the shortage is settled.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.scaling import limits, mix, service, supply
from cardan.scaling.decision import PoolDecision, ReasonCode, ScalingReason
from cardan.scaling.memory import PoolMemory
from cardan.scaling.mix import Offer
from cardan.scaling.needs import LEAST
from cardan.scaling.observation import PoolState
from cardan.scaling.spec import PoolSpec
from cardan.scaling.supply import Supply

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.needs import Need
    from cardan.scaling.observation import Observation
    from cardan.scaling.service import Learned
    from cardan.scaling.spec import Behavior, ScalingSpec


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One pool: `n` replicas are planned, of relative `speed`. `acts`: something can be done."""

    pool: PoolSpec
    supply: Supply
    speed: float
    n: int
    memory: PoolMemory
    acts: bool = True
    reasons: tuple[ScalingReason, ...] = ()

    @property
    def current(self) -> int:
        """What is asked for now."""
        return self.supply.current

    def to(self, n: int, *reasons: ScalingReason | None) -> Plan:
        """With another count, and why."""
        given = tuple(reason for reason in reasons if reason is not None)
        return msgspec.structs.replace(self, n=n, reasons=self.reasons + given)

    def remembered(self, now: WallTime) -> PoolMemory:
        """What is to be remembered of it."""
        return limits.asked(self.memory, self.n, now) if self.acts else self.memory

    def decision(self) -> PoolDecision:
        """What is to be done."""
        covers = supply.covered(self.supply, self.n)
        reasons = self.reasons if covers is None else (*self.reasons, covers)
        return PoolDecision(
            pool=self.pool.name,
            current=self.current,
            desired=self.n,
            valid=self.acts,
            reasons=reasons,
        )


def begun(
    spec: ScalingSpec,
    observation: Observation,
    memories: Mapping[str, PoolMemory],
    learned: Learned,
    now: WallTime,
) -> tuple[Plan, ...]:
    """The plans before anything is planned: as many as there are."""
    return tuple(
        _begun(pool, spec, observation.pools.get(pool.name), memories, learned, now)
        for pool in spec.pools
    )


def of_role(plans: Iterable[Plan], role: Role) -> tuple[Plan, ...]:
    """The plans of one role's pools."""
    return tuple(plan for plan in plans if plan.pool.role is role)


def most(plans: Iterable[Plan]) -> float:
    """What pools can carry at most, in units of speed 1."""
    return sum(plan.speed * _high(plan) for plan in plans)


def sized(plans: Sequence[Plan], need: Need, behavior: Behavior) -> tuple[Plan, ...]:
    """The pools of one role, sized for what it needs."""
    total = max(need.replicas, LEAST) + sum(plan.speed * plan.supply.spares for plan in plans)
    there = sum(plan.speed * plan.supply.placeable for plan in plans)
    settled = limits.tolerated(total, there, behavior)
    offers = tuple(_offer(plan, hold=need.hold) for plan in plans)
    ideal = mix.mixed(offers, total, settled=settled)
    counts = _around_shortage(plans, offers, ideal, total)
    remark = _tolerated(plans, total, ideal) if settled else _cramped(offers, ideal, total)
    return tuple(
        plan.to(n, *_why(plan, n, need, remark, mixed=len(plans) > 1))
        for plan, n in zip(plans, counts, strict=True)
    )


def woken(plans: Sequence[Plan], reason: ScalingReason | None) -> tuple[Plan, ...]:
    """The pools of one role of an empty fleet, with one replica between them."""
    counts = mix.cheapest(tuple(_offer(plan, hold=False) for plan in plans), LEAST)
    return tuple(
        msgspec.structs.replace(plan.to(n, reason), memory=_forgotten(plan.memory))
        for plan, n in zip(plans, counts, strict=True)
    )


def asleep(plans: Sequence[Plan], reason: ScalingReason | None) -> tuple[Plan, ...]:
    """No replicas at all."""
    return tuple(
        msgspec.structs.replace(
            plan.to(0 if plan.acts else plan.n, reason), memory=_forgotten(plan.memory)
        )
        for plan in plans
    )


def limited(plan: Plan, behavior: Behavior, now: WallTime) -> Plan:
    """Within the windows, the rates and the bounds."""
    if not plan.acts:
        return plan
    memory = limits.recommended(plan.memory, plan.n, behavior, now)
    stable = limits.stabilized(plan.n, plan.current, memory)
    stable = limits.recalled(stable, plan.n, plan.current, plan.supply.ready, memory, now)
    paced = limits.rate_limited(stable.n, plan.current, memory, behavior, now)
    final = limits.bounded(paced.n, plan.pool.min_replicas, plan.pool.max_replicas)
    reasons = (stable.reason, paced.reason, final.reason)
    return msgspec.structs.replace(plan.to(final.n, *reasons), memory=memory)


def _begun(
    pool: PoolSpec,
    spec: ScalingSpec,
    state: PoolState | None,
    memories: Mapping[str, PoolMemory],
    learned: Learned,
    now: WallTime,
) -> Plan:
    """One pool as it is."""
    memory = memories.get(pool.name, PoolMemory())
    if state is None:
        state = PoolState(desired=memory.current or 0, ready=0, error="it was not observed")
    counted = supply.supply_of(state, spec.pending_deadline_s, now)
    if not state.error:
        memory = limits.observed(memory, state.desired, spec.behavior, now)
    return Plan(
        pool=pool,
        supply=counted,
        speed=service.speed(learned, spec, pool),
        n=state.desired,
        memory=memory,
        acts=not state.error,
        reasons=(*_given(state), *supply.told(counted, spec.pending_deadline_s)),
    )


def _given(state: PoolState) -> list[ScalingReason]:
    """What somebody else has done to the pool."""
    reasons = []
    if state.error:
        reasons.append(ScalingReason(ReasonCode.TARGET_ERROR, state.error))
    if state.manual:
        words = f"{state.manual} has set {state.desired} replicas"
        reasons.append(ScalingReason(ReasonCode.MANUAL, words))
    return reasons


def _high(plan: Plan) -> int:
    """The most replicas that a pool may have."""
    return plan.pool.max_replicas if plan.acts else plan.current


def _offer(plan: Plan, *, hold: bool) -> Offer:
    """What a pool can give: what it has where nothing can be done, no less where it must not."""
    high = _high(plan)
    low = min(plan.pool.min_replicas, high) if plan.acts else plan.current
    if hold:
        low = max(low, min(plan.current, high))
    return Offer(
        cost=plan.pool.cost, speed=plan.speed, low=low, high=high, current=plan.supply.placeable
    )


def _around_shortage(
    plans: Sequence[Plan], offers: mix.Offers, ideal: tuple[int, ...], total: float
) -> tuple[int, ...]:
    """The ideal mix, or what comes nearest to it where there are no nodes."""
    blocked = [
        plan.supply.unplaced > 0 and n > plan.supply.placeable
        for plan, n in zip(plans, ideal, strict=True)
    ]
    if not any(blocked):
        return ideal
    held = tuple(
        msgspec.structs.replace(offer, high=max(offer.low, plan.supply.placeable))
        if stuck
        else offer
        for plan, offer, stuck in zip(plans, offers, blocked, strict=True)
    )
    second = mix.cheapest(held, total)
    covered = mix.speed(held, second) >= total - mix.EPSILON
    return tuple(
        _standing(plan, n, covered=covered) if stuck else other
        for plan, n, other, stuck in zip(plans, ideal, second, blocked, strict=True)
    )


def _standing(plan: Plan, ideal: int, *, covered: bool) -> int:
    """What a pool without nodes still asks for."""
    if covered or plan.supply.short:
        return min(ideal, max(plan.current, min(plan.pool.min_replicas, ideal)))
    return ideal


def _tolerated(plans: Sequence[Plan], total: float, kept: tuple[int, ...]) -> ScalingReason | None:
    """That the need is near enough to what there is, where it would be another count."""
    if len(plans) > 1 or limits.whole(total / plans[0].speed) == kept[0]:
        return None
    words = f"{total:.2f} replicas are needed: within tolerance of {kept[0]}"
    return ScalingReason(ReasonCode.WITHIN_TOLERANCE, words)


def _cramped(offers: mix.Offers, ideal: tuple[int, ...], total: float) -> ScalingReason | None:
    """That the bounds of the pools have decided."""
    carried = mix.speed(offers, ideal)
    n = sum(ideal)
    if carried < total - mix.EPSILON:
        words = f"{total:.2f} replicas are needed: the most is {n}"
        return ScalingReason(ReasonCode.TOO_MANY, words)
    if ideal == tuple(offer.low for offer in offers) and n > limits.whole(total):
        words = f"{total:.2f} replicas are needed: the least is {n}"
        return ScalingReason(ReasonCode.TOO_FEW, words)
    return None


def _why(
    plan: Plan, n: int, need: Need, remark: ScalingReason | None, *, mixed: bool
) -> list[ScalingReason]:
    """What made the pool this large."""
    reasons = list(need.reasons)
    if mixed:
        words = f"{n} replicas at {plan.pool.cost:g} each, of speed {plan.speed:.3g}"
        reasons.append(ScalingReason(ReasonCode.MIX, words))
    if remark is not None:
        reasons.append(remark)
    return reasons


def _forgotten(memory: PoolMemory) -> PoolMemory:
    """Without what was recommended: sleep and waking are not held back by it, nor hold back."""
    return msgspec.structs.replace(memory, recommended=None, highs=(), lows=())
