"""A fleet on a real API server: it grows with its load, and what it does it explains."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.conftest import until

if TYPE_CHECKING:
    from e2e.controller.conftest import World

pytestmark = pytest.mark.cluster


def test_a_fleet_grows_with_its_load_and_says_why(world: World) -> None:
    world.deployment(1)
    policies = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]
    world.fleet(policies=policies, forecast={"enabled": False})
    world.page.load(requests=5, uncached=500, output=300)
    with world.operator() as operator:
        until(operator.leads, "it to lead")
        until(lambda: world.condition("MetricsHealthy").get("status") == "True", "metrics")
        assert world.replicas() == 1
        world.page.load(requests=20, uncached=2500, output=1000)
        until(lambda: world.replicas() > 1, "it to grow")
        until(lambda: world.status().get("ready", 0) > 1, "pods to be ready")
        change = world.status()["lastDecisions"][0]
        assert change["reason"]
        assert change["to"] > change["from"]
        assert any(reason == "ScaledUp" for reason, _ in world.events())
        assert operator.end() == 0
