"""Events of the API: what `kubectl describe fleet` shows of what happened. Pure.

https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_kube.writing import Collection, create

from cardan_controller.crds.definitions import API_VERSION, FLEET
from cardan_controller.planning import MANAGER, Write

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.instants import WallTime

    from cardan_controller.crds.status import FleetStatus
    from cardan_controller.planning import Home

# The API's own limit.
MAX_NOTE_CHARS: Final = 1024
# Conditions that are worth a warning when they become so.
_WARN_WHEN: Final = {
    ("Conflict", "True"),
    ("AbleToScale", "False"),
    ("CapacityAvailable", "False"),
    ("MetricsHealthy", "False"),
    ("SpecValid", "False"),
}


class Event(NamedTuple):
    """Something that happened to a fleet."""

    reason: str
    note: str
    warning: bool = False


def events_of(before: FleetStatus, after: FleetStatus) -> Iterator[Event]:
    """What is new in a status, for people."""
    for decision in reversed(after.last_decisions):
        if decision not in before.last_decisions:
            way = "ScaledUp" if decision.to > decision.from_ else "ScaledDown"
            note = f"{decision.pool}: {decision.from_} to {decision.to}: {decision.message}"
            yield Event(way, note)
    known = {one.type: one.status for one in before.conditions}
    for condition in after.conditions:
        is_new = known.get(condition.type) is not condition.status
        if is_new and (condition.type, condition.status.value) in _WARN_WHEN:
            note = f"{condition.type}: {condition.message}"
            yield Event(condition.reason, note, warning=True)
    moves = {move.at + move.key for move in before.hot_spots.moves} if before.hot_spots else set()
    for move in after.hot_spots.moves if after.hot_spots else ():
        if move.at + move.key not in moves:
            yield Event("HotSpotMoved", f"{move.kind.value}: {move.why}")


def written(home: Home, event: Event, now: WallTime) -> Write:
    """An event as a write."""
    moment = datetime.datetime.fromtimestamp(now, datetime.UTC)
    manifest = {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"generateName": f"{home.name}.", "namespace": home.namespace},
        "regarding": {
            "apiVersion": API_VERSION,
            "kind": FLEET.kind,
            "name": home.name,
            "namespace": home.namespace,
            "uid": home.uid,
        },
        "eventTime": moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason,
        "action": "Scale",
        "note": event.note[:MAX_NOTE_CHARS],
        "reportingController": f"cardan.dev/{MANAGER}",
        "reportingInstance": MANAGER,
    }
    path = Collection("events.k8s.io", "v1", "events", home.namespace).path
    return Write("event", create(path, manifest, MANAGER))
