"""What all fleets together may use: GPUs, or power, shared by priority.

Every pool first gets its minimum, higher priorities first, as far as it goes. Then, priority by
priority, what there is of it is kept, and then what it asked for beyond that is granted. Pools of
equal priority take turns, one replica each, so that what is short is short for all of them alike;
and none of them takes a running replica from another, since that would only move the shortage and
cost a cold start. A higher priority does take them from a lower one, down to its minimum.

That is what each is to have. What it may have at once is less while somebody still has more than
that: a replica that drains uses its GPU until its pool's scale has fallen, which may take an hour,
so all of a shrinking pool's replicas count until then, and others grow into what they leave.

A pure function over all decisions of one tick: the operator gathers them, asks, and carries out
what is left.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.scaling.decision import PoolDecision, ReasonCode, ScalingDecision, ScalingReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cardan.scaling.spec import PoolSpec, ScalingSpec

# What sums of floats may be off by.
EPSILON = 1e-6


class Budget(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The most that may be used at once; None is no cap. `name` is what reasons call it."""

    name: str = "budget"
    gpus: Annotated[float, msgspec.Meta(ge=0)] | None = None
    power_w: Annotated[float, msgspec.Meta(ge=0)] | None = None


class Cut(msgspec.Struct, frozen=True, kw_only=True):
    """A pool that is given less than it was to have: `granted` now, `due` when others have gone."""

    fleet: str
    pool: str
    wanted: int
    granted: int
    due: int


class Claim:
    """One pool's part in the sharing: what it asks, and what it has been granted so far.

    `due` is what it is to have when everybody who is to shrink has.
    """

    __slots__ = ("decision", "due", "fleet", "granted", "priority", "spec")

    def __init__(self, fleet: str, priority: int, spec: PoolSpec, decision: PoolDecision) -> None:
        self.fleet = fleet
        self.priority = priority
        self.spec = spec
        self.decision = decision
        self.granted = 0
        self.due = 0

    @property
    def wanted(self) -> int:
        """What it is to have: one that is not to be acted on keeps what it has."""
        return self.decision.desired if self.decision.valid else self.decision.current

    @property
    def least(self) -> int:
        """What it gets before anybody gets more. What cannot be acted on cannot be cut either."""
        return min(self.spec.min_replicas, self.wanted) if self.decision.valid else self.wanted


class _Purse:
    """What is left of the budget."""

    def __init__(self, budget: Budget) -> None:
        self._gpus = float("inf") if budget.gpus is None else budget.gpus
        self._power_w = float("inf") if budget.power_w is None else budget.power_w

    def grant(self, claim: Claim) -> bool:
        """One more replica for it, if it can be afforded."""
        gpus, power_w = claim.spec.gpus, claim.spec.power_w
        if _exceeds(gpus, self._gpus) or _exceeds(power_w, self._power_w):
            return False
        self.take(claim)
        return True

    def take(self, claim: Claim) -> None:
        """One more replica for it, affordable or not."""
        self._gpus -= claim.spec.gpus
        self._power_w -= claim.spec.power_w
        claim.granted += 1


def _exceeds(cost: float, left: float) -> bool:
    """What costs nothing is affordable whatever others owe."""
    return cost > 0 and cost > left + EPSILON


def share(
    fleets: Mapping[str, tuple[ScalingSpec, ScalingDecision]], budget: Budget
) -> tuple[dict[str, ScalingDecision], tuple[Cut, ...]]:
    """The decisions that the budget allows, and who was cut."""
    claims = _claims(fleets)
    levels = [
        [claim for claim in claims if claim.priority == priority]
        for priority in sorted({claim.priority for claim in claims}, reverse=True)
    ]
    _in_the_end(claims, levels, _Purse(budget))
    _at_once(claims, levels, _Purse(budget))
    cuts = tuple(
        Cut(fleet=c.fleet, pool=c.spec.name, wanted=c.wanted, granted=c.granted, due=c.due)
        for c in claims
        if c.granted < c.wanted
    )
    return {name: _granted(name, fleets[name][1], cuts, budget) for name in fleets}, cuts


def _in_the_end(claims: Sequence[Claim], levels: Sequence[Sequence[Claim]], purse: _Purse) -> None:
    """What each is to have (`due`), whoever may have to leave for it."""
    for claim in claims:  # what nobody can act on is in use, affordable or not
        while not claim.decision.valid and claim.granted < claim.wanted:
            purse.take(claim)
    for level in levels:
        _fill(level, purse, lambda claim: claim.least)
    for level in levels:
        _fill(level, purse, lambda claim: min(claim.decision.current, claim.wanted))
        _fill(level, purse, lambda claim: claim.wanted)
    for claim in claims:
        claim.due = claim.granted


def _at_once(claims: Sequence[Claim], levels: Sequence[Sequence[Claim]], purse: _Purse) -> None:
    """Of that, what there is room for now: all that anybody has still is in use."""
    for claim in claims:
        claim.granted = 0
        while claim.granted < claim.decision.current:
            purse.take(claim)
    for level in levels:
        _fill(level, purse, lambda claim: min(claim.least, claim.due))
    for level in levels:
        _fill(level, purse, lambda claim: claim.due)
    for claim in claims:
        claim.granted = min(claim.granted, claim.due)


def _claims(fleets: Mapping[str, tuple[ScalingSpec, ScalingDecision]]) -> list[Claim]:
    """Every pool of every fleet, in an order that does not depend on that of the mapping."""
    claims: list[Claim] = []
    for name in sorted(fleets):
        spec, decision = fleets[name]
        pools = {pool.name: pool for pool in spec.pools}
        claims += [
            Claim(name, spec.priority, pools[one.pool], one)
            for one in sorted(decision.pools, key=lambda one: one.pool)
        ]
    return claims


def _fill(level: Iterable[Claim], purse: _Purse, goal: Callable[[Claim], int]) -> None:
    """In turns, one replica each, until all have reached their goal or nothing is affordable."""
    waiting = [claim for claim in level if claim.granted < goal(claim)]
    while waiting:
        waiting = [claim for claim in waiting if purse.grant(claim) and claim.granted < goal(claim)]


def _granted(
    fleet: str, decision: ScalingDecision, cuts: tuple[Cut, ...], budget: Budget
) -> ScalingDecision:
    """The decision of one fleet after the cuts."""
    mine = {cut.pool: cut for cut in cuts if cut.fleet == fleet}
    if not mine:
        return decision
    pools = tuple(
        _cut(pool, mine[pool.pool], budget) if pool.pool in mine else pool
        for pool in decision.pools
    )
    return msgspec.structs.replace(decision, pools=pools)


def _cut(pool: PoolDecision, cut: Cut, budget: Budget) -> PoolDecision:
    """One pool's decision, with what is left of it and why."""
    words = f"{cut.wanted} replicas are wanted, {budget.name} leaves {cut.granted}"
    if cut.due > cut.granted:
        words += f", and {cut.due} when others have drained"
    reasons = (*pool.reasons, ScalingReason(ReasonCode.BUDGET, words))
    return msgspec.structs.replace(pool, desired=cut.granted, reasons=reasons)
