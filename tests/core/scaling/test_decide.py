"""Whole decisions: what is done with a fleet, and the reasons in their order."""

from __future__ import annotations

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling.decide import decide
from cardan.scaling.decision import ReasonCode
from cardan.scaling.memory import Memory
from cardan.scaling.observation import Datum, Freshness, Observation
from cardan.scaling.policies import Concurrency, CronWindow, External, Schedule
from cardan.scaling.spec import Behavior, Direction, PoolSpec, RateLimit, ScalingSpec, SloSpec

from tests.core.scaling.decided import (
    MAIN,
    MIXED,
    NO_NODE,
    SPEC,
    TEN_A_REPLICA,
    Fleet,
    at_once,
    codes,
    only,
    settled,
    spec,
)
from tests.core.scaling.serving import START, demand, pool, serving

# Demand


def test_demand_is_covered_at_once_and_says_by_what() -> None:
    decided = only(at_once(serving(demand(40), {"main": pool(2)})))
    assert (decided.current, decided.desired, decided.valid) == (2, 5, True)
    assert codes(decided) == [ReasonCode.THROUGHPUT]
    assert "6.6e+04 uncached tokens/s" in decided.reasons[0].message


def test_the_largest_recommendation_counts() -> None:
    both = spec(policies=(TEN_A_REPLICA, Concurrency(target=2.0, utilisation=1.0)))
    decided = only(at_once(serving(demand(10), {"main": pool(3)}, in_flight=4.0), both))
    assert decided.desired == 6
    assert codes(decided)[0] is ReasonCode.CONCURRENCY


def test_reasons_come_in_the_order_of_the_steps() -> None:
    slow = Behavior(up=Direction(limits=(RateLimit(replicas=2, period_s=60),)))
    bounded = spec(behavior=slow, pools=(PoolSpec(name="main", max_replicas=5),))
    decided = only(at_once(serving(demand(90), {"main": pool(2)}), bounded))
    assert decided.desired == 4
    assert codes(decided) == [ReasonCode.THROUGHPUT, ReasonCode.TOO_MANY, ReasonCode.UP_LIMITED]


def test_a_need_near_to_what_there_is_says_so() -> None:
    tolerant = spec(behavior=Behavior())
    decided = only(at_once(serving(demand(93), {"main": pool(10)}), tolerant))
    assert decided.desired == 10
    assert codes(decided)[-1] is ReasonCode.WITHIN_TOLERANCE


def test_a_fleet_that_nobody_asks_keeps_one_replica() -> None:
    free = spec(pools=(PoolSpec(name="main", min_replicas=0),))
    assert only(at_once(serving(demand(0), {"main": pool(3)}, in_flight=0.0), free)).desired == 1
    assert only(at_once(serving(demand(0), {"main": pool(0)}), free)).desired == 1


def test_a_schedule_caps_what_all_others_ask_for() -> None:
    always = Schedule(windows=(CronWindow(start="0 0 * * *", end="59 23 31 12 *", max_replicas=3),))
    decided = only(
        at_once(serving(demand(90), {"main": pool(3)}), spec(policies=(TEN_A_REPLICA, always)))
    )
    assert decided.desired == 3
    assert codes(decided) == [ReasonCode.THROUGHPUT, ReasonCode.SCHEDULE]


# What starts


def test_what_starts_is_not_asked_for_again() -> None:
    fleet = Fleet(SPEC, {"main": 2}, cold_s=150.0)
    first = only(fleet.tick(70))
    assert first.desired == 8
    for _ in range(9):
        waiting = only(fleet.tick(70))
        assert waiting.desired == 8
        assert codes(waiting)[-1] is ReasonCode.PENDING_COVERS


def test_a_stuck_replica_is_replaced_once_and_freezes_nothing() -> None:
    late = pool(5, ready=4, since=START - 1000)
    decided = only(at_once(serving(demand(45), {"main": late})))
    assert decided.desired == 6
    assert ReasonCode.PENDING_OVERDUE in codes(decided)
    both_late = pool(6, ready=4, since=START - 2000)
    assert only(at_once(serving(demand(45), {"main": both_late}))).desired == 6
    assert only(at_once(serving(demand(85), {"main": both_late}))).desired == 11
    assert only(at_once(serving(demand(1), {"main": both_late}))).desired < 6


