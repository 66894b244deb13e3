"""A pool shrinks only if that would not be undone.

Without the replicas that are to go the rest carries more each (N/(N-1) for one), and finds less in
its caches: the hits of those that go are gone. So the policies are asked once more, about a fleet
with a fifth more demand than there is and that share of its hits lost; what they need then must
still be ready. The fifth is the band between growing and shrinking: where a smaller fleet would be
asked to grow again by noise, it does not become smaller.

Only ready replicas count. A pool that is replaced by another goes when the other serves.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cardan.scaling.forecast import Foreseen
    from cardan.scaling.planning import Plan

# Of measured demand: what a smaller fleet must be able to carry (algorithms of the field: 1.2).
MARGIN: Final = 1.2
EPSILON: Final = 1e-6


def vetoed(plans: Sequence[Plan], ask: Callable[[float], float]) -> tuple[Plan, ...]:
    """The pools of one role, with replicas kept that would be wanted again.

    `ask` answers what the role would need with `MARGIN` more demand and a share of its hits lost.
    Fewer that go take fewer hits along: as many go as may, not all or none.
    """
    ready, left = _ready(plans), _left(plans)
    if left >= ready - EPSILON:
        return tuple(plans)
    needed = ask((ready - left) / ready)
    if left >= needed - EPSILON:
        return tuple(plans)
    words = f"{needed:.2f} replicas would be needed with a fifth more demand and colder caches"
    reason = ScalingReason(ReasonCode.CONSOLIDATION_VETO, words)
    return _kept(plans, _least(left, ready, ask), reason)


def _least(left: float, ready: float, ask: Callable[[float], float]) -> float:
    """The least that must stay, between `left`, which is too little, and `ready`."""
    low, high = 0, math.ceil(ready - left)  # kept beyond `left`
    while high - low > 1:
        middle = (low + high) // 2
        kept = left + middle
        enough = kept >= ask((ready - kept) / ready) - EPSILON
        low, high = (low, middle) if enough else (middle, high)
    return min(left + high, ready)


def tried(foreseen: Foreseen) -> Foreseen:
    """The demand that a smaller fleet must be able to carry."""
    factor = max(MARGIN / foreseen.growth, 1.0)
    return msgspec.structs.replace(
        foreseen,
        growth=foreseen.growth * factor,
        requests_per_s=_times(foreseen.requests_per_s, factor),
        uncached_tokens_per_s=_times(foreseen.uncached_tokens_per_s, factor),
        output_tokens_per_s=_times(foreseen.output_tokens_per_s, factor),
    )


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _ready(plans: Iterable[Plan]) -> float:
    """What serves now, in units of speed 1."""
    return sum(plan.speed * min(plan.supply.ready, plan.current) for plan in plans)


def _left(plans: Iterable[Plan]) -> float:
    """What would still serve: those that do not serve yet go first."""
    return sum(plan.speed * min(plan.supply.ready, plan.current, plan.n) for plan in plans)


def _kept(plans: Sequence[Plan], needed: float, reason: ScalingReason) -> tuple[Plan, ...]:
    """Enough of the replicas that were to go, the cheapest first."""
    kept = list(plans)
    order = sorted(range(len(kept)), key=lambda at: kept[at].pool.cost / kept[at].speed)
    for at in order:
        plan = kept[at]
        most = min(plan.current, plan.supply.ready, plan.pool.max_replicas)
        n = plan.n
        while n < most and _left(kept) < needed - EPSILON:
            n += 1
            kept[at] = msgspec.structs.replace(plan, n=n)
        if n != plan.n:
            kept[at] = plan.to(n, reason)
    return tuple(kept)
