"""What is written in which order, what a failure holds up, and what is told of it."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.instants import WallTime
from cardan_controller.wakes import WakeRequest
from cardan_kube.reflector import Fault

from tests.controller.scene import Scene

KEY = ("n", "llama")
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]
AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}


@pytest.mark.parametrize("fault", [Fault.INVALID, Fault.FORBIDDEN, Fault.TIMEOUT])
async def test_a_fleet_wakes_and_grows_though_gateways_cannot_be_told(fault: Fault) -> None:
    scene = Scene(replicas=0)
    scene.fleet(policies=THROUGHPUT, scaleToZero={"idleSeconds": 600}, pool={"minReplicas": 0})
    scene.api.refuse["routingoverlays"] = fault
    scene.load(0.0, 0.0)
    await scene.tick()
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.5))
    await scene.tick(1.0, only=[KEY])
    assert scene.replicas["llama"] == 1
    assert "ScaledUp" in told_events(scene)


async def test_a_scale_that_cannot_grow_keeps_nothing_else_from_being_written() -> None:
    scene = Scene(replicas=0)
    scene.fleet(policies=THROUGHPUT, scaleToZero={"idleSeconds": 600}, pool={"minReplicas": 0})
    scene.api.refuse["scale"] = Fault.FORBIDDEN
    scene.load(0.0, 0.0)
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.5))
    await scene.tick(1.0)
    assert scene.replicas["llama"] == 0
    assert scene.overlays["n/llama"].models["m"].dormant is not None
    assert "ScaledUp" not in told_events(scene)
    scene.api.refuse.clear()
    await scene.tick(1.0)
    assert scene.replicas["llama"] == 1
    assert told_events(scene).count("ScaledUp") == 1


async def test_who_cannot_begin_to_drain_is_not_told_of_as_scaled_down() -> None:
    scene = Scene(replicas=3)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.api.refuse["routingoverlays"] = Fault.INVALID
    for _ in range(4):
        scene.load(5.0, 900.0)
        await scene.tick()
    assert scene.replicas["llama"] == 3
    assert "ScaledDown" not in told_events(scene)
    scene.api.refuse.clear()
    await scene.tick()
    assert told_events(scene).count("ScaledDown") == 1


def told_events(scene: Scene) -> list[str]:
    """The reasons of all events."""
    bodies: list[Any] = [request.body for request in scene.api.written("events")]
    return [body["reason"] for body in bodies]


async def test_a_woken_fleet_is_awake_though_gateways_cannot_be_told() -> None:
    scene = Scene(replicas=0)
    scene.fleet(policies=THROUGHPUT, scaleToZero={"idleSeconds": 600}, pool={"minReplicas": 0})
    scene.api.refuse["routingoverlays"] = Fault.INVALID
    scene.load(0.0, 0.0)
    await scene.tick()
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.5))
    await scene.tick(1.0, only=[KEY])
    assert scene.wakes.requested_at("n", "m", scene.now) is None


async def test_who_carries_out_what_is_recommended_is_not_told_of_as_a_hand_at_the_scale() -> None:
    scene = Scene(replicas=1)
    wins = {"cardan.dev/manual-scale-wins": "true"}
    spec: dict[str, Any] = {"policies": THROUGHPUT, "behavior": IMPATIENT, "annotations": wins}
    scene.fleet(mode="Recommend", **spec)
    for replicas in (1, 3, 2, 3):
        scene.replicas["llama"], scene.writers["llama"] = replicas, ("kube-controller-manager",)
        scene.load(5.0, 2500.0)
        await scene.tick()
        assert scene.ticker.decisions[KEY].pools[0].desired == 3
    assert "ChangedByHand" not in told_events(scene)
    assert all("manual" not in pool for pool in told_pools(scene))
    scene.fleet(mode="Apply", **spec)
    await scene.tick()
    assert "ChangedByHand" not in told_events(scene)
    scene.replicas["llama"] = 5
    await scene.tick()
    assert "ChangedByHand" in told_events(scene)
    scene.fleet(mode="Recommend", **spec)
    await scene.tick()
    assert all("manual" not in pool for pool in told_pools(scene))


async def test_requests_wait_for_a_fleet_that_others_wake_as_is_recommended() -> None:
    scene = Scene(replicas=0)
    zero = {"idleSeconds": 600}
    pool = {"minReplicas": 0}
    scene.fleet(mode="Recommend", policies=THROUGHPUT, scaleToZero=zero, pool=pool)
    scene.load(0.0, 0.0)
    await scene.tick()
    assert scene.overlays["n/llama"].models["m"].dormant is not None
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.5))
    for _ in range(3):  # until somebody has done it
        await scene.tick(1.0, only=[KEY])
        assert scene.ticker.decisions[KEY].pools[0].desired == 1
    scene.replicas["llama"] = 1
    await scene.tick(1.0, only=[KEY])
    assert scene.wakes.requested_at("n", "m", scene.now) is None
    await scene.tick()
    assert not scene.overlays
    assert not scene.api.written("scale")


def told_pools(scene: Scene) -> list[dict[str, Any]]:
    """The pools as they were told last."""
    told: Any = scene.api.written("status")[-1].body
    return list(told["status"]["pools"])


async def test_another_operator_at_the_same_fleet_is_noticed() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    for _ in range(3):
        scene.load(5.0, 2500.0)
        await scene.tick()
    assert scene.replicas["llama"] == 3
    assert "ChangedByHand" not in told_events(scene)
    scene.replicas["llama"] = 4  # not by us, and in our name
    await scene.tick()
    assert "ChangedByHand" in told_events(scene)
    assert told_pools(scene)[0]["manual"] == "another cardan-controller"


async def test_what_who_led_before_has_written_last_is_not_another_operators() -> None:
    scene = Scene(replicas=5)
    status = {"pools": [{"name": "main", "current": 2, "desired": 3}]}
    scene.writers["llama"] = ("cardan-controller",)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT, status=status)
    scene.load(5.0, 4500.0)
    await scene.tick()
    assert "ChangedByHand" not in told_events(scene)


async def test_a_write_that_was_refused_and_made_all_the_same_is_ours() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.refuse["scale"] = Fault.REFUSED  # an API server whose etcd is slow
    await scene.tick()
    scene.replicas["llama"], scene.writers["llama"] = 3, ("cardan-controller",)
    await scene.tick()
    assert "ChangedByHand" not in told_events(scene)
