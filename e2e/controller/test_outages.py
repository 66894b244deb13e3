"""An API server that goes and comes back, and one that has forgotten where a watch was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
# Longer than the outage: who leads leads on.
PATIENT = {"duration_s": 90.0, "renew_deadline_s": 60.0, "retry_s": 1.0}


def restart(world: World, *, compacted: bool = False) -> None:
    """Take the API server away and bring it back."""
    world.api.stop("api-server")
    if compacted:
        world.api.compact()
    world.api.start("api-server")


@pytest.mark.parametrize("compacted", [False, True])
def test_an_operator_goes_on_after_an_outage(own_world: World, compacted: bool) -> None:
    world = own_world
    world.deployment(1)
    world.fleet()
    world.page.load(requests=5, uncached=500, output=300)
    with world.operator(lease=world.lease(**PATIENT)) as operator:
        until(operator.leads, "it to lead")
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        restart(world, compacted=compacted)
        world.page.load(requests=20, uncached=2500, output=1000)
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.status().get("ready") == 3, "new pods to be seen")
        world.fleet(replicas=2)
        until(lambda: world.status().get("observedGeneration") == 2, "a change to be seen")
        assert operator.leads()


def test_who_cannot_renew_its_lease_ends(own_world: World) -> None:
    world = own_world
    world.deployment(1)
    world.fleet()
    with world.operator(lease=world.lease(duration_s=4, renew_deadline_s=2)) as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.api.stop("api-server")
        try:
            assert operator.process.wait(60) == 1
        finally:
            world.api.start("api-server")
        assert "the lease is lost" in operator.output()
