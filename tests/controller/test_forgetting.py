"""Fleets that go leave nothing behind, and take nothing from those that have their names next."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.scaling.drain import DRAINING_COST, OUR_COSTS
from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault

from tests.controller.scene import Scene, what
from tests.controller.test_ticking import IMPATIENT, KEY, THROUGHPUT

LATER = "2026-11-21T11:00:00Z"
ASLEEP: dict[str, Any] = {
    "policies": THROUGHPUT,
    "scaleToZero": {"idleSeconds": 60},
    "pool": {"minReplicas": 0},
}


async def drained(scene: Scene) -> None:
    """A replica drains, and is marked."""
    down = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    scene.fleet(policies=THROUGHPUT, behavior=down)
    scene.load(5.0, 2500.0)
    await scene.tick()
    scene.load(5.0, 100.0)
    for _ in range(20):
        await scene.tick()
        if scene.api.written("pods"):
            return


async def test_what_a_fleet_has_marked_is_marked_no_more() -> None:
    scene = Scene(replicas=3)
    await drained(scene)
    scene.costs["llama-0"] = 100  # a person's
    assert OUR_COSTS.intersection(scene.costs.values())
    fleet = scene.fleets.get(KEY)
    assert fleet is not None
    await scene.forget(fleet)
    assert {cost for cost in scene.costs.values() if cost is not None} == {100}
    assert not scene.overlays


async def test_a_mark_that_is_not_seen_yet_goes_too() -> None:
    scene = Scene(replicas=3)
    await drained(scene)
    marked = [name for name, cost in sorted(scene.costs.items()) if cost in OUR_COSTS]
    fleet = scene.fleets.get(KEY)
    assert fleet is not None
    scene.costs.clear()
    scene.api.writes.clear()
    await scene.forget(fleet)
    assert [request.path.split("/")[-1] for request in scene.api.written("pods")] == marked


async def test_a_persons_deletion_cost_outlives_a_drain_that_is_called_off() -> None:
    scene = Scene(replicas=3)
    theirs = {"llama-0": 100, "llama-1": -5, "llama-2": 7}
    scene.costs.update(theirs)
    await drained(scene)
    assert scene.costs == {**theirs, "llama-1": DRAINING_COST, "llama-2": DRAINING_COST}
    scene.ticker = scene.operator()  # one that has nothing in hand
    scene.load(5.0, 2500.0)
    await scene.tick()
    assert scene.costs == theirs
    assert not any(scene.kept_costs.values())


async def test_a_new_leader_takes_back_what_its_predecessor_has_marked() -> None:
    scene = Scene(replicas=3)
    await drained(scene)
    fleet = scene.fleets.get(KEY)
    assert fleet is not None
    scene.ticker = scene.operator()
    await scene.forget(fleet)
    assert not OUR_COSTS.intersection(scene.costs.values())


async def test_who_leads_no_more_removes_nothing() -> None:
    scene = Scene(replicas=0)
    fleet = scene.fleet(**ASLEEP)
    scene.load(0.0, 0.0)
    await scene.tick()
    scene.leads = False
    with pytest.raises(ApiError):
        await scene.forget(fleet)
    assert scene.overlays


@pytest.mark.parametrize(("fault", "goes"), [(Fault.FORBIDDEN, True), (Fault.OVERLOADED, False)])
async def test_what_is_refused_is_tried_again_and_what_is_forbidden_is_left(
    fault: Fault, *, goes: bool
) -> None:
    scene = Scene(replicas=3)
    await drained(scene)
    fleet = scene.fleets.get(KEY)
    assert fleet is not None
    scene.api.refuse = {"pods": fault}
    if goes:
        await scene.forget(fleet)
    else:
        with pytest.raises(ApiError):
            await scene.forget(fleet)


async def test_a_successors_overlay_stays() -> None:
    scene = Scene(replicas=0)
    former = scene.fleet(**ASLEEP)
    scene.load(0.0, 0.0)
    await scene.tick()
    scene.fleet(uid="another", created=LATER, **ASLEEP)
    await scene.tick()
    await scene.forget(former)
    assert scene.fleets.get(KEY) is not None
    assert scene.overlays
    assert "routingoverlays" not in [what(r) for r in scene.api.writes if r.method == "DELETE"]


async def test_what_is_under_way_for_a_former_fleet_ends_when_its_name_is_anothers() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.refuse = {"scale": Fault.CONFLICT}  # nothing but its status remains to be written
    written = scene.api.send

    async def send(request: object) -> bytes:
        scene.fleet(uid="another", created=LATER, policies=THROUGHPUT)
        return await written(request)  # type: ignore[arg-type]  # a request

    scene.api.send = send  # type: ignore[method-assign]  # in the middle of a tick
    await scene.tick()
    assert not scene.api.written("status")


@pytest.mark.parametrize("later", [{"created": LATER}, {"version": "12"}])
def test_late_words_of_a_former_fleet_say_nothing_of_the_next(later: Any) -> None:
    scene = Scene()
    former = scene.fleet(version="7")
    fleet = scene.fleet(uid="another", **later)
    assert scene.pressed == [KEY, KEY]
    scene.fleets.changed(former)
    scene.fleets.changed(former, deleted=True)
    assert scene.fleets.get(KEY) == fleet
    assert scene.fleets.departed() == []


def test_a_successor_that_is_deleted_too_takes_its_predecessor_with_it() -> None:
    scene = Scene()
    scene.fleet()
    after = Scene().fleet(uid="another", created=LATER)
    scene.fleets.changed(after, deleted=True)
    assert scene.fleets.get(KEY) is None
    assert scene.fleets.departed() == [KEY]


def test_a_fleet_whose_end_nobody_told_is_looked_after_no_more() -> None:
    scene = Scene()
    fleet = scene.fleet()
    there = {KEY: fleet.meta.uid}
    scene.fleets.confirm({})  # it is new: the other watch may not have it yet
    assert scene.fleets.get(KEY) is fleet
    scene.fleets.confirm(there)
    scene.fleets.confirm({KEY: ""})  # that watch cannot read it
    assert scene.fleets.get(KEY) is fleet
    scene.fleets.confirm({KEY: "another"})
    assert scene.fleets.get(KEY) is None
    assert scene.fleets.departed() == [KEY]
    scene.fleets.confirm(there)
    assert scene.fleets.get(KEY) is fleet
    assert scene.pressed == [KEY, KEY]
