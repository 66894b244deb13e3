"""A fleet on a real API server grows with its load, shrinks by drains, and says what it does."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
COST = "controller.kubernetes.io/pod-deletion-cost"


def costs(world: World) -> dict[str, str]:
    """Deletion costs by pod, where there are any."""
    annotations = {
        pod["metadata"]["name"]: pod["metadata"].get("annotations", {}) for pod in world.pods()
    }
    return {name: found[COST] for name, found in annotations.items() if COST in found}


def test_a_fleet_grows_with_its_load_and_says_why(world: World) -> None:
    world.deployment(1)
    world.fleet()
    world.page.load(requests=5, uncached=500, output=300)
    with world.operator() as operator:
        until(operator.leads, "it to lead")
        until(lambda: world.is_said("MetricsHealthy", "True"), "metrics")
        assert world.replicas() == 1
        world.page.load(requests=20, uncached=2500, output=1000)
        until(lambda: world.replicas() > 1, "it to grow")
        until(lambda: world.status().get("ready", 0) > 1, "pods to be ready")
        change = world.status()["lastDecisions"][0]
        assert change["reason"]
        assert change["to"] > change["from"]
        assert any(reason == "ScaledUp" for reason, _ in world.events())
        assert operator.end() == 0


def test_a_replica_drains_before_the_scale_falls(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2)
    until(lambda: len(world.names()) == 2, "two pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 3.0))
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.fleet(replicas=1)
        until(lambda: world.overlay().get("draining"), "gateways to be told")
        (victim,) = world.overlay()["draining"]
        until(lambda: victim in costs(world), "its cost")
        operator.ticks(4)
        assert world.replicas() == 2  # three requests run on it
        world.page.in_flight(**{victim: 0.0})
        until(lambda: world.replicas() == 1, "the scale to fall")
        until(lambda: len(world.names()) == 1, "a pod to go")
        assert victim not in world.names()
        until(lambda: not world.overlay(), "gateways to be told otherwise")
        assert not costs(world)
        assert any(reason == "ScaledDown" for reason, _ in world.events())


def test_a_drain_that_does_not_end_has_its_time(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2, drain={"deadlineSeconds": 3})
    until(lambda: len(world.names()) == 2, "two pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 3.0))
    with world.operator():
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.fleet(replicas=1, drain={"deadlineSeconds": 3})
        until(lambda: world.overlay().get("draining"), "gateways to be told")
        until(lambda: world.replicas() == 1, "the scale to fall")


def test_nobody_goes_in_the_middle_of_a_rollout(world: World) -> None:
    """A lower scale would be shared between two templates, and take replicas that serve."""
    world.deployment(4)
    world.fleet(replicas=4, drain={"deadlineSeconds": 0})
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        serving = set(world.names())
        world.keeps_ready = False  # what is new does not start
        template = {"metadata": {"annotations": {"version": "2"}}}
        world.rest.patch(
            world.path("deployments", "llama", "/apis/apps/v1"), {"spec": {"template": template}}
        )
        until(lambda: set(world.names()) - serving, "a new replica")
        world.fleet(replicas=2, drain={"deadlineSeconds": 0})
        until(lambda: world.is_said("ScalingLimited", "True", "RolloutUnderWay"), "it to be said")
        operator.ticks(6)
        assert world.replicas() == 4
        assert len(serving.intersection(world.names())) == 3  # as its own strategy has it
        world.keeps_ready = True
        until(lambda: not serving.intersection(world.names()), "the rollout to end")
        until(lambda: world.replicas() == 2, "the scale to fall")
        until(lambda: world.is_said("ScalingLimited", "False"), "it to be said")


def test_nothing_is_touched_that_belongs_to_nobody_here(world: World) -> None:
    world.deployment(1)
    world.deployment(2, name="other")
    world.fleet()
    until(lambda: world.workload("other").get("status", {}).get("readyReplicas") == 2, "it to be")
    until(lambda: len(world.names()) == 3, "all pods")
    world.page.load(requests=20, uncached=2500, output=1000)
    others = [pod for pod in world.pods() if pod["metadata"]["labels"]["pool"] == "other"]
    before = world.workload("other")["metadata"]["resourceVersion"]
    with world.operator() as operator:
        until(lambda: world.replicas() > 1, "the fleet to grow")
        operator.ticks(3)
    assert world.workload("other")["metadata"]["resourceVersion"] == before
    versions = {pod["metadata"]["name"]: pod["metadata"]["resourceVersion"] for pod in world.pods()}
    assert all(
        versions[pod["metadata"]["name"]] == pod["metadata"]["resourceVersion"] for pod in others
    )


def test_a_fleet_that_is_well_is_written_no_more(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2)
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        operator.ticks(5)
        before = world.found()["metadata"]
        operator.ticks(10)
        assert world.found()["metadata"] == before
        assert before["finalizers"] == ["cardan.dev/controller"]
        assert not before.get("annotations")
