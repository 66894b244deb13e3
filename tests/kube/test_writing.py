"""A write is a value that says all of itself: what, where, who writes, on which condition."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp import web
from cardan_kube.api import ApiError, KubernetesApi
from cardan_kube.reflector import Fault
from cardan_kube.writing import (
    Collection,
    apply,
    change,
    create,
    delete,
    merge,
    replace,
    scale,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

PODS = Collection("", "v1", "pods", "ns")
FLEETS = Collection("cardan.dev", "v1alpha1", "inferencefleets", "ns")


def test_paths_are_the_apis() -> None:
    assert PODS.object("a") == "/api/v1/namespaces/ns/pods/a"
    assert FLEETS.object("a", "status") == (
        "/apis/cardan.dev/v1alpha1/namespaces/ns/inferencefleets/a/status"
    )
    assert FLEETS._replace(namespace="").path == "/apis/cardan.dev/v1alpha1/inferencefleets"


def test_a_name_cannot_lead_elsewhere() -> None:
    assert PODS.object("../../secrets/x") == "/api/v1/namespaces/ns/pods/..%2F..%2Fsecrets%2Fx"


def test_a_scale_of_a_version_is_a_conflict_for_any_other() -> None:
    assert scale("/p/scale", 3, "us").body == {"spec": {"replicas": 3}}
    assert scale("/p/scale", 3, "us", version="7").body == {
        "spec": {"replicas": 3},
        "metadata": {"resourceVersion": "7"},
    }


def test_who_writes_is_said_and_fields_are_taken_only_by_force() -> None:
    assert apply("/p", {}, "us").query == {"fieldManager": "us", "force": "false"}
    assert apply("/p", {}, "us", force=True).query["force"] == "true"
    for request in (merge("/p", {}, "us"), create("/p", {}, "us"), replace("/p", {}, "us")):
        assert request.query == {"fieldManager": "us"}


def test_a_deletion_of_one_object_is_none_of_its_successor() -> None:
    assert delete("/p").body is None
    assert delete("/p", uid="u").body == {"preconditions": {"uid": "u"}}


# -- over a connection -----------------------------------------------------------------------------


class Server:
    """Answers what it is told to, and keeps what it was sent."""

    def __init__(self) -> None:
        self.status, self.answer = 200, {"kind": "Status"}
        self.seen: list[tuple[str, str, str, bytes]] = []

    async def handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.seen.append((request.method, request.path_qs, request.content_type, body))
        return web.json_response(self.answer, status=self.status)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
async def api(server: Server, tmp_path: Path) -> AsyncIterator[KubernetesApi]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    config: dict[str, Any] = {
        "current-context": "x",
        "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u"}}],
        "clusters": [{"name": "c", "cluster": {"server": f"http://127.0.0.1:{port}"}}],
        "users": [{"name": "u", "user": {"token": "secret"}}],
    }
    path = tmp_path / "kubeconfig"
    path.write_text(json.dumps(config))
    one = KubernetesApi(str(path), "cardan/test")
    yield one
    await one.close()
    await runner.cleanup()


async def test_what_is_sent_is_what_was_said(api: KubernetesApi, server: Server) -> None:
    await api.send(apply("/p", {"a": 1}, "us"))
    await api.send(change("/p", [{"op": "remove", "path": "/a"}], "us"))
    await api.send(merge("/p", {"a": None}, "us"))
    await api.send(create("/c", {"a": 2}, "us"))
    await api.send(replace("/p", {"a": 3}, "us"))
    await api.send(delete("/p", uid="u"))
    seen = [
        (method, path, kind, json.loads(body) if body else None)
        for method, path, kind, body in server.seen
    ]
    managed = "?fieldManager=us"
    assert seen == [
        ("PATCH", f"/p{managed}&force=false", "application/apply-patch+yaml", {"a": 1}),
        (
            *("PATCH", f"/p{managed}", "application/json-patch+json"),
            [{"op": "remove", "path": "/a"}],
        ),
        ("PATCH", f"/p{managed}", "application/merge-patch+json", {"a": None}),
        ("POST", f"/c{managed}", "application/json", {"a": 2}),
        ("PUT", f"/p{managed}", "application/json", {"a": 3}),
        ("DELETE", "/p", "application/json", {"preconditions": {"uid": "u"}}),
    ]


@pytest.mark.parametrize(
    ("status", "fault"),
    [
        (401, Fault.UNAUTHORIZED),
        (403, Fault.FORBIDDEN),
        (404, Fault.NOT_FOUND),
        (409, Fault.CONFLICT),
        (410, Fault.EXPIRED),
        (422, Fault.INVALID),
        (429, Fault.OVERLOADED),
        (500, Fault.REFUSED),
        (503, Fault.OVERLOADED),
    ],
)
async def test_a_refusal_is_one_word_and_the_servers_sentence(
    api: KubernetesApi, server: Server, status: int, fault: Fault
) -> None:
    server.status, server.answer = status, {"kind": "Status", "message": "no, because"}
    with pytest.raises(ApiError, match="no, because") as told:
        await api.send(merge("/p", {}, "us"))
    assert told.value.fault is fault
    assert len(server.seen) == 1, "a write is not tried again"


async def test_a_creation_is_a_success_too(api: KubernetesApi, server: Server) -> None:
    server.status, server.answer = 201, {"kind": "Thing"}
    assert json.loads(await api.send(create("/c", {}, "us"))) == {"kind": "Thing"}
