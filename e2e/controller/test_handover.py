"""Two operators: one leads; when it goes, the other goes on from what the status remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster


def test_a_second_operator_resumes_without_a_change(world: World) -> None:
    world.deployment(1)
    world.fleet()
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator() as first:
        until(first.leads, "the first to lead")
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.is_said("Ready", "True"), "pods to be ready")
        with world.operator() as second:
            until(lambda: second.url(), "the second to listen")
            assert not second.leads()
            before = world.workload()["metadata"]["generation"]
            told = world.status()["lastDecisions"]
            first.kill()
            until(second.leads, "the second to lead")
            second.ticks(5)
            assert world.workload()["metadata"]["generation"] == before
            assert world.status()["lastDecisions"] == told
            world.page.load(requests=30, uncached=4500, output=1000)
            until(lambda: world.replicas() > 3, "it to grow on")


def test_a_drain_is_gone_on_with(world: World) -> None:
    world.deployment(3)
    world.fleet(replicas=3)
    until(lambda: len(world.names()) == 3, "pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 2.0))
    with world.operator() as first:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.fleet(replicas=2)
        until(lambda: world.overlay().get("draining"), "a drain")
        victims = world.overlay()["draining"]
        until(lambda: "victims" in world.status()["memory"]["drains"], "it to be remembered")
        first.kill()
        with world.operator() as second:
            until(second.leads, "the second to lead")
            second.ticks(4)
            assert world.overlay()["draining"] == victims
            assert world.replicas() == 3
            world.page.in_flight(**dict.fromkeys(victims, 0.0))
            until(lambda: world.replicas() == 2, "the scale to fall")
            until(lambda: len(world.names()) == 2, "a pod to go")
            assert victims[0] not in world.names()
