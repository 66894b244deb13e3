"""A LeaderWorkerSet is scaled by its own scale subresource, a group of pods at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller import lws
from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
GROUP = f"/apis/{lws.API_VERSION}"
POOL = {"scaleTargetRef": {"apiVersion": lws.API_VERSION, "kind": lws.KIND, "name": "llama"}}
SIZE = 2


class Groups:
    """A LeaderWorkerSet whose controller is the test."""

    def __init__(self, world: World, replicas: int) -> None:
        self.world = world
        world.apply(lws.DEFINITION)
        world.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{lws.CRD}")
        world.create(lws.groups("llama", replicas, SIZE))
        self.made = 0
        self.follow()

    @property
    def path(self) -> str:
        return self.world.path(lws.PLURAL, "llama", GROUP)

    @property
    def replicas(self) -> int:
        """What its scale asks for."""
        count: int = self.world.rest.get(f"{self.path}/scale")["spec"]["replicas"]
        return count

    def follow(self) -> None:
        """What its controller does: groups are made, and those of the highest ordinals go."""
        wanted = self.replicas
        for group in range(max(self.made, wanted)):
            for worker in range(SIZE):
                pod = lws.pod("llama", group, worker)
                if group >= wanted:
                    self.world.rest.delete(self.world.path("pods", pod["metadata"]["name"]))
                elif group >= self.made:
                    self.world.create(pod)
        self.made = wanted
        status = {"replicas": wanted, "hpaPodSelector": lws.selector("llama")}
        self.world.rest.patch(f"{self.path}/status", {"status": status})


def test_a_leader_worker_set_grows_and_shrinks_by_groups(world: World) -> None:
    groups = Groups(world, 1)
    world.fleet(pool=POOL)
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator() as operator:
        until(lambda: groups.replicas == 3, "it to grow")
        groups.follow()
        until(lambda: world.is_said("Ready", "True", "AllReady"), "leaders to be ready")
        assert world.status()["ready"] == 3  # six pods, three of which are leaders
        assert len(world.names()) == 3 * SIZE
        world.page.in_flight(**{"llama-0": 0.0, "llama-1": 0.0, "llama-2": 4.0})
        world.page.load(requests=8, uncached=1500, output=400)
        until(lambda: world.overlay().get("draining") == ["llama-2"], "the last group to drain")
        operator.ticks(4)
        assert groups.replicas == 3  # it has work to finish
        world.page.in_flight(**{"llama-2": 0.0})
        until(lambda: groups.replicas == 2, "the scale to fall")
        groups.follow()
        until(lambda: world.is_said("Ready", "True"), "it to be well")
        spec = world.rest.get(groups.path)["spec"]
        assert spec["leaderWorkerTemplate"]["size"] == SIZE


def test_no_pod_is_its_own_before_its_controller_says_which(world: World) -> None:
    groups = Groups(world, 2)
    world.rest.patch(f"{groups.path}/status", {"status": {"hpaPodSelector": None}})
    world.fleet(pool=POOL, replicas=2)
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "False", "ReplicasNotReady"), "it to be said")
        operator.ticks(2)
        assert "ready" not in world.status()["pools"][0]
        groups.follow()
        until(lambda: world.is_said("Ready", "True"), "its leaders to be known")
        assert world.status()["ready"] == groups.replicas == 2
