"""Events tell what is new in a status, once, in words for people."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.scaling.hotspots import MoveKind
from cardan_controller.crds.status import (
    Condition,
    ConditionType,
    DecisionStatus,
    FleetStatus,
    HotSpotStatus,
    MoveStatus,
    PoolStatus,
    Truth,
)
from cardan_controller.events import Event, events_of

AT = "2026-11-21T10:00:00Z"


def decided(from_: int, to: int) -> DecisionStatus:
    """A decision."""
    return DecisionStatus(at=AT, pool="main", from_=from_, to=to, reason="Forecast", message="why")


def told(type_: ConditionType, status: Truth) -> FleetStatus:
    """A status with one condition."""
    condition = Condition(
        type=type_.value, status=status, reason="Because", message="why", last_transition_time=AT
    )
    return FleetStatus(conditions=(condition,))


def events(before: FleetStatus, after: FleetStatus, **how: Any) -> list[Event]:
    """All of them."""
    return list(events_of(before, after, **how))


def test_decisions_are_told_in_their_order_and_once() -> None:
    first, second = decided(1, 3), decided(3, 2)
    after = FleetStatus(last_decisions=(second, first))
    assert [event.reason for event in events(FleetStatus(), after)] == ["ScaledUp", "ScaledDown"]
    assert events(FleetStatus(last_decisions=(first,)), after)[0].note == "main: 3 to 2: why"
    assert events(after, after) == []


def test_who_only_recommends_says_so() -> None:
    after = FleetStatus(last_decisions=(decided(1, 3),))
    assert [e.reason for e in events(FleetStatus(), after, acts=False)] == ["Recommended"]


@pytest.mark.parametrize(
    ("type_", "bad"),
    [
        (ConditionType.CONFLICT, Truth.TRUE),
        (ConditionType.ABLE_TO_SCALE, Truth.FALSE),
        (ConditionType.CAPACITY_AVAILABLE, Truth.FALSE),
        (ConditionType.METRICS_HEALTHY, Truth.FALSE),
        (ConditionType.SPEC_VALID, Truth.FALSE),
        (ConditionType.SCALING_LIMITED, Truth.UNKNOWN),
    ],
)
def test_a_condition_that_turns_bad_is_a_warning(type_: ConditionType, bad: Truth) -> None:
    good = Truth.FALSE if bad is Truth.TRUE else Truth.TRUE
    assert events(told(type_, good), told(type_, bad)) == [
        Event("Because", f"{type_.value}: why", warning=True)
    ]
    assert events(told(type_, bad), told(type_, bad)) == []
    assert events(told(type_, bad), told(type_, good)) == []


@pytest.mark.parametrize(
    ("why", "warns"),
    [("MetricsMissing", False), ("MetricsStale", False), ("MetricsFailed", True)],
)
def test_a_new_fleet_that_was_not_heard_long_enough_is_no_warning(why: str, warns: bool) -> None:
    condition = Condition(
        type="MetricsHealthy", status=Truth.FALSE, reason=why, last_transition_time=AT
    )
    after = FleetStatus(conditions=(condition,))
    assert [event.warning for event in events(FleetStatus(), after)] == [warns]
    healthy = told(ConditionType.METRICS_HEALTHY, Truth.TRUE)
    assert [event.warning for event in events(healthy, after)] == [True]


def test_metrics_that_never_arrived_are_a_warning_once() -> None:
    def lacking(why: str) -> FleetStatus:
        condition = Condition(
            type="MetricsHealthy",
            status=Truth.FALSE,
            reason=why,
            message="check",
            last_transition_time=AT,
        )
        return FleetStatus(conditions=(condition,))

    never = lacking("MetricsNeverArrived")
    assert events(lacking("MetricsMissing"), never) == [
        Event("MetricsNeverArrived", "MetricsHealthy: check", warning=True)
    ]
    assert events(never, never) == []
    assert events(never, lacking("MetricsMissing")) == []


def test_a_change_by_hand_is_told_by_name() -> None:
    by_hand = FleetStatus(pools=(PoolStatus(name="main", current=5, manual="kubectl"),))
    assert events(FleetStatus(), by_hand) == [
        Event("ChangedByHand", "main: kubectl has set 5 replicas", warning=True)
    ]
    assert events(by_hand, by_hand) == []


def moved(*warming: str) -> FleetStatus:
    """A status with a prefix that goes elsewhere."""
    move = MoveStatus(
        kind=MoveKind.REHOME, at=AT, key="0" * 16, owners=("e3",), warming=warming, why="why"
    )
    return FleetStatus(hot_spots=HotSpotStatus(moves=(move,)))


def test_a_move_is_told_once() -> None:
    assert events(FleetStatus(), moved()) == [Event("HotSpotMoved", "re-home: why")]
    assert events(moved(), moved()) == []


def test_a_new_owner_is_told_of_when_it_is_made_warm_and_when_it_is_an_owner() -> None:
    told = events(FleetStatus(), moved("e3"))
    assert told == [Event("HotSpotWarming", "re-home: e3 is made warm first: why")]
    assert events(moved("e3"), moved("e3")) == []
    assert events(moved("e3"), moved()) == [Event("HotSpotMoved", "re-home: why")]
