"""Who else has a say: autoscalers, people at the scale, owners, and who only wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from cardan_controller.pb.keda import externalscaler_pb2 as pb
from cardan_controller.pb.keda import externalscaler_pb2_grpc as pb_grpc

from e2e.controller.world import until

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
AT_ONCE = {"deadlineSeconds": 0}  # nobody tells what runs on engines
WINS = {"cardan.dev/manual-scale-wins": "true"}


def scale(world: World, replicas: int) -> None:
    """What a person does."""
    world.kubectl("scale", "deployment", "llama", f"--replicas={replicas}")


def test_a_fleet_whose_target_another_scales_is_refused(world: World) -> None:
    world.deployment(1)
    target = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "llama"}
    world.create(
        {
            "apiVersion": "autoscaling/v2",
            "kind": "HorizontalPodAutoscaler",
            "metadata": {"name": "old"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 4},
        }
    )
    world.fleet()
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator() as operator:
        until(lambda: world.is_said("Conflict", "True"), "the conflict")
        assert "HorizontalPodAutoscaler old" in world.condition("Conflict")["message"]
        operator.ticks(6)
        assert world.replicas() == 1
        assert any(reason == "AnotherScaler" for reason, _ in world.events())
        world.kubectl("delete", "hpa", "old")
        until(lambda: world.replicas() == 3, "it to grow")
        until(lambda: world.is_said("Conflict", "False"), "it to be said")


def test_a_scale_that_was_changed_by_hand_is_noticed_and_corrected(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2, drain=AT_ONCE)
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        operator.ticks(1)
        scale(world, 5)
        until(lambda: any(r == "ChangedByHand" for r, _ in world.events()), "it to be noticed")
        assert any("kubectl has set 5" in note for _, note in world.events())
        until(lambda: world.replicas() == 2, "it to be corrected")


def test_the_annotation_lets_a_change_by_hand_stand(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2, annotations=WINS, drain=AT_ONCE)
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        operator.ticks(1)
        scale(world, 4)
        until(lambda: world.is_said("ScalingActive", "False", "ChangedByHand"), "it to stand")
        assert "kubectl has scaled main" in world.condition("ScalingActive")["message"]
        operator.ticks(4)
        assert world.replicas() == 4
    with world.operator() as operator:  # and another operator knows of it
        until(operator.leads, "it to lead")
        operator.ticks(6)
        assert world.replicas() == 4
        world.fleet(replicas=2, drain=AT_ONCE)
        until(lambda: world.replicas() == 2, "it to be corrected")


def test_a_fleet_that_is_paused_is_left_alone(world: World) -> None:
    world.deployment(1)
    world.fleet(paused=True)
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator() as operator:
        until(lambda: world.is_said("ScalingActive", "False", "Paused"), "it to be said")
        until(lambda: world.status()["desired"] == 3, "what would be")
        operator.ticks(4)
        assert world.replicas() == 1
        scale(world, 2)
        operator.ticks(4)
        assert world.replicas() == 2
        world.fleet(paused=False)
        until(lambda: world.replicas() == 3, "it to grow")


def test_who_only_recommends_writes_nothing_and_keda_is_told(world: World) -> None:
    world.deployment(1)
    world.fleet(mode="Recommend", scaleToZero={"idleSeconds": 600}, pool={"minReplicas": 0})
    world.page.load(requests=20, uncached=2500, output=1000)
    socket = f"unix:{world.folder}/keda"
    with world.operator(keda=socket) as operator, grpc.insecure_channel(socket) as channel:
        until(lambda: world.status().get("desired") == 3, "a recommendation")
        operator.ticks(4)
        before = world.workload()["metadata"]["resourceVersion"]
        stub = pb_grpc.ExternalScalerStub(channel)
        ref = pb.ScaledObjectRef(
            name="keda", namespace=world.namespace, scalerMetadata={"fleet": "llama"}
        )
        metrics = stub.GetMetrics(pb.GetMetricsRequest(scaledObjectRef=ref), timeout=20)
        assert [one.metricValueFloat for one in metrics.metricValues] == [3.0]
        operator.ticks(4)
        assert world.workload()["metadata"]["resourceVersion"] == before
        assert world.replicas() == 1
        assert not world.overlay()
        assert any(reason == "Recommended" for reason, _ in world.events())


def test_what_cannot_be_decided_by_is_told(world: World) -> None:
    window = {"start": "0 8 * * *", "end": "0 20 * * *", "timezone": "Mars/Olympus"}
    policy = {"type": "schedule", "schedule": {"windows": [{**window, "minReplicas": 2}]}}
    world.deployment(1)
    world.fleet(policies=[policy])
    with world.operator() as operator:
        until(lambda: world.is_said("SpecValid", "False", "Invalid"), "it to be said")
        assert "Mars/Olympus" in world.condition("SpecValid")["message"]
        operator.ticks(3)
        assert world.replicas() == 1
        world.fleet(replicas=2)
        until(lambda: world.replicas() == 2, "a good one to be acted on")
        until(lambda: world.is_said("SpecValid", "True"), "it to be said")


def test_a_fleet_that_is_deleted_leaves_nothing_behind(world: World) -> None:
    world.deployment(2)
    world.fleet(replicas=2)
    until(lambda: len(world.names()) == 2, "two pods")
    world.page.in_flight(**dict.fromkeys(world.names(), 3.0))
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        assert world.found()["metadata"]["finalizers"] == ["cardan.dev/controller"]
        world.fleet(replicas=1)
        until(lambda: world.overlay().get("draining"), "an overlay")
        world.kubectl("delete", "fleet", "llama", "--wait=false")
        until(lambda: not world.found(), "it to be gone")
        assert not world.overlay()
        operator.ticks(4)
        assert not world.overlay()
        assert world.replicas() == 2
