"""What a tick found and did, as the fleet's status: pure.

A status is written when it says something new. Numbers inside sentences move all the time and are
no news: a status that differs from the one that is there only in its sentences is not written, so
that a fleet at rest costs the API server nothing. What is only learned is told every two minutes.
Inputs that are fresh tell no time for the same reason.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.observation import Datum, Freshness

from cardan_controller.crds.status import (
    Condition,
    ConditionType,
    DecisionStatus,
    FleetStatus,
    HotSpotStatus,
    InputHealth,
    MoveStatus,
    PoolStatus,
    Truth,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cardan.instants import WallTime
    from cardan.scaling.decision import PoolDecision, ScalingDecision
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Observation

    from cardan_controller.crds.fleet import FleetSpec

MAX_DECISIONS: Final = 10
# That somebody else scales a target, as the reason of other conditions than that of its name.
CONFLICT: Final = ConditionType.CONFLICT.value
# A fleet that is new learns something with every tick. Who takes over learns these minutes again.
LEARNED_S: Final = 120.0
_LEARNED: Final = ("learned", "forecast", "policies")
_LIMITS: Final = frozenset(
    {
        ReasonCode.TOO_FEW,
        ReasonCode.TOO_MANY,
        ReasonCode.UP_LIMITED,
        ReasonCode.DOWN_LIMITED,
        ReasonCode.BUDGET,
        ReasonCode.ROLLOUT,
        ReasonCode.CLUSTER_STALE,
    }
)
_SHORTAGES: Final = frozenset({ReasonCode.CAPACITY_SHORTAGE, ReasonCode.PENDING_OVERDUE})
# Demand that nobody needs to know for sure: latencies of a fleet without traffic are missing.
_NEEDED: Final = ("requests_per_s", "uncached_tokens_per_s", "output_tokens_per_s", "held")


class Tick(NamedTuple):
    """What one tick of one fleet came to.

    `conflict` names who else scales its targets, `failure` what could not be written, `not_begun`
    the pools of which nothing was, `stale` what of the cluster is not heard, `no_budget` the budget
    that the fleet names and nobody has.
    """

    generation: int
    spec: FleetSpec
    observation: Observation
    decision: ScalingDecision
    memory: Memory
    conflict: str = ""
    failure: str = ""
    not_begun: frozenset[str] = frozenset()
    stale: str = ""
    selector: str = ""
    no_budget: str = ""


def told(before: FleetStatus, tick: Tick, now: WallTime) -> FleetStatus:
    """The status after a tick."""
    pools = tuple(_pool(tick, decided) for decided in tick.decision.pools)
    return FleetStatus(
        observed_generation=tick.generation,
        conditions=_conditions(before, _truths(tick, pools), tick.generation, now),
        replicas=sum(pool.current for pool in pools),
        desired=sum(pool.desired for pool in pools),
        ready=sum(pool.ready for pool in pools),
        selector=tick.selector,
        pools=pools,
        hot_spots=_hot_spots(tick.memory),
        metrics=tuple(_inputs(tick)),
        last_decisions=_decisions(before.last_decisions, tick, now),
        memory=msgspec.to_builtins(tick.memory.kept()),
    )


def refused(before: FleetStatus, generation: int, problem: str, now: WallTime) -> FleetStatus:
    """The status of a fleet whose specification cannot be decided by: nothing else changes."""
    types = (ConditionType.READY, ConditionType.SPEC_VALID)
    truths = [_Truth(type_, Truth.FALSE, "Invalid", problem) for type_ in types]
    others = [one for one in before.conditions if one.type not in types]
    invalid = _conditions(before, truths, generation, now)
    return msgspec.structs.replace(
        before, observed_generation=generation, conditions=(*others, *invalid)
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
        conditions=tuple(replace(one, message="") for one in status.conditions),
        pools=tuple(replace(one, message="") for one in status.pools),
        metrics=tuple(replace(one, message="") for one in status.metrics),
        last_decisions=tuple(replace(one, message="") for one in status.last_decisions),
        hot_spots=moves,
    )


class _Truth(NamedTuple):
    type: ConditionType
    status: Truth
    reason: str
    message: str = ""


def _truths(tick: Tick, pools: Sequence[PoolStatus]) -> list[_Truth]:
    return [
        _Truth(ConditionType.SPEC_VALID, Truth.TRUE, "Valid"),
        _able(tick),
        _active(tick),
        _limited(tick),
        _metrics(tick),
        _capacity(tick),
        _conflict(tick),
        _ready(tick, pools),
    ]


def _able(tick: Tick) -> _Truth:
    if missing := _missing(tick):
        reason = ReasonCode.TARGET_ERROR.value
        return _Truth(ConditionType.ABLE_TO_SCALE, Truth.FALSE, reason, missing)
    if tick.failure:
        return _Truth(ConditionType.ABLE_TO_SCALE, Truth.FALSE, "WriteFailed", tick.failure)
    return _Truth(ConditionType.ABLE_TO_SCALE, Truth.TRUE, "ReadyForNewScale")


def _missing(tick: Tick) -> str:
    """The first target that cannot be had, and why; empty if all can."""
    pools = sorted(tick.observation.pools.items())
    return next((f"{name}: {pool.error}" for name, pool in pools if pool.error), "")


def _active(tick: Tick) -> _Truth:
    for code, truth in ((ReasonCode.PAUSED, Truth.FALSE), (ReasonCode.MANUAL, Truth.TRUE)):
        told = _reasons(tick, {code})
        if told:
            words = told[0].message
            return _Truth(ConditionType.SCALING_ACTIVE, truth, _word(tick, code), words)
    return _Truth(ConditionType.SCALING_ACTIVE, Truth.TRUE, "Active")


def _word(tick: Tick, code: ReasonCode) -> str:
    """A reason's word. That nothing is to be done is called by who says so: not only a pause."""
    if code is not ReasonCode.PAUSED or tick.spec.paused:
        return code.value
    return CONFLICT if tick.conflict else ReasonCode.MANUAL.value


