"""What every replica reads of a fleet: who it is, and what the leader has decided for it."""

from __future__ import annotations

from typing import Any

import msgspec
from cardan_controller.cluster.listed import read_listed

POOLS = [{"name": "main", "desired": 3, "ready": 2}, {"name": "spare"}]


def listed(status: Any) -> tuple[str, dict[str, int]]:
    """A fleet with that status, as it is read."""
    document = {"metadata": {"name": "llama", "uid": "u"}, "spec": {"any": 1}}
    if status is not None:
        document["status"] = status
    found = read_listed(msgspec.Raw(msgspec.json.encode(document)))
    return found.uid, dict(found.desired)


def test_decisions_are_read_a_pool_at_a_time() -> None:
    memory = {"learned": {"anything": [1, 2]}}
    assert listed({"pools": POOLS, "memory": memory}) == ("u", {"main": 3, "spare": 0})


def test_a_fleet_without_a_status_is_there_without_decisions() -> None:
    assert listed(None) == ("u", {})
    assert listed({}) == ("u", {})


def test_a_status_that_another_version_wrote_tells_no_decision() -> None:
    assert listed({"pools": [{"name": "main", "desired": "three"}]}) == ("u", {})


def test_a_pool_whose_target_is_not_to_be_had_has_no_decision() -> None:
    lost = {"name": "lost", "desired": 0, "reason": "TargetError"}
    assert listed({"pools": [*POOLS, lost]})[1] == {"main": 3, "spare": 0}
