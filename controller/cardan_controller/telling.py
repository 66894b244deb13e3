"""What a tick found and did, as the fleet's status: pure.

A status is written when it says something new. Numbers inside sentences move all the time and are
no news: a status that differs from the one that is there only in its sentences (but for those that
name other fleets) is not written, so that a fleet at rest costs the API server nothing. What is
only learned is told every two minutes. Inputs that are fresh tell no time for the same reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason

from cardan_controller.conditions import NAMING, conditions, inputs, moment, refusal, word
from cardan_controller.crds.status import (
    DecisionStatus,
    FleetStatus,
    HotSpotStatus,
    MoveStatus,
    PoolStatus,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan.instants import WallTime
    from cardan.scaling.decision import PoolDecision
    from cardan.scaling.memory import Memory

    from cardan_controller.conditions import Tick

MAX_DECISIONS: Final = 10
# A fleet that is new learns something with every tick. Who takes over learns these minutes again.
LEARNED_S: Final = 120.0
_LEARNED: Final = ("learned", "forecast", "policies")


def told(before: FleetStatus, tick: Tick, now: WallTime) -> FleetStatus:
    """The status after a tick."""
    pools = tuple(_pool(tick, decided) for decided in tick.decision.pools)
    return FleetStatus(
        observed_generation=tick.generation,
        conditions=conditions(before, tick, pools, now),
        replicas=sum(pool.current for pool in pools),
        desired=sum(pool.desired for pool in pools),
        ready=sum(pool.ready for pool in pools),
        selector=tick.selector,
        pools=pools,
        hot_spots=_hot_spots(tick.memory),
        metrics=tuple(inputs(tick)),
        last_decisions=_decisions(before.last_decisions, tick, now),
        memory=msgspec.to_builtins(tick.memory.kept()),
    )


def refused(before: FleetStatus, generation: int, problem: str, now: WallTime) -> FleetStatus:
    """The status of a fleet whose specification cannot be decided by: nothing else changes."""
    return msgspec.structs.replace(
        before,
        observed_generation=generation,
        conditions=refusal(before, generation, problem, now),
    )


def is_news(before: FleetStatus, after: FleetStatus, quiet_s: float = LEARNED_S) -> bool:
    """Does the second say anything that the first does not, sentences aside?

    What was only learned, and can be learned again, waits until nothing was told for `LEARNED_S`.
    """
    one, other = _without_sentences(before), _without_sentences(after)
    return one != other and (quiet_s >= LEARNED_S or _without_learned(one, other) != other)


def _without_learned(before: FleetStatus, after: FleetStatus) -> FleetStatus:
    """The first, with what the second has learned."""
    learned = {part: after.memory[part] for part in _LEARNED if part in after.memory}
    kept = {part: value for part, value in before.memory.items() if part not in _LEARNED}
    return msgspec.structs.replace(before, memory={**kept, **learned})


def _without_sentences(status: FleetStatus) -> FleetStatus:
    replace = msgspec.structs.replace
    moves = status.hot_spots and replace(
        status.hot_spots, moves=tuple(replace(move, why="") for move in status.hot_spots.moves)
    )
    return replace(
        status,
        conditions=tuple(
            one if one.type in NAMING else replace(one, message="") for one in status.conditions
        ),
        pools=tuple(replace(one, message="") for one in status.pools),
        metrics=tuple(replace(one, message="") for one in status.metrics),
        last_decisions=tuple(replace(one, message="") for one in status.last_decisions),
        hot_spots=moves,
    )


def _pool(tick: Tick, decided: PoolDecision) -> PoolStatus:
    state = tick.observation.pools.get(decided.pool)
    spec = next(pool for pool in tick.spec.pools if pool.name == decided.pool)
    first = decided.reasons[0] if decided.reasons else None
    if state and state.error:
        first = ScalingReason(ReasonCode.TARGET_ERROR, state.error)  # whatever else is to be said
    return PoolStatus(
        name=decided.pool,
        role=spec.role,
        current=state.desired if state else decided.current,
        desired=decided.desired,
        ready=state.ready if state else 0,
        pending=len(state.pending) if state else 0,
        draining=len(state.draining) if state else 0,
        manual=state.manual if state else "",
        reason=word(tick, first.code) if first else "",
        message=first.message if first else "",
    )


def _hot_spots(memory: Memory) -> HotSpotStatus | None:
    known = memory.hot_spots
    if not known.moves and not known.hot_endpoints:
        return None
    moves = tuple(
        MoveStatus(
            kind=move.kind,
            at=moment(move.at),
            key=move.key,
            owners=move.owners,
            warming=move.warming,
            relieved=move.relieved,
            factor=move.factor,
            cost_tokens=move.cost_tokens,
            why=move.why,
        )
        for move in known.moves
    )
    return HotSpotStatus(endpoints=tuple(sorted(known.hot_endpoints)), moves=moves)


def _decisions(
    before: Sequence[DecisionStatus], tick: Tick, now: WallTime
) -> tuple[DecisionStatus, ...]:
    """The last ones, the newest first. What is still on its way is not told twice, and what could
    not be begun not at all.
    """
    told_last = {one.pool: one for one in reversed(before)}
    new = [
        DecisionStatus(
            at=moment(now),
            pool=pool.pool,
            from_=pool.current,
            to=pool.desired,
            reason=pool.reasons[0].code.value if pool.reasons else "",
            message="; ".join(reason.message for reason in pool.reasons),
        )
        for pool in tick.decision.pools
        if pool.valid and pool.desired != pool.current and not _on_its_way(told_last, pool)
        if pool.pool not in tick.not_begun
    ]
    return (*new, *before)[:MAX_DECISIONS]


def _on_its_way(told_last: dict[str, DecisionStatus], pool: PoolDecision) -> bool:
    last = told_last.get(pool.pool)
    return last is not None and last.to == pool.desired
