"""Replicas that do not come: nothing is asked for again and again, and the shortage is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
NO_NODE = {
    "type": "PodScheduled",
    "status": "False",
    "reason": "Unschedulable",
    "message": "0/3 nodes are available: 3 Insufficient nvidia.com/gpu.",
}


def test_pods_without_a_node_are_told_and_not_doubled(world: World) -> None:
    world.deployment(1)
    world.fleet()
    until(lambda: len(world.names()) == 1, "a pod")
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.keeps_ready = False
        world.page.load(requests=20, uncached=2500, output=1000)
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: len(world.names()) == 3, "the pods")
        for pod in world.pods():
            if not pod.get("status", {}).get("podIP"):
                world.tell(pod["metadata"]["name"], "Pending", "", NO_NODE)
        until(lambda: world.is_said("CapacityAvailable", "False"), "the shortage")
        assert "nvidia.com/gpu" in world.condition("CapacityAvailable")["message"]
        operator.ticks(8)
        assert world.replicas() == 3
        assert any(reason == "InsufficientCapacity" for reason, _ in world.events())


def test_a_quota_is_told_and_nothing_runs_away(world: World) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}}
    world.create({**quota, "spec": {"hard": {"pods": "3"}}})  # a gateway and two engines
    world.deployment(1)
    world.fleet()
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.page.load(requests=40, uncached=4500, output=1000)
        until(lambda: world.is_said("CapacityAvailable", "False"), "the shortage")
        assert "exceeded quota" in world.condition("CapacityAvailable")["message"]
        asked = world.replicas()
        assert asked <= 5
        operator.ticks(8)
        assert world.replicas() <= asked
        assert len(world.names()) == 2
