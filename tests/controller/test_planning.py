"""Orders become requests where something is to be different, and only there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.scaling.drain import DRAINING_COST, OUR_COSTS, RELEASED_COST
from cardan_controller import planning
from cardan_controller.cluster.pods import DELETION_COST, KEPT_COST, PodFacts
from cardan_controller.planning import Home, Scaling

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_controller.planning import Write

HERE = Home("n", "llama", "u1", "n")
ELSEWHERE = Home("n", "llama", "u1", "gateways")
DRAINS = ModelOverlay(draining=(EndpointId("llama-1"),))


def pod(
    name: str, cost: int | None = None, kept: int | None = None, *, leaving: bool = False
) -> PodFacts:
    """A pod with a deletion cost, and what it was before ours."""
    at = WallTime(0.0)
    facts = PodFacts(name, "n", f"uid-{name}", {}, at, at, leaving=leaving)
    return msgspec.structs.replace(facts, deletion_cost=cost, kept_cost=kept)


def annotated(writes: Iterable[Write]) -> dict[str, dict[str, str | None]]:
    """What is written on each pod."""
    told = {}
    for write in writes:
        body: Any = write.request.body
        told[write.request.path.rsplit("/", 1)[1]] = body["metadata"]["annotations"]
    return told


def test_a_scale_is_written_where_it_differs_and_if_nobody_was_faster() -> None:
    targets = {"a": Scaling("/a/scale", 2, "7"), "b": Scaling("/b/scale", 3, "8")}
    (write,) = planning.scales({"a": 2, "b": 5, "gone": 1}, targets)
    assert (write.request.path, write.pool, write.replicas) == ("/b/scale", "b", 5)
    assert write.request.body == {"spec": {"replicas": 5}, "metadata": {"resourceVersion": "8"}}


def test_costs_are_set_and_only_ours_are_taken_back() -> None:
    pods = [
        pod("new"),
        pod("done", DRAINING_COST),
        pod("ours", DRAINING_COST),
        pod("theirs", 100),
        pod("going", leaving=True),
    ]
    wanted = {"new": DRAINING_COST, "done": DRAINING_COST, "going": DRAINING_COST}
    assert annotated(planning.costs(wanted, pods)) == {
        "new": {DELETION_COST: str(DRAINING_COST)},
        "ours": {DELETION_COST: None, KEPT_COST: None},
    }


def test_a_persons_cost_is_kept_while_a_pod_drains_and_given_back_when_it_stays() -> None:
    (begun,) = annotated(planning.costs({"a": DRAINING_COST}, [pod("a", 100)])).values()
    assert begun == {DELETION_COST: str(DRAINING_COST), KEPT_COST: "100"}
    drains = pod("a", DRAINING_COST, 100)
    assert list(planning.costs({"a": DRAINING_COST}, [drains])) == []
    (released,) = annotated(planning.costs({"a": RELEASED_COST}, [drains])).values()
    assert released == {DELETION_COST: str(RELEASED_COST)}
    back = {DELETION_COST: "100", KEPT_COST: None}
    for mark in OUR_COSTS:
        assert annotated(planning.costs({}, [pod("a", mark, 100)])) == {"a": back}


def test_a_person_who_changes_the_cost_of_a_pod_that_drains_has_the_last_word() -> None:
    changed, removed = pod("changed", 7, 100), pod("removed", None, 100)
    wanted = dict.fromkeys(("changed", "removed"), DRAINING_COST)
    mark = str(DRAINING_COST)
    assert annotated(planning.costs(wanted, [changed, removed])) == {
        "changed": {DELETION_COST: mark, KEPT_COST: "7"},
        "removed": {DELETION_COST: mark, KEPT_COST: None},
    }
    assert annotated(planning.costs({}, [changed, removed])) == {
        "changed": {KEPT_COST: None},
        "removed": {KEPT_COST: None},
    }


def test_the_pods_of_a_fleet_that_is_deleted_have_their_own_costs_again() -> None:
    pods = [pod("marked", RELEASED_COST, 100), pod("unseen", 5), pod("other", 9), pod("bare")]
    told = annotated(planning.unmarked({"marked", "unseen", "bare"}, pods))
    assert told == {
        "marked": {DELETION_COST: "100", KEPT_COST: None},
        "unseen": {DELETION_COST: "5", KEPT_COST: None},  # its mark may be written, and not seen
        "bare": {DELETION_COST: None, KEPT_COST: None},
    }


def test_a_pod_is_ended_by_its_own_id_and_not_twice() -> None:
    pods = [pod("a"), pod("b", leaving=True)]
    (write,) = planning.restarts(["a", "b", "c"], pods)
    assert write.request.body == {"preconditions": {"uid": "uid-a"}}


def test_an_overlay_is_written_when_it_says_something_else() -> None:
    present = RoutingOverlay(generation=3, models={"m": DRAINS})
    assert list(planning.overlays(HERE, "m", DRAINS, present)) == []
    assert list(planning.overlays(HERE, "m", ModelOverlay(), None)) == []
    (write,) = planning.overlays(HERE, "m", DRAINS, RoutingOverlay(generation=3))
    body = write.request.body
    assert isinstance(body, dict)
    assert body["spec"]["generation"] == 4
    assert body["spec"]["models"]["m"] == {"draining": ["llama-1"]}  # what is empty becomes null
    assert body["metadata"]["ownerReferences"][0]["uid"] == "u1"
    (gone,) = planning.overlays(HERE, "m", ModelOverlay(), present)
    assert gone.request.method == "DELETE"


def test_gateways_of_another_namespace_get_an_overlay_without_an_owner() -> None:
    (write,) = planning.overlays(ELSEWHERE, "m", DRAINS, None)
    body = write.request.body
    assert isinstance(body, dict)
    assert write.request.path.endswith("/namespaces/gateways/routingoverlays/n.llama")
    assert "ownerReferences" not in body["metadata"]
