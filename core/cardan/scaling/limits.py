"""How far and how fast a pool may go from where it is: HorizontalPodAutoscaler v2, to the letter.

The order is that of its controller: what is recommended stays what there is while within tolerance;
then it is stabilised (growing: the least, shrinking: the most that was recommended in the window
of that direction); then limited to what the rates allow from where the pool stood when each period
began; then bounded. A pool out of its bounds is put at the bound at once, whatever the rates.

https://kubernetes.io/docs/concepts/workloads/autoscaling/horizontal-pod-autoscale/ has the
semantics, KEP-853 the reasons. Two differences. A recommendation counts until it was superseded,
not until it was last repeated, so that nothing is written while nothing changes (one tick longer).
And changes are taken from what the scale was seen to be, not from what was asked of it: whatever
another hand has done, and whatever was not carried out, counts as what it is.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.memory import Asked, PoolMemory, ScaleEvent, Superseded
from cardan.scaling.spec import Select

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.scaling.spec import Behavior, Direction

# What sums of floats may be off by: 3.0000000001 replicas are 3.
EPSILON: Final = 1e-6
# Superseded recommendations kept for each direction. Beyond it neighbours are merged to the side
# that changes less when shrinking, and sooner when growing; 12 keep a pool's memory small.
MAX_SUPERSEDED: Final = 12
# Scale events kept: more within one period than this are added up into the oldest.
MAX_EVENTS: Final = 16
# A change is seen at the next tick (15 s), with its jitter; without this, a rate whose period is a
# tick would take two.
LAG_S: Final = 20.0

# What is on its way is taken back when so much more than what was wanted, for so long: twice the
# window of rates, and more than noise and the veto's margin are apart.
RECALL_MARGIN: Final = 1.25
RECALL_S: Final = 30.0


class Step(NamedTuple):
    """So many replicas, and what the last step has done to them (None: nothing)."""

    n: int
    reason: ScalingReason | None = None


def whole(need: float) -> int:
    """Replicas that cover `need`."""
    return max(0, math.ceil(need - EPSILON))


def tolerated(need: float, current: float, behavior: Behavior) -> bool:
    """Is `need` so near to `current` that neither direction is worth it?

    From nothing everything is worth it.
    """
    if current <= 0:
        return False
    ratio = need / current
    return 1.0 - behavior.down.tolerance <= ratio <= 1.0 + behavior.up.tolerance


def observed(memory: PoolMemory, current: int, behavior: Behavior, now: WallTime) -> PoolMemory:
    """The memory of a pool that was now seen to ask for `current`: a difference is an event."""
    kept = _recent_events(memory.events, behavior, now)
    before = memory.current
    if before is not None and before != current:
        kept = _capped((*kept, ScaleEvent(_since(memory.asked, current, now), current - before)))
    return msgspec.structs.replace(memory, current=current, events=kept)


def asked(memory: PoolMemory, n: int, now: WallTime) -> PoolMemory:
    """The memory of a pool of which `n` replicas are asked for now."""
    if n == memory.current:
        return msgspec.structs.replace(memory, asked=None)
    if memory.asked is not None and memory.asked.n == n:
        return memory
    return msgspec.structs.replace(memory, asked=Asked(now, n))


def recommended(memory: PoolMemory, n: int, behavior: Behavior, now: WallTime) -> PoolMemory:
    """The memory of a pool for which `n` is recommended now."""
    return msgspec.structs.replace(
        memory,
        recommended=n,
        highs=_superseded(memory.highs, memory.recommended, n, behavior.down, now, highest=True),
        lows=_superseded(memory.lows, memory.recommended, n, behavior.up, now, highest=False),
    )


def stabilized(n: int, current: int, memory: PoolMemory) -> Step:
    """`n`, or what is nearer to `current` of what was recommended in the windows.

    `memory` has `n` itself already (`recommended`).
    """
    least = min((n, *(one.n for one in memory.lows)))
    most = max((n, *(one.n for one in memory.highs)))
    stable = min(max(current, least), most)
    if stable == n:
        return Step(n)
    if n > current:
        words = f"{n} replicas were not wanted all through the window: {stable} were"
        return Step(stable, ScalingReason(ReasonCode.UP_STABILIZED, words))
    words = f"{stable} replicas were wanted within the window, {n} are now"
    return Step(stable, ScalingReason(ReasonCode.DOWN_STABILIZED, words))


def recalled(
    stable: Step, n: int, current: int, ready: int, memory: PoolMemory, now: WallTime
) -> Step:
    """A window that shrinks later, or now by what has not begun to serve and is far too much.

    The window protects warm caches and what serves. A replica that is still on its way is neither:
    it is taken back when for `RECALL_S` even `RECALL_MARGIN` times the most that was wanted was
    less than what is asked for. A spike shorter than a cold start then costs a part of one.
    """
    recent = (one.n for one in memory.highs if now - one.until < RECALL_S)
    enough = max(ready, math.ceil(max((n, *recent)) * RECALL_MARGIN))
    if not n <= enough < min(stable.n, current):
        return stable
    words = f"{stable.n - enough} on their way are not wanted any more: {n} replicas are enough"
    return Step(enough, ScalingReason(ReasonCode.PENDING_RECALLED, words))


def rate_limited(
    n: int, current: int, memory: PoolMemory, behavior: Behavior, now: WallTime
) -> Step:
    """`n`, or as near to it as the rates allow."""
    if n > current:
        limit = max(current, _limit(behavior.up, current, memory.events, now, up=True))
        if n > limit:
            words = f"{n} replicas are wanted, and the rates allow {limit} now"
            return Step(limit, ScalingReason(ReasonCode.UP_LIMITED, words))
    elif n < current:
        limit = min(current, _limit(behavior.down, current, memory.events, now, up=False))
        if n < limit:
            words = f"{n} replicas are enough, and the rates allow {limit} now"
            return Step(limit, ScalingReason(ReasonCode.DOWN_LIMITED, words))
    return Step(n)


def bounded(n: int, low: int, high: int) -> Step:
    """`n` within the bounds; where they contradict each other the upper one holds."""
    if n > high:
        return Step(high, ScalingReason(ReasonCode.TOO_MANY, f"{n} replicas: the most is {high}"))
    if n < low <= high:
        return Step(low, ScalingReason(ReasonCode.TOO_FEW, f"{n} replicas: the least is {low}"))
    return Step(n)


# Histories


def _superseded(
    past: tuple[Superseded, ...],
    before: int | None,
    n: int,
    direction: Direction,
    now: WallTime,
    *,
    highest: bool,
) -> tuple[Superseded, ...]:
    """Of what was recommended in the window, what still decides its highest (or lowest).

    That is only what was higher (lower) than everything after it: a chain whose length is bounded
    by the range of values.
    """
    if before is not None and before != n:
        past = (*past, Superseded(now, before))
    kept: list[Superseded] = []
    extreme = n
    for one in reversed(past):
        beyond = one.n > extreme if highest else one.n < extreme
        if beyond and now - one.until < direction.stabilization_s:
            kept.append(one)
            extreme = one.n
    kept.reverse()
    return tuple(_merged(kept, highest=highest))


def _merged(chain: list[Superseded], *, highest: bool) -> list[Superseded]:
    """At most `MAX_SUPERSEDED` of them: the two oldest become one.

    When shrinking the higher one lasts longer, when growing the lower one is forgotten earlier.
    """
    while len(chain) > MAX_SUPERSEDED:
        first, second = chain[:2]
        chain[:2] = [Superseded(second.until, first.n)] if highest else [second]
    return chain


def _recent_events(
    events: tuple[ScaleEvent, ...], behavior: Behavior, now: WallTime
) -> tuple[ScaleEvent, ...]:
    """Events that some period still looks at."""
    periods = [limit.period_s for limit in (*behavior.up.limits, *behavior.down.limits)]
    longest = max(periods, default=0.0)
    return tuple(event for event in events if now - event.at < longest)


def _since(asked: Asked | None, current: int, now: WallTime) -> WallTime:
    """When a scale changed that is seen to have changed: when it was asked to, if that was now."""
    if asked is None or asked.n != current:
        return now
    return max(asked.at, WallTime(now - LAG_S))


def _capped(events: tuple[ScaleEvent, ...]) -> tuple[ScaleEvent, ...]:
    """The last `MAX_EVENTS`, the ones before them added up."""
    if len(events) <= MAX_EVENTS:
        return events
    surplus = events[: len(events) - MAX_EVENTS + 1]
    summed = ScaleEvent(surplus[-1].at, sum(event.change for event in surplus))
    return (summed, *events[len(surplus) :])


# Rates


def _limit(
    direction: Direction, current: int, events: Iterable[ScaleEvent], now: WallTime, *, up: bool
) -> int:
    """The farthest count that the rates of one direction allow."""
    if direction.select is Select.DISABLED:
        return current
    proposals = _proposals(direction, current, tuple(events), now, up=up)
    if not proposals:  # no rates: any distance
        return current + 1_000_000 if up else 0
    widest = direction.select is Select.MAX
    choose: Callable[[list[int]], int] = max if widest == up else min
    # A share of nothing is nothing for ever: from zero one replica is always allowed.
    return max(choose(proposals), 1) if up and current == 0 else choose(proposals)


def _proposals(
    direction: Direction, current: int, events: tuple[ScaleEvent, ...], now: WallTime, *, up: bool
) -> list[int]:
    """What each rate allows, from where the pool stood when its period began."""
    sign = 1 if up else -1
    proposals: list[int] = []
    for limit in direction.limits:
        start = current - sum(event.change for event in events if now - event.at < limit.period_s)
        if limit.replicas is not None:
            proposals.append(start + sign * limit.replicas)
        if limit.percent is not None:
            # Up is rounded up, or one replica would never become two; down is rounded down for
            # the same reason.
            share = start * (100 + sign * limit.percent) / 100
            proposals.append(math.ceil(share - EPSILON) if up else math.floor(share + EPSILON))
    return proposals
