"""Fleets that go on a real API server: what they have left is taken back, and nobody haunts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.test_scaling import costs
from e2e.controller.world import GROUP, until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster


def test_a_fleet_that_is_deleted_in_the_middle_of_a_drain_leaves_no_marks(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2)
    until(lambda: len(world.names()) == 2, "two pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 3.0))
    with world.operator():
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.fleet(replicas=1)
        until(lambda: costs(world) and world.overlay().get("draining"), "a drain")
        world.kubectl("delete", "fleet", "llama", "--timeout=30s")
        assert not world.found()
        assert not costs(world)
        assert not world.overlay()
        assert world.replicas() == 2


def test_a_fleet_made_anew_under_its_name_is_looked_after_as_itself(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2)
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.rest.patch(
            world.path("inferencefleets", "llama", GROUP), {"metadata": {"finalizers": None}}
        )
        world.rest.delete(world.path("inferencefleets", "llama", GROUP))
        world.fleet(replicas=3)
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.is_said("Ready", "True"), "it to be well")
        until(lambda: world.found()["metadata"].get("finalizers"), "it to be ours")
        world.kubectl("delete", "fleet", "llama", "--timeout=30s")
        operator.ticks(3)
        assert operator.metric("cardan_controller_fleets") == 0
