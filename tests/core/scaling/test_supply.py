"""Replicas that start are supply, until they are late or have nowhere to run."""

from __future__ import annotations

from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode
from cardan.scaling.observation import PendingReplica, PoolState
from cardan.scaling.supply import SHORTAGE_S, Supply, covered, supply_of, told

NOW = WallTime(10_000.0)
DEADLINE_S = 900.0
NO_NODE = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."


def state(desired: int, *pending: PendingReplica) -> PoolState:
    return PoolState(desired=desired, ready=desired - len(pending), pending=pending)


def replica(age_s: float, words: str = "", name: str = "a") -> PendingReplica:
    return PendingReplica(name, WallTime(NOW - age_s), words)


def counted(*pending: PendingReplica, desired: int = 5) -> Supply:
    return supply_of(state(desired, *pending), DEADLINE_S, NOW)


def test_a_replica_that_starts_is_supply_until_its_deadline() -> None:
    assert counted(replica(899.0)).starting == 1
    late = counted(replica(900.0))
    assert (late.starting, late.overdue, late.spares) == (0, 1, 1)


def test_a_replica_without_a_node_is_no_supply_from_the_first_moment() -> None:
    supply = counted(replica(1.0, NO_NODE))
    assert (supply.starting, supply.unplaced, supply.placeable) == (0, 1, 4)
    assert not supply.short


def test_a_replica_without_a_node_is_not_made_up_for() -> None:
    assert counted(replica(5000.0, NO_NODE)).spares == 0


def test_a_shortage_is_settled_when_a_cluster_autoscaler_would_have_ended_it() -> None:
    assert not counted(replica(SHORTAGE_S - 1, NO_NODE)).short
    assert counted(replica(SHORTAGE_S, NO_NODE)).short


def test_spares_are_never_more_than_a_quarter_of_what_is_ready() -> None:
    late = [replica(1000.0, name=f"r{number}") for number in range(12)]
    assert counted(*late, desired=20).spares == 2  # 8 ready
    assert counted(*late[:1], desired=20).spares == 1
    assert counted(*late[:2], desired=2).spares == 1  # nothing is ready: one more try


def test_what_is_late_and_what_has_no_node_is_told_in_the_schedulers_words() -> None:
    supply = counted(replica(1000.0), replica(10.0, NO_NODE, "b"))
    reasons = told(supply, DEADLINE_S)
    assert [reason.code for reason in reasons] == [
        ReasonCode.PENDING_OVERDUE,
        ReasonCode.CAPACITY_SHORTAGE,
    ]
    assert NO_NODE in reasons[1].message


def test_the_words_do_not_alternate_with_the_order_of_pods() -> None:
    one, other = replica(10.0, "no GPU", "a"), replica(20.0, "no memory", "b")
    assert counted(one, other).words == counted(other, one).words == "no GPU"


def test_what_is_under_way_is_said_to_cover_the_demand() -> None:
    reason = covered(counted(replica(10.0)), 5)
    assert reason is not None
    assert reason.code is ReasonCode.PENDING_COVERS
    assert covered(counted(replica(10.0)), 6) is None
    assert covered(counted(), 5) is None


def test_replicas_that_are_not_created_yet_are_on_their_way() -> None:
    supply = supply_of(PoolState(desired=5, ready=3), DEADLINE_S, NOW)
    assert (supply.current, supply.ready, supply.placeable, supply.spares) == (5, 3, 5, 0)
