"""A target that cannot be read for a moment is what it was; one that is gone is gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cardan_controller.cluster.scales import REFUSED_S, REMEMBERED_S, Scales
from cardan_controller.cluster.selectors import parse
from cardan_controller.cluster.targets import TargetFacts, TargetRef
from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_kube.api import Request

REF = TargetRef("n", "leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet", "big")
KINDS = {
    "resources": [
        {"name": "leaderworkersets", "kind": "LeaderWorkerSet", "namespaced": True},
        {"name": "leaderworkersets/scale", "kind": "Scale", "namespaced": True},
    ]
}
SCALE = {
    "metadata": {"resourceVersion": "7"},
    "spec": {"replicas": 3},
    "status": {"selector": "a=b"},
}


class Server:
    """Answers, or fails as a test says."""

    def __init__(self) -> None:
        self.fault: Fault | None = None

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        del query
        if not path.endswith("/scale"):
            return json.dumps(KINDS).encode()
        if self.fault is not None:
            raise ApiError(self.fault, "not now")
        return json.dumps(SCALE).encode()

    async def send(self, request: Request) -> bytes:
        """Nothing is written here."""
        raise AssertionError(request)


async def test_a_refusal_says_who_gives_the_right() -> None:
    server = Server()
    server.fault = Fault.FORBIDDEN
    scales = Scales(server, lambda: 0.0)
    await scales.refresh([REF])
    found = scales.target(REF, None)
    assert isinstance(found, str)
    assert "controller.extraTargets" in found


@pytest.mark.parametrize(
    ("labels", "refused"),
    [
        ("app.kubernetes.io/name=cardan,app.kubernetes.io/component=router", True),
        ("app.kubernetes.io/name=cardan,app.kubernetes.io/component=controller", True),
        ("app.kubernetes.io/name=cardan,app.kubernetes.io/component=engine", False),
        ("app.kubernetes.io/name=vllm,app.kubernetes.io/component=router", False),
        ("app=llama", False),
    ],
)
def test_gateways_and_the_operator_are_nobodys_to_scale(labels: str, refused: bool) -> None:
    scales = Scales(Server(), lambda: 0.0)
    ref = TargetRef("n", "apps/v1", "Deployment", "cardan-router")
    found = scales.target(ref, TargetFacts(replicas=2, selector=parse(labels)))
    assert isinstance(found, str) is refused
    if isinstance(found, str):
        assert found == "the Deployment cardan-router is Cardan's own: fleets scale engines"


@pytest.mark.parametrize(
    ("fault", "after_s", "known"),
    [
        (Fault.TIMEOUT, 15.0, True),
        (Fault.OVERLOADED, REMEMBERED_S, True),
        (Fault.TIMEOUT, REMEMBERED_S + 1, False),
        (Fault.NOT_FOUND, 15.0, False),
    ],
)
async def test_a_scale_that_cannot_be_read(fault: Fault, after_s: float, known: bool) -> None:
    server, now = Server(), [100.0]
    scales = Scales(server, lambda: now[0])
    await scales.refresh([REF])
    first = scales.target(REF, None)
    assert not isinstance(first, str)
    assert first[0].replicas == 3
    server.fault, now[0] = fault, 100.0 + after_s
    await scales.refresh([REF])
    assert (scales.target(REF, None) == first) is known


# Rollouts of kinds that nobody watches

CLONES = TargetRef("n", "apps.kruise.io/v1alpha1", "CloneSet", "llama")
CLONE_KINDS = {
    "resources": [
        {"name": "clonesets", "kind": "CloneSet", "namespaced": True},
        {"name": "clonesets/scale", "kind": "Scale", "namespaced": True},
    ]
}


class Clones:
    """A CloneSet with this status; `fault` refuses it, and leaves its scale."""

    def __init__(self, **status: Any) -> None:
        self.status = status
        self.fault: Fault | None = None
        self.asked = 0
        self.now = 0.0
        self.scales = Scales(self, lambda: self.now)

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        assert not query
        if path.endswith("/scale"):
            return json.dumps(SCALE).encode()
        if not path.endswith("/namespaces/n/clonesets/llama"):
            return json.dumps(CLONE_KINDS).encode()
        self.asked += 1
        if self.fault is not None:
            raise ApiError(self.fault, "not now")
        return json.dumps({"metadata": {"generation": 7}, "status": self.status}).encode()

    async def send(self, request: Request) -> bytes:
        """Nothing is written here."""
        raise AssertionError(request)

    async def rollout(self, after_s: float = 15.0) -> str:
        """How far it has come, by the next reading."""
        self.now += after_s
        await self.scales.refresh([CLONES])
        found = self.scales.target(CLONES, None)
        assert not isinstance(found, str)
        return found[1].rollout


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (
            {"observedGeneration": 7, "replicas": 4, "updatedReplicas": 1},
            "1 of 4 replicas are of its newest template",
        ),
        ({"observedGeneration": 6}, "what has changed of it has not been looked at"),
        ({"observedGeneration": "6"}, "what has changed of it has not been looked at"),
        ({"observedGeneration": 7, "replicas": 4, "updatedReplicas": 4}, ""),
        ({"observedGeneration": "5f4dcc3b", "replicas": 4, "updatedReplicas": 4}, ""),
        ({"replicas": 4}, ""),
        ({"updatedReplicas": 1}, ""),
        ({"replicas": "four", "updatedReplicas": 1}, ""),
        ({}, ""),
    ],
)
async def test_a_rollout_is_seen_where_a_kind_tells_of_it(
    status: dict[str, Any], told: str
) -> None:
    assert await Clones(**status).rollout() == told


async def test_what_may_not_be_read_has_no_rollout_and_is_asked_for_seldom() -> None:
    clones = Clones(replicas=4, updatedReplicas=1)
    clones.fault = Fault.FORBIDDEN
    assert [await clones.rollout() for _ in range(3)] == ["", "", ""]
    assert clones.asked == 1
    clones.fault = None
    assert await clones.rollout(REFUSED_S) == "1 of 4 replicas are of its newest template"


async def test_a_rollout_that_cannot_be_asked_for_now_is_what_it_was() -> None:
    clones = Clones(replicas=4, updatedReplicas=1)
    told = await clones.rollout()
    clones.fault = Fault.TIMEOUT
    assert await clones.rollout() == told != ""