def test_where_no_node_is_found_no_more_is_asked_for_than_before() -> None:
    for minutes in range(0, 60, 5):
        stuck = pool(5, ready=3, since=START - 60 * minutes, unschedulable=NO_NODE)
        decided = only(at_once(serving(demand(45), {"main": stuck})))
        assert decided.desired == 5
        assert ReasonCode.CAPACITY_SHORTAGE in codes(decided)
        assert any(NO_NODE in reason.message for reason in decided.reasons)


def test_a_settled_shortage_is_not_made_longer_and_a_young_one_may_be() -> None:
    def asked(age_s: float) -> int:
        stuck = pool(5, ready=3, since=START - age_s, unschedulable=NO_NODE)
        return only(at_once(serving(demand(85), {"main": stuck}))).desired

    assert asked(30.0) == 10  # a cluster autoscaler is to know how many nodes to bring
    assert asked(3000.0) == 5


def test_replicas_without_a_node_are_given_up_when_they_are_not_needed() -> None:
    stuck = pool(5, ready=3, since=START - 3000, unschedulable=NO_NODE)
    assert only(at_once(serving(demand(20), {"main": stuck}))).desired == 3


# What is not known


def without(observation: Observation, freshness: Freshness = Freshness.MISSING) -> Observation:
    lost = Datum(None, None, freshness, "no answer")
    asked = msgspec.structs.replace(observation.demand, uncached_tokens_per_s=lost)
    return msgspec.structs.replace(observation, demand=asked)


def test_a_fleet_is_held_while_its_demand_is_not_known_and_says_how_it_is_not() -> None:
    for freshness, code in (
        (Freshness.MISSING, ReasonCode.METRICS_MISSING),
        (Freshness.STALE, ReasonCode.METRICS_STALE),
        (Freshness.FAILED, ReasonCode.METRICS_FAILED),
    ):
        decided = only(at_once(without(serving(demand(1), {"main": pool(6)}), freshness)))
        assert decided.desired == 6
        assert codes(decided)[0] is code
        assert "uncached_tokens_per_s (no answer)" in decided.reasons[0].message


def test_known_to_be_nothing_is_not_the_same_as_not_known() -> None:
    quiet = only(at_once(serving(demand(0), {"main": pool(6)}, in_flight=0.0)))
    assert quiet.desired == 1


def test_it_grows_by_what_is_known_and_shrinks_by_nothing() -> None:
    both = spec(policies=(TEN_A_REPLICA, External(metric="queue", target=1.0)))

    def seen(queue: float) -> int:
        observation = without(serving(demand(1), {"main": pool(4)}))
        known = {"queue": Datum(queue, START, Freshness.FRESH)}
        return only(at_once(msgspec.structs.replace(observation, external=known), both)).desired

    assert seen(9.0) == 9
    assert seen(2.0) == 4


def test_after_an_outage_the_window_for_shrinking_begins_anew() -> None:
    patient = spec(behavior=Behavior(down=Direction(stabilization_s=300, tolerance=0.0)))
    fleet = Fleet(patient, {"main": 6})
    for _ in range(40):
        observation = without(fleet.observe(1))
        _, fleet.memory = decide(patient, observation, fleet.memory, observation.at)
        fleet.now += 15.0
    history = [each["main"] for each in fleet.run(1, 345)]
    assert history[:20] == [6] * 20
    assert history[-1] == 1


# The veto


def test_a_replica_stays_while_a_fifth_more_demand_would_want_it_back() -> None:
    # Three replicas carry 30/s; 26/s need 2.86, with a fifth more 3.12.
    decided = only(at_once(serving(demand(26), {"main": pool(4)})))
    assert decided.desired == 4
    assert codes(decided)[-1] is ReasonCode.CONSOLIDATION_VETO
    assert only(at_once(serving(demand(24), {"main": pool(4)}))).desired == 3


def test_the_veto_keeps_no_more_than_is_needed() -> None:
    assert only(at_once(serving(demand(26), {"main": pool(9)}))).desired == 4


def test_what_does_not_serve_yet_may_go() -> None:
    starting = pool(4, ready=3)
    assert only(at_once(serving(demand(26), {"main": starting}))).desired == 3


def test_lost_caches_are_priced_in() -> None:
    # By the queueing model: nine tenths of each prompt are cached, and a third of that goes along.
    slo = spec(policies=ScalingSpec(pools=(MAIN,)).policies, slo=SloSpec(ttft_s=1.0))
    seen = serving(demand(20, uncached=600.0, output=1.0, prompt=6000.0), {"main": pool(3)})
    cold = settled(seen, slo)
    assert cold.desired == 3
    assert codes(cold)[-1] is ReasonCode.CONSOLIDATION_VETO
    uncached = serving(demand(20, uncached=600.0, output=1.0, prompt=600.0), {"main": pool(3)})
    assert settled(uncached, slo).desired == 2


