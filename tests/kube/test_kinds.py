"""A kind's path is the server's word, asked for once, and again while there is no such kind."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cardan_kube.api import ApiError
from cardan_kube.kinds import ASK_AGAIN_S, Kind, Kinds, read_kinds
from cardan_kube.reflector import Fault
from cardan_kube.writing import Collection

if TYPE_CHECKING:
    from collections.abc import Mapping

APPS = {
    "kind": "APIResourceList",
    "groupVersion": "apps/v1",
    "resources": [
        {"name": "deployments", "singularName": "deployment", "kind": "Deployment"},
        {"name": "deployments/scale", "kind": "Scale", "group": "autoscaling", "version": "v1"},
        {"name": "deployments/status", "kind": "Deployment"},
        {"name": "daemonsets", "kind": "DaemonSet"},
        {"name": "odd", "kind": "Odd", "namespaced": False},
    ],
}


class Server:
    """Answers discovery, and counts how often it is asked."""

    def __init__(self) -> None:
        self.known: dict[str, Any] = {"/apis/apps/v1": APPS}
        self.asked: list[str] = []
        self.now = 0.0

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        self.asked.append(path)
        if path not in self.known:
            raise ApiError(Fault.NOT_FOUND, "no such version")
        found = self.known[path]
        return found if isinstance(found, bytes) else json.dumps(found).encode()

    def kinds(self) -> Kinds:
        return Kinds(self, lambda: self.now)


def test_only_what_has_a_scale_is_scalable() -> None:
    kinds = read_kinds(json.dumps(APPS).encode(), "apps/v1")
    assert kinds["Deployment"] == Kind(Collection("apps", "v1", "deployments"), True, True)
    assert not kinds["DaemonSet"].scalable
    assert not kinds["Odd"].namespaced
    assert set(kinds) == {"Deployment", "DaemonSet", "Odd"}


async def test_a_version_is_asked_for_once() -> None:
    server = Server()
    kinds = server.kinds()
    for _ in range(3):
        assert (await kinds.find("apps/v1", "Deployment")).scalable
        assert not (await kinds.find("apps/v1", "DaemonSet")).scalable
    assert server.asked == ["/apis/apps/v1"]


async def test_the_core_has_another_path() -> None:
    server = Server()
    server.known["/api/v1"] = {"resources": [{"name": "pods", "kind": "Pod"}]}
    found = await server.kinds().find("v1", "Pod")
    assert found.collection._replace(namespace="ns").path == "/api/v1/namespaces/ns/pods"


async def test_a_kind_that_is_not_there_is_asked_for_again_after_a_while() -> None:
    server = Server()
    kinds = server.kinds()
    for _ in range(3):
        with pytest.raises(ApiError, match=r"knows no LeaderWorkerSet of x\.k8s\.io/v1") as told:
            await kinds.find("x.k8s.io/v1", "LeaderWorkerSet")
        assert told.value.fault is Fault.NOT_FOUND
    assert len(server.asked) == 1
    server.now += ASK_AGAIN_S
    server.known["/apis/x.k8s.io/v1"] = {
        "resources": [
            {"name": "leaderworkersets", "kind": "LeaderWorkerSet"},
            {"name": "leaderworkersets/scale", "kind": "Scale"},
        ]
    }
    assert (await kinds.find("x.k8s.io/v1", "LeaderWorkerSet")).scalable


async def test_a_server_that_cannot_be_asked_is_asked_again_at_once() -> None:
    server = Server()
    kinds = server.kinds()
    server.known["/apis/apps/v1"] = b"<html>"
    with pytest.raises(ApiError, match="cannot be read") as told:
        await kinds.find("apps/v1", "Deployment")
    assert told.value.fault is Fault.GARBAGE
    server.known["/apis/apps/v1"] = APPS
    assert (await kinds.find("apps/v1", "Deployment")).scalable
