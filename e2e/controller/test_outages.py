"""An API server that goes and comes back, and one that has forgotten where a watch was."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.test_rights import Account
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


def test_a_kind_that_may_be_read_no_more_keeps_a_fleet_from_shrinking(own_world: World) -> None:
    """A watch that is open goes on without the right to it: the restart ends it."""
    world, account, pods = own_world, Account(own_world), (("pods", "list"), ("pods", "watch"))
    account.lacks()
    world.deployment(2)
    world.fleet(replicas=2)
    with account.operator(lease=world.lease(**PATIENT)) as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        account.lacks(*pods)
        restart(world)
        until(lambda: world.is_said("MetricsHealthy", "False", "ClusterStale"), "it to be said", 90)
        assert "pods is forbidden" in world.condition("MetricsHealthy")["message"]
        world.fleet(replicas=1, drain={"deadlineSeconds": 0})
        until(lambda: world.status().get("observedGeneration") == 2, "a change to be seen")
        operator.ticks(6)
        assert world.replicas() == 2
        world.fleet(replicas=3, drain={"deadlineSeconds": 0})
        until(lambda: world.replicas() == 3, "it to grow")
        account.gets(*pods)
        until(lambda: world.is_said("MetricsHealthy", "True"), "it to be well again")
        world.fleet(replicas=1, drain={"deadlineSeconds": 0})
        until(lambda: world.replicas() == 1, "it to shrink")