# Other hands


def test_a_change_by_another_hand_is_told_and_decided_from() -> None:
    decided = only(at_once(serving(demand(10), {"main": pool(3, manual="kubectl-edit")})))
    assert codes(decided)[0] is ReasonCode.MANUAL
    assert "kubectl-edit has set 3" in decided.reasons[0].message
    assert decided.desired == 2


def test_paused_nothing_is_valid_and_what_would_be_is_told() -> None:
    observation = serving(demand(40), {"main": pool(2)})
    decision, memory = decide(SPEC, observation, Memory(), START, "spec.paused")
    decided = only(decision)
    assert (decided.desired, decided.valid) == (5, False)
    assert codes(decided)[0] is ReasonCode.PAUSED
    assert memory.learned.uncached_tokens.value == 1500.0


def test_a_target_that_cannot_be_read_is_left_alone_and_the_others_are_not() -> None:
    two = spec(pools=(PoolSpec(name="a"), PoolSpec(name="b")))
    observation = serving(demand(50), {"a": pool(2, error="forbidden"), "b": pool(1)})
    a, b = at_once(observation, two).pools
    assert (a.valid, a.desired, codes(a)[0]) == (False, 2, ReasonCode.TARGET_ERROR)
    assert (b.valid, b.desired) == (True, 4)


def test_a_pool_that_was_not_observed_is_taken_for_what_it_was() -> None:
    _, memory = decide(SPEC, serving(demand(40), {"main": pool(5)}), Memory(), START)
    decided = only(at_once(serving(demand(1), {}), SPEC, memory))
    assert (decided.valid, decided.current, decided.desired) == (False, 5, 5)


def test_a_pool_beyond_its_bounds_is_brought_back_whatever_the_windows_say() -> None:
    slow = Behavior(down=Direction(stabilization_s=300, limits=(RateLimit(replicas=1),)))
    narrow = spec(behavior=slow, pools=(PoolSpec(name="main", min_replicas=2, max_replicas=5),))
    assert only(at_once(serving(demand(40), {"main": pool(9)}), narrow)).desired == 5
    assert only(at_once(serving(demand(1), {"main": pool(0)}), narrow)).desired == 2


# Memory


# Memory


def test_memory_goes_through_json_and_stays_small() -> None:
    fleet = Fleet(MIXED, {"big": 1, "small": 1}, cold_s=60.0)
    for hour in range(6):
        fleet.run(10 + 60 * (hour % 2), 3600)
    kept = fleet.memory.kept()
    written = msgspec.json.encode(kept)
    assert msgspec.json.decode(written, type=Memory) == kept
    assert len(written) < 8192


def test_what_is_no_longer_in_the_specification_is_forgotten() -> None:
    fleet = Fleet(MIXED, {"big": 1, "small": 1})
    fleet.run(10, 300)
    decision, memory = decide(
        SPEC, serving(demand(10), {"main": pool(1)}, fleet.now), fleet.memory, WallTime(fleet.now)
    )
    assert set(memory.pools) == {"main"}
    assert all(key.endswith("throughput") for key in memory.policies)
    assert only(decision).pool == "main"


def test_a_new_leader_decides_as_the_old_one_would_have() -> None:
    patient = spec(behavior=Behavior())
    fleet = Fleet(patient, {"main": 8})
    fleet.run(80, 600)
    fleet.run(30, 45)
    resumed = msgspec.json.decode(msgspec.json.encode(fleet.memory.kept()), type=Memory)
    observation = fleet.observe(30)
    old = only(decide(patient, observation, fleet.memory, observation.at)[0])
    new = only(decide(patient, observation, resumed, observation.at)[0])
    assert (old.desired, codes(old)) == (new.desired, codes(new))
    assert ReasonCode.DOWN_STABILIZED in codes(new)


def test_who_waits_is_asked_for_again_and_again_but_is_one_request_in_the_account() -> None:
    fleet = Fleet(spec(), {"main": 2})
    for _ in range(20):
        fleet.tick(10.0, held=6000.0)
    assert fleet.memory.error_budget.usual.value == pytest.approx(10.0)
