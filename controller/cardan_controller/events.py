"""What of a tick is told as events of the API: what `kubectl describe fleet` shows. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.scaling.decision import ReasonCode

from cardan_controller.conditions import NEVER_ARRIVED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan_controller.crds.status import Condition, FleetStatus

# Conditions that are worth a warning when they become so.
_WARN_WHEN: Final = {
    ("Conflict", "True"),
    ("AbleToScale", "False"),
    ("CapacityAvailable", "False"),
    ("MetricsHealthy", "False"),
    ("SpecValid", "False"),
    ("ScalingLimited", "Unknown"),
}
# Of a fleet that is new nothing was heard long enough: that is as it should be, and no warning.
_RIGHT_AT_FIRST: Final = {ReasonCode.METRICS_MISSING.value, ReasonCode.METRICS_STALE.value}


class Event(NamedTuple):
    """Something that happened to a fleet."""

    reason: str
    note: str
    warning: bool = False


def events_of(before: FleetStatus, after: FleetStatus, *, acts: bool = True) -> Iterator[Event]:
    """What is new in a status, for people; who does not act only recommends."""
    for decision in reversed(after.last_decisions):
        if decision not in before.last_decisions:
            way = "ScaledUp" if decision.to > decision.from_ else "ScaledDown"
            way = way if acts else "Recommended"
            note = f"{decision.pool}: {decision.from_} to {decision.to}: {decision.message}"
            yield Event(way, note)
    known = {one.type: one for one in before.conditions}
    for condition in after.conditions:
        if (
            _turned(known.get(condition.type), condition)
            and (condition.type, condition.status.value) in _WARN_WHEN
        ):
            note = f"{condition.type}: {condition.message}"
            expected = condition.type not in known and condition.reason in _RIGHT_AT_FIRST
            yield Event(condition.reason, note, warning=not expected)
    hands = {pool.name: pool.manual for pool in before.pools}
    for pool in after.pools:
        if pool.manual and hands.get(pool.name) != pool.manual:
            note = f"{pool.name}: {pool.manual} has set {pool.current} replicas"
            yield Event("ChangedByHand", note, warning=True)
    yield from _moves(before, after)


def kept_elsewhere(keeper: str, own: str) -> Event:
    """A fleet has two operators, each by the name of its Lease."""
    note = (
        f"the operator of the Lease {keeper} keeps this fleet: that of {own} stands back until"
        " the other's Lease is given up; let only one of them look after this namespace"
    )
    return Event("KeptElsewhere", note, warning=True)


def _turned(before: Condition | None, after: Condition) -> bool:
    """Is it another one than it was, or worse?"""
    if before is None or before.status is not after.status:
        return True
    return after.reason == NEVER_ARRIVED != before.reason


def _moves(before: FleetStatus, after: FleetStatus) -> Iterator[Event]:
    """New owners are told of when they are made warm, and when they are owners."""
    known = (
        {move.at + move.key: move for move in before.hot_spots.moves} if before.hot_spots else {}
    )
    for move in after.hot_spots.moves if after.hot_spots else ():
        was = known.get(move.at + move.key)
        if was is None and move.warming:
            note = f"{move.kind.value}: {', '.join(move.warming)} is made warm first: {move.why}"
            yield Event("HotSpotWarming", note)
        elif not move.warming and (was is None or was.warming):
            yield Event("HotSpotMoved", f"{move.kind.value}: {move.why}")
