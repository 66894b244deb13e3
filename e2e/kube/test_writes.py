"""Writes, kinds and events, as a real API server takes them, with a role's rights and no more."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest
from cardan_kube.api import ApiError, KubernetesApi
from cardan_kube.events import Events, Regarding, Reporter
from cardan_kube.kinds import Kinds
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
    from collections.abc import AsyncIterator, Iterator

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster

US = "cardan-controller"


@pytest.fixture
def namespace(api: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"k{time.monotonic_ns()}"
    api.kubectl("create", "namespace", name)
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


@pytest.fixture
async def client(api: Cluster) -> AsyncIterator[KubernetesApi]:
    """Writes as administrator."""
    one = KubernetesApi(str(api.kubeconfig), "cardan/test")
    yield one
    await one.close()


def deployment(namespace: str, name: str = "engines") -> dict[str, Any]:
    """A Deployment that asks for two replicas."""
    labels = {"app": name}
    container = {"name": "c", "image": "none"}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }


async def faulty(client: KubernetesApi, request: Any) -> Fault:  # noqa: ANN401 - a write
    with pytest.raises(ApiError) as told:
        await client.send(request)
    return told.value.fault


async def scaled(client: KubernetesApi, path: str, replicas: int) -> str:
    """Write a scale over the version just read, which is returned.

    The Deployment's controller writes its status at any moment, and that makes a new version.
    """
    while True:
        version = str(json.loads(await client.get(path, {}))["metadata"]["resourceVersion"])
        try:
            await client.send(scale(path, replicas, US, version=version))
        except ApiError as error:
            if error.fault is not Fault.CONFLICT:
                raise
        else:
            return version


async def test_a_scale_is_written_and_not_over_somebody_elses(
    client: KubernetesApi, namespace: str
) -> None:
    where = Collection("apps", "v1", "deployments", namespace)
    await client.send(create(where.path, deployment(namespace), "somebody"))
    path = where.object("engines", "scale")
    before = json.loads(await client.get(path, {}))
    assert before["spec"] == {"replicas": 2}
    assert before["status"]["selector"] == "app=engines"
    version = await scaled(client, path, 5)
    assert json.loads(await client.get(path, {}))["spec"] == {"replicas": 5}
    assert await faulty(client, scale(path, 6, US, version=version)) is Fault.CONFLICT
    found = json.loads(await client.get(where.object("engines"), {}))
    writers = {
        entry["manager"]
        for entry in found["metadata"]["managedFields"]
        if "f:replicas" in entry["fieldsV1"].get("f:spec", {})
    }
    assert writers == {US}


async def test_fields_of_another_manager_are_taken_by_force_alone(
    client: KubernetesApi, namespace: str
) -> None:
    path = Collection("", "v1", "configmaps", namespace).object("x")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    await client.send(apply(path, {**manifest, "data": {"a": "1", "b": "1"}}, "other"))
    mine = {**manifest, "data": {"a": "2"}}
    assert await faulty(client, apply(path, mine, US)) is Fault.CONFLICT
    await client.send(apply(path, mine, US, force=True))
    assert json.loads(await client.get(path, {}))["data"] == {"a": "2", "b": "1"}


async def test_each_way_to_write_does_what_it_says(client: KubernetesApi, namespace: str) -> None:
    where = Collection("", "v1", "configmaps", namespace)
    path = where.object("x")
    manifest = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
    await client.send(create(where.path, {**manifest, "data": {"a": "1"}}, US))
    assert await faulty(client, create(where.path, manifest, US)) is Fault.CONFLICT

    await client.send(merge(path, {"data": {"a": None, "b": "2"}}, US))
    test = {"op": "test", "path": "/data/b", "value": "2"}
    add = {"op": "add", "path": "/data/c", "value": "3"}
    await client.send(change(path, [test, add], US))
    found = json.loads(await client.get(path, {}))
    assert found["data"] == {"b": "2", "c": "3"}
    assert await faulty(client, change(path, [{**test, "value": "9"}], US)) is Fault.INVALID

    await client.send(replace(path, {**found, "data": {"d": "4"}}, US))
    assert await faulty(client, replace(path, found, US)) is Fault.CONFLICT
    assert await faulty(client, merge(path, {"data": {"?": "1"}}, US)) is Fault.INVALID

    uid = found["metadata"]["uid"]
    assert await faulty(client, delete(path, uid="of another")) is Fault.CONFLICT
    await client.send(delete(path, uid=uid))
    assert await faulty(client, delete(path)) is Fault.NOT_FOUND


async def test_what_a_role_does_not_allow_is_forbidden(api: Cluster, namespace: str) -> None:
    api.kubectl("create", "serviceaccount", "small", "-n", namespace)
    one = KubernetesApi(str(api.kubeconfig_for(namespace, "small")), "cardan/test")
    path = Collection("apps", "v1", "deployments", namespace).object("x", "scale")
    assert await faulty(one, scale(path, 1, US)) is Fault.FORBIDDEN
    await one.close()


async def test_kinds_are_found_with_their_scale(client: KubernetesApi) -> None:
    kinds = Kinds(client, time.monotonic)
    found = await kinds.find("apps/v1", "StatefulSet")
    assert (found.collection.plural, found.namespaced, found.scalable) == (
        "statefulsets",
        True,
        True,
    )
    assert not (await kinds.find("apps/v1", "DaemonSet")).scalable
    assert (await kinds.find("v1", "ReplicationController")).scalable
    with pytest.raises(ApiError, match="knows no LeaderWorkerSet"):
        await kinds.find("leaderworkerset.x-k8s.io/v1", "LeaderWorkerSet")


async def test_an_event_is_seen_where_people_look(
    api: Cluster, client: KubernetesApi, namespace: str
) -> None:
    where = Collection("apps", "v1", "deployments", namespace)
    await client.send(create(where.path, deployment(namespace), US))
    uid = json.loads(await client.get(where.object("engines"), {}))["metadata"]["uid"]
    about = Regarding("apps/v1", "Deployment", namespace, "engines", uid)
    events = Events(Reporter(US, "pod-1"))
    request = events.tell(about, "Normal", "ScaledUp", "2 → 5 replicas", now_s=time.time())
    assert request is not None
    await client.send(request)
    told = api.kubectl("describe", "deployment", "engines", "-n", namespace)
    assert "ScaledUp" in told
    assert "2 → 5 replicas" in told
