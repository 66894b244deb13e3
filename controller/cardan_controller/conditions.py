"""What is true of a fleet after a tick, as the conditions of its status: pure."""

from __future__ import annotations

import datetime
import math
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.scaling.decision import ReasonCode
from cardan.scaling.observation import Freshness

from cardan_controller.cluster.pods import instant
from cardan_controller.crds.status import Condition, ConditionType, InputHealth, Truth

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cardan.instants import WallTime
    from cardan.scaling.decision import PoolDecision, ScalingDecision, ScalingReason
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Datum, Observation

    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.crds.status import FleetStatus, PoolStatus

# That somebody else scales a target, as the reason of other conditions than that of its name.
CONFLICT: Final = ConditionType.CONFLICT.value
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
# `MetricsHealthy` of a fleet whose metrics are not late but absent: something is set up wrong.
NEVER_ARRIVED: Final = "MetricsNeverArrived"
# More other fleets than these are counted.
MOST_NAMED: Final = 5
# Their sentences are names: another one is news.
NAMING: Final = frozenset({ConditionType.DEMAND_SHARED.value})
_SHORTAGES: Final = frozenset({ReasonCode.CAPACITY_SHORTAGE, ReasonCode.PENDING_OVERDUE})
# Demand that nobody needs to know for sure: latencies of a fleet without traffic are missing.
_NEEDED: Final = ("requests_per_s", "uncached_tokens_per_s", "output_tokens_per_s", "held")

_ABSENT: Final = frozenset({Freshness.MISSING, Freshness.FAILED})


class Tick(NamedTuple):
    """What one tick of one fleet came to.

    `conflict` names who else scales its targets, `failure` what could not be written, `not_begun`
    the pools of which nothing was, `stale` what of the cluster is not heard, `no_budget` the budget
    that the fleet names and nobody has, `shares_with` the fleets that the model's traffic is shared
    with. `check` is what to look at where metrics have not come `patience_s` after the first tick.
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
    shares_with: tuple[str, ...] = ()
    check: str = ""
    patience_s: float = math.inf


def to_check(*, prometheus: bool) -> str:
    """What is to be looked at where no metrics arrive, from a Prometheus or from gateways."""
    if prometheus:
        return (
            "check that metrics.prometheus.url is the Prometheus that scrapes these gateways, with"
            " the labels namespace and pod, and that metrics.prometheus.match leaves them"
        )
    return (
        "check that its gateways run (in spec.gateways.namespace), that they have the labels of"
        " gateways.selector or spec.gateways.selector, and that the operator reaches their port"
        " gateways.metrics_port"
    )


def conditions(
    before: FleetStatus, tick: Tick, pools: Sequence[PoolStatus], now: WallTime
) -> tuple[Condition, ...]:
    """The conditions after a tick, with the time of their last change of status."""
    return _conditions(before, _truths(before, tick, pools, now), tick.generation, now)


def refusal(
    before: FleetStatus, generation: int, problem: str, now: WallTime
) -> tuple[Condition, ...]:
    """Those of a fleet whose specification cannot be decided by: the others stay as they are."""
    types = (ConditionType.READY, ConditionType.SPEC_VALID)
    truths = [_Truth(type_, Truth.FALSE, "Invalid", problem) for type_ in types]
    others = (one for one in before.conditions if one.type not in types)
    return (*others, *_conditions(before, truths, generation, now))


class _Truth(NamedTuple):
    type: ConditionType
    status: Truth
    reason: str
    message: str = ""


def _truths(
    before: FleetStatus, tick: Tick, pools: Sequence[PoolStatus], now: WallTime
) -> list[_Truth]:
    return [
        _Truth(ConditionType.SPEC_VALID, Truth.TRUE, "Valid"),
        _able(tick),
        _active(tick),
        _limited(tick),
        _metrics(before, tick, now),
        _capacity(tick),
        _conflict(tick),
        _shared(tick),
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
            return _Truth(ConditionType.SCALING_ACTIVE, truth, word(tick, code), words)
    return _Truth(ConditionType.SCALING_ACTIVE, Truth.TRUE, "Active")


def word(tick: Tick, code: ReasonCode) -> str:
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


def _metrics(before: FleetStatus, tick: Tick, now: WallTime) -> _Truth:
    if tick.stale:
        reason = ReasonCode.CLUSTER_STALE.value
        return _Truth(ConditionType.METRICS_HEALTHY, Truth.FALSE, reason, tick.stale)
    worst = next((one for one in inputs(tick) if one.freshness is not Freshness.FRESH), None)
    if worst is None:
        return _Truth(ConditionType.METRICS_HEALTHY, Truth.TRUE, "Fresh")
    reason = f"Metrics{worst.freshness.value.capitalize()}"
    words = f"{worst.input}: {worst.message}"
    if _is_absent(worst) and _are_overdue(before, now, tick.patience_s):
        reason = NEVER_ARRIVED
        words = f"{words}; it has never arrived: {tick.check}"
    return _Truth(ConditionType.METRICS_HEALTHY, Truth.FALSE, reason, words)


def _is_absent(worst: InputHealth) -> bool:
    """Is it gateways' metrics that are not there? What is old has arrived, and others have keys."""
    return worst.input in _NEEDED and worst.freshness in _ABSENT


def _are_overdue(before: FleetStatus, now: WallTime, patience_s: float) -> bool:
    """Has a fleet waited for so long for metrics, and never had them?

    Nothing that is said of it is older then: a condition that was another once has a later time.
    """
    known = {one.type: one for one in before.conditions}
    healthy = known.get(ConditionType.METRICS_HEALTHY.value)
    if healthy is None or healthy.status is Truth.TRUE:
        return False
    since = instant(healthy.last_transition_time)
    oldest = min(instant(one.last_transition_time) for one in before.conditions)
    return since <= oldest and now - since >= patience_s


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


def _shared(tick: Tick) -> _Truth:
    if not tick.shares_with:
        return _Truth(ConditionType.DEMAND_SHARED, Truth.FALSE, "NobodyElse")
    more = len(tick.shares_with) - MOST_NAMED
    names = ", ".join(tick.shares_with[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
    serve = "serves" if len(tick.shares_with) == 1 else "serve"
    words = (
        f"{names} {serve} {tick.spec.model} at these gateways too:"
        " each is sized for what its own endpoints get"
    )
    return _Truth(ConditionType.DEMAND_SHARED, Truth.TRUE, "SameModel", words)


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


def inputs(tick: Tick) -> list[InputHealth]:
    """How well each input of decisions is known."""
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


def _reasons(tick: Tick, codes: Iterable[ReasonCode]) -> list[ScalingReason]:
    wanted = set(codes)
    every = [*tick.decision.notes, *(r for pool in tick.decision.pools for r in pool.reasons)]
    return [reason for reason in every if reason.code in wanted]


def moment(at: WallTime) -> str:
    """A time as the API writes it, to the second."""
    return datetime.datetime.fromtimestamp(at, datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