def _limited(tick: Tick) -> _Truth:
    """What holds the fleet, or that the budget that was to is nobody's."""
    if tick.no_budget:
        words = (
            f"spec.budgetRef.name: the operator's configuration has no budget {tick.no_budget!r}"
            " (budgets): no budget holds this fleet"
        )
        return _Truth(ConditionType.SCALING_LIMITED, Truth.UNKNOWN, "UnknownBudget", words)
    found = [
        reason
        for reason in _reasons(tick, _LIMITS)
        if not any(reason in pool.reasons for pool in _without_target(tick))
    ]
    if not found:
        return _Truth(ConditionType.SCALING_LIMITED, Truth.FALSE, "DesiredWithinRange")
    first = found[0]
    return _Truth(ConditionType.SCALING_LIMITED, Truth.TRUE, first.code.value, first.message)


def _without_target(tick: Tick) -> list[PoolDecision]:
    """Pools whose target cannot be had: no bound holds what is not there."""
    states = tick.observation.pools
    return [pool for pool in tick.decision.pools if pool.pool in states and states[pool.pool].error]


def _metrics(tick: Tick) -> _Truth:
    if tick.stale:
        reason = ReasonCode.CLUSTER_STALE.value
        return _Truth(ConditionType.METRICS_HEALTHY, Truth.FALSE, reason, tick.stale)
    inputs = _inputs(tick)
    worst = next((one for one in inputs if one.freshness is not Freshness.FRESH), None)
    if worst is None:
        return _Truth(ConditionType.METRICS_HEALTHY, Truth.TRUE, "Fresh")
    reason = f"Metrics{worst.freshness.value.capitalize()}"
    words = f"{worst.input}: {worst.message}"
    return _Truth(ConditionType.METRICS_HEALTHY, Truth.FALSE, reason, words)


def _capacity(tick: Tick) -> _Truth:
    short = _reasons(tick, _SHORTAGES)
    if not short:
        return _Truth(ConditionType.CAPACITY_AVAILABLE, Truth.TRUE, "NothingStuck")
    first = short[0]
    return _Truth(ConditionType.CAPACITY_AVAILABLE, Truth.FALSE, first.code.value, first.message)


def _conflict(tick: Tick) -> _Truth:
    if tick.conflict:
        return _Truth(ConditionType.CONFLICT, Truth.TRUE, "AnotherScaler", tick.conflict)
    return _Truth(ConditionType.CONFLICT, Truth.FALSE, "NobodyElse")


def _ready(tick: Tick, pools: Sequence[PoolStatus]) -> _Truth:
    if no_target := _missing(tick):
        return _Truth(ConditionType.READY, Truth.FALSE, ReasonCode.TARGET_ERROR.value, no_target)
    if tick.conflict:
        return _Truth(ConditionType.READY, Truth.FALSE, CONFLICT, tick.conflict)
    missing = [pool for pool in pools if pool.ready < pool.current]
    if not missing:
        asleep = pools and not any(pool.current for pool in pools)
        return _Truth(ConditionType.READY, Truth.TRUE, "Asleep" if asleep else "AllReady")
    words = ", ".join(f"{pool.name}: {pool.ready} of {pool.current}" for pool in missing)
    return _Truth(ConditionType.READY, Truth.FALSE, "ReplicasNotReady", words)


def _conditions(
    before: FleetStatus, truths: Iterable[_Truth], generation: int, now: WallTime
) -> tuple[Condition, ...]:
    """Conditions with the time of their last change of status."""
    old = {one.type: one for one in before.conditions}
    return tuple(
        Condition(
            type=truth.type.value,
            status=truth.status,
            reason=truth.reason,
            message=truth.message,
            last_transition_time=(
                known.last_transition_time
                if (known := old.get(truth.type.value)) and known.status is truth.status
                else moment(now)
            ),
            observed_generation=generation,
        )
        for truth in truths
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
        reason=_word(tick, first.code) if first else "",
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


def _inputs(tick: Tick) -> list[InputHealth]:
    observation, cluster = tick.observation, []
    if tick.stale:
        cluster = [InputHealth(input="cluster", freshness=Freshness.STALE, message=tick.stale)]
    demand = {name: getattr(observation.demand, name) for name in _NEEDED}
    named = dict(sorted(observation.external.items()))
    return cluster + [_health(name, datum) for name, datum in {**named, **demand}.items()]


def _health(name: str, datum: Datum) -> InputHealth:
    if datum.freshness is Freshness.FRESH:
        return InputHealth(input=name, freshness=datum.freshness)
    return InputHealth(input=name, freshness=datum.freshness, message=datum.why)


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


def _reasons(tick: Tick, codes: Iterable[ReasonCode]) -> list[ScalingReason]:
    wanted = set(codes)
    every = [*tick.decision.notes, *(r for pool in tick.decision.pools for r in pool.reasons)]
    return [reason for reason in every if reason.code in wanted]


def moment(at: WallTime) -> str:
    """A time as the API writes it, to the second."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
