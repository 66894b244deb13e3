"""A status says what a tick came to, and is written only when it says something new."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling.decision import PoolDecision, ReasonCode, ScalingDecision, ScalingReason
from cardan.scaling.memory import Memory
from cardan.scaling.observation import (
    Datum,
    Demand,
    Freshness,
    Observation,
    PendingReplica,
    PoolState,
)
from cardan_controller.conditions import Tick
from cardan_controller.crds.documents import status_document
from cardan_controller.crds.fleet import FleetPool, FleetSpec, TargetRef
from cardan_controller.crds.status import FleetStatus, Truth
from cardan_controller.telling import LEARNED_S, MAX_DECISIONS, is_news, refused, told

NOW = WallTime(1_800_000_000.0)
POOL = FleetPool(name="h100", scale_target_ref=TargetRef(kind="Deployment", name="vllm"))
SPEC = FleetSpec(model="m", pools=(POOL,))


def fresh(value: float) -> Datum:
    """A number that is known."""
    return Datum(value, NOW, Freshness.FRESH)


HEALTHY = Demand(
    requests_per_s=fresh(5.0),
    uncached_tokens_per_s=fresh(900.0),
    output_tokens_per_s=fresh(700.0),
    held=fresh(0.0),
)


def tick(
    *reasons: ScalingReason,
    current: int = 2,
    desired: int = 2,
    demand: Demand = HEALTHY,
    valid: bool = True,
    notes: tuple[ScalingReason, ...] = (),
    conflict: str = "",
    **state: Any,
) -> Tick:
    """One tick of a fleet with one pool."""
    pool = PoolState(**{"desired": current, "ready": current, **state})
    decided = PoolDecision(
        pool="h100", current=current, desired=desired, valid=valid, reasons=tuple(reasons)
    )
    return Tick(
        generation=3,
        spec=SPEC,
        observation=Observation(at=NOW, demand=demand, pools={"h100": pool}),
        decision=ScalingDecision(at=NOW, pools=(decided,), notes=notes),
        memory=Memory(),
        conflict=conflict,
    )


def test_a_metric_that_a_policy_names_and_nobody_knows_is_told_with_its_field() -> None:
    why = "spec.policies[0].external.metric: 'queue' has no series for n/llama, it needs one"
    missing = Datum(freshness=Freshness.MISSING, why=why)
    one = tick()
    observation = msgspec.structs.replace(one.observation, external={"queue": missing})
    status = told(FleetStatus(), one._replace(observation=observation), NOW)
    words = f"queue: {why}"
    assert conditions(status)["MetricsHealthy"] == ("False", "MetricsMissing", words)
    assert next((m.input, m.freshness.value) for m in status.metrics) == ("queue", "missing")


def conditions(status: FleetStatus) -> dict[str, tuple[str, str, str]]:
    """Status, reason and message by type."""
    return {one.type: (one.status.value, one.reason, one.message) for one in status.conditions}


def reason(code: ReasonCode, message: str = "why") -> ScalingReason:
    """One reason."""
    return ScalingReason(code, message)


def test_a_fleet_that_is_well() -> None:
    status = told(FleetStatus(), tick(reason(ReasonCode.SLO_PREFILL)), NOW)
    assert {type_: (truth, why) for type_, (truth, why, _) in conditions(status).items()} == {
        "SpecValid": ("True", "Valid"),
        "AbleToScale": ("True", "ReadyForNewScale"),
        "ScalingActive": ("True", "Active"),
        "ScalingLimited": ("False", "DesiredWithinRange"),
        "MetricsHealthy": ("True", "Fresh"),
        "CapacityAvailable": ("True", "NothingStuck"),
        "Conflict": ("False", "NobodyElse"),
        "DemandShared": ("False", "NobodyElse"),
        "Ready": ("True", "AllReady"),
    }
    assert (status.replicas, status.desired, status.ready) == (2, 2, 2)
    assert status.pools[0].reason == "SloPrefill"
    assert status.observed_generation == 3


@pytest.mark.parametrize(
    ("found", "type_", "expected"),
    [
        (
            tick(reason(ReasonCode.TOO_MANY, "10 are allowed")),
            "ScalingLimited",
            ("True", "TooManyReplicas", "10 are allowed"),
        ),
        (
            tick(notes=(reason(ReasonCode.PAUSED, "spec.paused"),), valid=False)._replace(
                spec=msgspec.structs.replace(SPEC, paused=True)
            ),
            "ScalingActive",
            ("False", "Paused", "spec.paused"),
        ),
        (
            tick(reason(ReasonCode.CAPACITY_SHORTAGE, "no node")),
            "CapacityAvailable",
            ("False", "InsufficientCapacity", "no node"),
        ),
        (tick(error="no such Deployment"), "AbleToScale", ("False", "TargetError", None)),
        (tick(conflict="HPA x"), "Conflict", ("True", "AnotherScaler", "HPA x")),
        (
            tick(ready=1, pending=(PendingReplica("p", NOW),)),
            "Ready",
            ("False", "ReplicasNotReady", "h100: 1 of 2"),
        ),
        (tick(current=0, desired=0, ready=0), "Ready", ("True", "Asleep", "")),
        (
            tick(demand=Demand(requests_per_s=Datum(freshness=Freshness.FAILED, why="503"))),
            "MetricsHealthy",
            ("False", "MetricsFailed", "requests_per_s: 503"),
        ),
    ],
)
def test_what_is_wrong_has_its_condition(found: Tick, type_: str, expected: Any) -> None:
    truth = conditions(told(FleetStatus(), found, NOW))[type_]
    assert truth == (*expected[:2], expected[2] if expected[2] is not None else truth[2])


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    first = told(FleetStatus(), tick(), NOW)
    later = WallTime(NOW + 600)
    second = told(first, tick(conflict="HPA x"), later)
    times = {one.type: one.last_transition_time for one in second.conditions}
    assert times["AbleToScale"] == "2027-01-15T08:00:00Z"
    assert times["Conflict"] == "2027-01-15T08:10:00Z"


def test_sentences_alone_are_no_news() -> None:
    first = told(FleetStatus(), tick(reason(ReasonCode.SLO_PREFILL, "at 5.1 requests/s")), NOW)
    second = told(first, tick(reason(ReasonCode.SLO_PREFILL, "at 5.2 requests/s")), NOW)
    assert first != second
    assert not is_news(first, second)
    assert is_news(first, told(first, tick(reason(ReasonCode.SLO_DECODE)), NOW))
    assert is_news(FleetStatus(), first)


NOT_HEARD = Demand(requests_per_s=Datum(freshness=Freshness.MISSING, why="no gateway"))


def unheard(since: FleetStatus, after_s: float, demand: Demand = NOT_HEARD) -> FleetStatus:
    """The status of a fleet so long after the first tick."""
    found = tick(demand=demand)._replace(patience_s=180.0, check="check this")
    return told(since, found, WallTime(NOW + after_s))


def test_metrics_that_have_never_arrived_say_what_to_check() -> None:
    status = unheard(FleetStatus(), 0.0)
    assert conditions(status)["MetricsHealthy"][1] == "MetricsMissing"
    patient = unheard(status, 179.0)
    assert conditions(patient)["MetricsHealthy"][1] == "MetricsMissing"
    never = unheard(patient, 180.0)
    words = "requests_per_s: no gateway; it has never arrived: check this"
    assert conditions(never)["MetricsHealthy"] == ("False", "MetricsNeverArrived", words)
    assert is_news(patient, never)
    assert not is_news(never, unheard(never, 400.0))


def test_a_wrong_address_is_no_other_thing_than_a_wrong_selector() -> None:
    failed = Demand(requests_per_s=Datum(freshness=Freshness.FAILED, why="refused"))
    status = unheard(FleetStatus(), 0.0, failed)
    assert conditions(status)["MetricsHealthy"][1] == "MetricsFailed"
    assert conditions(unheard(status, 60.0))["MetricsHealthy"][1] == "MetricsMissing"
    never = conditions(unheard(status, 200.0, failed))["MetricsHealthy"]
    assert never[1] == "MetricsNeverArrived"


def test_metrics_that_arrive_too_old_have_arrived() -> None:
    old = Demand(requests_per_s=Datum(freshness=Freshness.STALE, why="300 s old"))
    status = unheard(FleetStatus(), 0.0, old)
    assert conditions(unheard(status, 600.0, old))["MetricsHealthy"][1] == "MetricsStale"


@pytest.mark.parametrize("freshness", [Freshness.MISSING, Freshness.FAILED])
def test_an_external_input_that_never_arrived_accuses_no_gateway(freshness: Freshness) -> None:
    found = tick()._replace(patience_s=180.0, check="check this")
    queue = {"a queue": Datum(freshness=freshness, why="its address is wrong")}
    seen = msgspec.structs.replace(found.observation, external=queue)
    found = found._replace(observation=seen)
    status = told(told(FleetStatus(), found, NOW), found, WallTime(NOW + 600.0))
    reason, words = conditions(status)["MetricsHealthy"][1:]
    assert reason == f"Metrics{freshness.value.capitalize()}"
    assert words == "a queue: its address is wrong"


def test_metrics_that_were_there_once_are_only_missing() -> None:
    status = unheard(FleetStatus(), 0.0, HEALTHY)
    assert conditions(unheard(status, 600.0))["MetricsHealthy"][1] == "MetricsMissing"
    lost = unheard(unheard(status, 60.0), 600.0)
    assert conditions(lost)["MetricsHealthy"][:2] == ("False", "MetricsMissing")
    late = unheard(unheard(FleetStatus(), 0.0), 60.0, HEALTHY)
    lost = unheard(unheard(late, 120.0), 600.0)
    assert conditions(lost)["MetricsHealthy"][:2] == ("False", "MetricsMissing")


def test_a_change_is_told_once_with_its_reasons() -> None:
    up = tick(reason(ReasonCode.SLO_PREFILL, "a"), reason(ReasonCode.FORECAST, "b"), desired=4)
    first = told(FleetStatus(), up, NOW)
    (change,) = first.last_decisions
    assert (change.pool, change.from_, change.to) == ("h100", 2, 4)
    assert (change.reason, change.message) == ("SloPrefill", "a; b")
    assert told(first, up, NOW).last_decisions == first.last_decisions  # the scale is not there yet
    down = tick(reason(ReasonCode.SLO_PREFILL), current=4, desired=3)
    assert [one.to for one in told(first, down, NOW).last_decisions] == [3, 4]


def test_what_may_not_be_done_is_no_decision() -> None:
    assert told(FleetStatus(), tick(desired=4, valid=False), NOW).last_decisions == ()


def test_the_last_ten_are_kept() -> None:
    status = FleetStatus()
    for n in range(15):
        status = told(status, tick(current=n, desired=n + 1), NOW)
    assert len(status.last_decisions) == MAX_DECISIONS
    assert status.last_decisions[0].to == 15


def test_a_wrong_specification_changes_nothing_else() -> None:
    before = told(FleetStatus(), tick(), NOW)
    after = refused(before, 4, "spec.policies[0]: no such policy", NOW)
    assert conditions(after)["SpecValid"] == (
        "False",
        "Invalid",
        "spec.policies[0]: no such policy",
    )
    assert (after.pools, after.memory, after.observed_generation) == (
        before.pools,
        before.memory,
        4,
    )
    assert len(after.conditions) == len(before.conditions)


def test_memory_is_there_for_the_next_leader() -> None:
    status = told(FleetStatus(), tick(), NOW)
    assert msgspec.convert(status.memory, Memory) == Memory().kept()
    assert all(one.status is not Truth.UNKNOWN for one in status.conditions)


def test_what_is_only_learned_waits_and_what_is_under_way_does_not() -> None:
    before = FleetStatus(ready=2, memory={"learned": {"a": 1}, "drains": {}})
    learned = FleetStatus(ready=2, memory={"learned": {"a": 2}, "drains": {}})
    drains = FleetStatus(ready=2, memory={"learned": {"a": 2}, "drains": {"victims": ["p"]}})
    assert not is_news(before, learned, quiet_s=15.0)
    assert is_news(before, learned, quiet_s=LEARNED_S)
    assert is_news(before, drains, quiet_s=15.0)
    assert is_news(before, FleetStatus(ready=3, memory=before.memory), quiet_s=15.0)
    assert not is_news(before, before, quiet_s=LEARNED_S)


def test_a_fleet_without_its_target_is_not_well_and_sleeps_not() -> None:
    missing = "there is no Deployment vllm"
    nonsense = reason(ReasonCode.TOO_MANY, "1.00 replicas are needed: the most is 0")
    one = tick(
        reason(ReasonCode.PAUSED), nonsense, current=0, desired=0, valid=False, error=missing
    )
    status = told(FleetStatus(), one, NOW)
    assert conditions(status)["Ready"] == ("False", "TargetError", f"h100: {missing}")
    assert conditions(status)["AbleToScale"] == ("False", "TargetError", f"h100: {missing}")
    assert conditions(status)["ScalingLimited"][:2] == ("False", "DesiredWithinRange")
    assert (status.pools[0].reason, status.pools[0].message) == ("TargetError", missing)


def test_a_fleet_that_another_scales_is_not_well_and_not_called_paused() -> None:
    held = reason(ReasonCode.PAUSED, "HPA x")
    one = tick(held, notes=(held,), valid=False, conflict="HPA x")
    status = told(FleetStatus(), one, NOW)
    assert conditions(status)["Ready"] == ("False", "Conflict", "HPA x")
    assert conditions(status)["ScalingActive"] == ("False", "Conflict", "HPA x")
    assert status.pools[0].reason == "Conflict"


def test_a_scale_that_a_hand_holds_is_not_called_paused() -> None:
    held = reason(ReasonCode.PAUSED, "kubectl has scaled h100")
    status = told(FleetStatus(), tick(held, notes=(held,), valid=False), NOW)
    assert conditions(status)["ScalingActive"][:2] == ("False", "ChangedByHand")
    assert conditions(status)["Ready"][:2] == ("True", "AllReady")


def test_a_new_fleet_with_a_wrong_specification_says_so_in_every_column() -> None:
    status = refused(FleetStatus(), 1, "spec.pools: none", NOW)
    assert conditions(status)["Ready"] == ("False", "Invalid", "spec.pools: none")
    counts = status_document(status)
    assert [counts[name] for name in ("desired", "replicas", "ready")] == [0, 0, 0]


def test_a_budget_that_nobody_has_is_told_by_name() -> None:
    status = told(FleetStatus(), tick()._replace(no_budget="gpus"), NOW)
    truth, why, words = conditions(status)["ScalingLimited"]
    assert (truth, why) == ("Unknown", "UnknownBudget")
    assert "spec.budgetRef.name" in words
    assert "'gpus'" in words
