"""Orders become requests where something is to be different, and only there."""

from __future__ import annotations

from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.scaling.drain import DRAINING_COST
from cardan_controller import planning
from cardan_controller.cluster.pods import DELETION_COST, PodFacts
from cardan_controller.planning import Home, Scaling

HERE = Home("n", "llama", "u1", "n")
ELSEWHERE = Home("n", "llama", "u1", "gateways")
DRAINS = ModelOverlay(draining=(EndpointId("llama-1"),))


def pod(name: str, cost: int | None = None, *, leaving: bool = False) -> PodFacts:
    """A pod with a deletion cost."""
    now = WallTime(0.0)
    return PodFacts(name, "n", f"uid-{name}", {}, now, now, leaving=leaving, deletion_cost=cost)


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
    told = {
        write.request.path.rsplit("/", 1)[1]: write.request.body
        for write in planning.costs(wanted, pods)
    }
    assert told == {
        "new": {"metadata": {"annotations": {DELETION_COST: str(DRAINING_COST)}}},
        "ours": {"metadata": {"annotations": {DELETION_COST: None}}},
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
