"""Who may view, edit or administer a namespace has as much of a say over its fleets."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import until
from tests.chart.helm import of_kind, render

if TYPE_CHECKING:
    from e2e.controller.world import World

pytestmark = pytest.mark.cluster


def may(world: World, who: str, verb: str, what: str) -> bool:
    """Is that account allowed to, in the world's namespace?"""
    account = f"system:serviceaccount:{world.namespace}:{who}"
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "LocalSubjectAccessReview",
        "metadata": {"namespace": world.namespace},
        "spec": {
            "user": account,
            "resourceAttributes": {
                "namespace": world.namespace,
                "group": "cardan.dev",
                "verb": verb,
                "resource": what.partition("/")[0],
                "subresource": what.partition("/")[2],
            },
        },
    }
    told = world.kubectl("create", "-f", "-", "-o", "json", document=review)
    allowed: bool = json.loads(told)["status"].get("allowed", False)
    return allowed


def test_rights_on_fleets_come_with_those_on_the_namespace(world: World) -> None:
    for role in of_kind(render(), "ClusterRole", "crds"):
        world.apply(role)
    for who in ("view", "edit", "admin"):
        account = f"--serviceaccount={world.namespace}:{who}"
        world.kubectl("create", "rolebinding", who, f"--clusterrole={who}", account)
    until(lambda: may(world, "admin", "delete", "routingoverlays"), "roles to be put together")
    until(lambda: may(world, "edit", "patch", "inferencefleets/scale"), "the same for edit")
    until(lambda: may(world, "view", "get", "inferencefleets"), "the same for view")
    assert not may(world, "view", "patch", "inferencefleets")
    assert may(world, "edit", "create", "inferencefleets")
    assert not may(world, "edit", "patch", "routingoverlays")
    assert not may(world, "admin", "patch", "inferencefleets/status")
    assert not may(world, "nobody", "get", "inferencefleets")
