"""Whatever has a scale is scaled: a StatefulSet, and a custom resource like LeaderWorkerSet."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import LABELS, until

if TYPE_CHECKING:
    from e2e.controller.rest import Document
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster
SETS_NAME = "groupsets.e2e.cardan.dev"
SETS = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": SETS_NAME},
    "spec": {
        "group": "e2e.cardan.dev",
        "scope": "Namespaced",
        "names": {"plural": "groupsets", "singular": "groupset", "kind": "GroupSet"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "x-kubernetes-preserve-unknown-fields": True,
                    }
                },
                "subresources": {
                    "status": {},
                    "scale": {
                        "specReplicasPath": ".spec.replicas",
                        "statusReplicasPath": ".status.replicas",
                        "labelSelectorPath": ".status.hpaPodSelector",
                    },
                },
            }
        ],
    },
}


def target(**ref: str) -> Document:
    """A pool's part that names it."""
    return {"scaleTargetRef": {**ref, "name": "llama"}}


def test_a_stateful_set_shrinks_by_its_highest_ordinal(world: World) -> None:
    world.deployment(3, kind="StatefulSet")
    world.fleet(replicas=3, pool=target(kind="StatefulSet"))
    until(lambda: world.names() == ["llama-0", "llama-1", "llama-2"], "three pods")
    world.page.in_flight(**{"llama-0": 0.0, "llama-1": 0.0, "llama-2": 2.0})
    with world.operator() as operator:
        until(lambda: world.is_said("Ready", "True"), "a fleet that is well")
        world.fleet(replicas=2, pool=target(kind="StatefulSet"))
        until(lambda: world.overlay().get("draining") == ["llama-2"], "its last pod to drain")
        operator.ticks(4)
        assert world.replicas(kind="statefulsets") == 3
        world.page.in_flight(**{"llama-2": 0.0})
        until(lambda: world.replicas(kind="statefulsets") == 2, "the scale to fall")


def test_a_custom_resource_is_scaled_by_its_scale(world: World) -> None:
    world.apply(SETS)
    world.kubectl("wait", "--for=condition=Established", "--timeout=60s", f"crd/{SETS_NAME}")
    kind = {"apiVersion": "e2e.cardan.dev/v1", "kind": "GroupSet"}
    world.create({**kind, "metadata": {"name": "llama"}, "spec": {"replicas": 1, "size": 4}})
    group = "/apis/e2e.cardan.dev/v1"
    path = world.path("groupsets", "llama", group)
    status: Document = {"replicas": 1, "hpaPodSelector": f"app={LABELS['app']},role=leader"}
    world.rest.patch(f"{path}/status", {"status": status})
    world.fleet(pool=target(**kind))
    world.page.load(requests=20, uncached=2500, output=1000)
    with world.operator():
        until(lambda: world.rest.get(path)["spec"]["replicas"] == 3, "it to grow")
        assert world.rest.get(path)["spec"]["size"] == 4
        assert world.status()["selector"] == "app in (llama),role in (leader)"
        status |= {"replicas": 3, "updatedReplicas": 1}
        world.rest.patch(f"{path}/status", {"status": status})
        world.page.load(requests=5, uncached=500, output=300)
        until(lambda: world.is_said("ScalingLimited", "True", "RolloutUnderWay"), "its rollout")
        assert world.rest.get(path)["spec"]["replicas"] == 3


def test_a_target_that_is_not_there_is_told(world: World) -> None:
    world.fleet(pool=target(apiVersion="nowhere.dev/v1", kind="Ghost"))
    with world.operator():
        until(lambda: world.is_said("AbleToScale", "False", "TargetError"), "it to be said")
        assert "Ghost" in world.condition("AbleToScale")["message"]
