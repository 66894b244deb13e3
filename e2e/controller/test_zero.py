"""A fleet sleeps when nobody asks, and wakes when a gateway says that somebody does."""

from __future__ import annotations

import json
import urllib.request
from typing import TYPE_CHECKING

import pytest

from e2e.controller.pages import MODEL
from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import Operator, World

pytestmark = pytest.mark.cluster
# So long that no tick is what wakes a fleet.
SELDOM_S = 600.0


def sleepy(world: World) -> None:
    """A fleet that may sleep."""
    world.fleet(scaleToZero={"idleSeconds": 3}, pool={"minReplicas": 0})


def push(world: World, operator: Operator) -> int:
    """What a gateway says that holds a request; the answer's status."""
    body = json.dumps({"namespace": world.namespace, "model": MODEL}).encode()
    request = urllib.request.Request(f"{operator.url()}/v1/wake", data=body)
    with urllib.request.urlopen(request, timeout=20) as answer:
        status: int = answer.status
        return status


def test_a_fleet_that_nobody_asks_sleeps_and_gateways_hold_for_it(world: World) -> None:
    world.deployment(1)
    sleepy(world)
    until(lambda: len(world.names()) == 1, "a pod")
    world.page.in_flight(**dict.fromkeys(world.names(), 0.0))
    world.page.load(requests=5, uncached=500, output=300)
    with world.operator(wake_url="http://operator:8080/v1/wake") as operator:
        until(lambda: world.is_said("Ready", "True", "AllReady"), "a fleet that is well")
        operator.ticks(8)
        assert world.replicas() == 1  # somebody asks
        world.page.load(requests=0, uncached=0, output=0)
        until(lambda: world.replicas() == 0, "it to sleep")
        until(lambda: world.overlay().get("dormant"), "gateways to be told")
        assert world.overlay()["dormant"]["wakeUrl"] == "http://operator:8080/v1/wake"
        until(lambda: world.is_said("Ready", "True", "Asleep"), "it to be said")
        world.page.held(2)
        until(lambda: world.replicas() == 1, "a tick to see who waits")


def test_a_push_wakes_a_fleet_without_a_tick(world: World) -> None:
    world.deployment(0)
    sleepy(world)
    with world.operator(tick_s=SELDOM_S) as operator:
        until(operator.leads, "it to lead")
        until(lambda: world.overlay().get("dormant"), "gateways to be told")
        assert push(world, operator) == 202
        until(lambda: world.replicas() == 1, "it to wake")
        until(lambda: world.overlay().get("dormant"), "gateways to hold on")


def test_a_push_is_heard_while_prometheus_is_silent(world: World) -> None:
    world.deployment(0)
    sleepy(world)
    silent = {"prometheus": {"url": "http://127.0.0.1:9", "timeout_s": 60}}
    with world.operator(tick_s=SELDOM_S, metrics=silent) as operator:
        until(operator.leads, "it to lead")
        until(lambda: world.status(), "the fleet to be known")
        assert push(world, operator) == 202
        until(lambda: world.replicas() == 1, "it to wake")
