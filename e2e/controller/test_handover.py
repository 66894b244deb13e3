"""Two operators: one leads; when it goes, the other goes on from what the status remembers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.rest import Document
    from e2e.controller.world import Operator, World

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


def test_of_two_operators_with_a_lease_each_one_keeps_the_fleet(world: World) -> None:
    own, another = (world.lease() | {"name": name} for name in ("own", "another"))
    world.deployment(1)
    world.fleet()
    world.page.load(requests=20, uncached=2500, output=1000)

    def kept_by(lease: Document) -> bool:
        return bool(world.status().get("operator") == f"{world.namespace}/{lease['name']}")

    with world.operator(lease=own) as first:
        until(lambda: world.replicas() == 3 and kept_by(own), "it to grow")
        with world.operator(lease=another) as second:
            until(lambda: stands_back(second), "the second to stand back")
            until(
                lambda: any(reason == "KeptElsewhere" for reason, _ in world.events()),
                "the second to have seen the first at work, and say so",
            )
            world.page.load(requests=30, uncached=4500, output=1000)
            until(lambda: world.replicas() == 5, "the first to act")
            assert kept_by(own)
            assert first.end() == 0
            until(lambda: kept_by(another), "the second to take it over")
            world.page.load(requests=40, uncached=6500, output=1000)
            until(lambda: world.replicas() == 7, "the second to act")
            with world.operator(lease=own) as back:
                until(lambda: stands_back(back), "who comes back to stand back")
                assert kept_by(another)
                assert not stands_back(second)


def stands_back(operator: Operator) -> bool:
    """From the one fleet that there is, while it leads."""
    return operator.leads() and operator.metric("cardan_controller_fleets_elsewhere") == 1
