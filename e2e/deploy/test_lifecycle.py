"""From `helm install` to `helm uninstall`: its own test, somebody else's client in a pod of its own
by DNS, an upgrade and its rollback under load, and nothing left but definitions.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e import images
from e2e.deploy import running
from e2e.deploy.release import BRISK, NAME, Release, until
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
# Events come and go by themselves. Definitions of custom resources stay: with one goes all that is
# written in its words. The first release of a cluster brings them, which may be another one.
NOT_OURS = ("events", "events.events.k8s.io")
OF = "meta.helm.sh/release-namespace"
# The definitions and the roles that go with them.
KEPT = "helm.sh/resource-policy"


@pytest.fixture
def release(cluster: Cluster, tag: str) -> Iterator[Release]:
    """A release to be, one that wants rights in the whole cluster."""
    assert tag
    with restricted(cluster, "deploy") as where:
        own = {"of": where}
        kubernetes = {"kind": "pods", "namespace": "*", "selector": f"of={where}"}
        yield Release(
            cluster,
            where,
            {
                **BRISK,
                "discovery": {"kubernetes": kubernetes},
                "engines": {"simulated": {"podLabels": own}},
            },
        )


def test_from_install_to_uninstall(release: Release, tag: str) -> None:
    before = objects(release)
    release.install(tag)
    made = objects(release) - before
    assert any(name.startswith("clusterrole.") for name in made)
    assert "Succeeded" in release.helm("test", NAME, "--timeout", "90s")
    answer = told_by_a_client(release)
    assert answer["model"] == running.MODEL
    assert answer["tokens"] == 8
    assert answer["streamed"]

    with running.load(release) as load:
        release.upgrade(images.next_tag())
        release.settle()
        assert tags_of(release) == {images.next_tag()}
        release.helm("rollback", NAME, "--wait", "--timeout", "120s")
        release.settle()
        assert tags_of(release) == {tag}
    assert load.told().failures == []
    assert load.told().total > running.RATE_PER_S

    release.helm("uninstall", NAME, "--wait", "--timeout", "120s")
    until(lambda: objects(release) <= before, f"{objects(release) - before} to be gone")


def objects(release: Release) -> set[str]:
    """Everything in the namespace, and what the release has outside of it."""
    found = set()
    for scope in ("true", "false"):
        kinds = [kind for kind in kinds_of(release, scope) if kind not in NOT_OURS]
        listed = json.loads(release.kubectl("get", ",".join(kinds), "-o", "json"))["items"]
        for item in listed:
            about = item["metadata"]
            notes = about.get("annotations", {})
            if scope == "true" or (notes.get(OF) == release.namespace and KEPT not in notes):
                found.add(f"{item['kind'].lower()}.{about['name']}")
    return found


def kinds_of(release: Release, namespaced: str) -> list[str]:
    """What can be listed, by its name."""
    flags = (f"--namespaced={namespaced}", "--verbs=list", "-o", "name")
    return release.kubectl("api-resources", *flags).split()


def told_by_a_client(release: Release) -> dict[str, Any]:
    """What a pod with the official client prints, which knows the Service's name alone."""
    url = f"http://{NAME}.{release.namespace}.svc:8080/v1"
    container = {
        "name": "client",
        "image": f"{images.REGISTRY}/cardan-client:{images.tag()}",
        "imagePullPolicy": "Never",
        "args": [url],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "client"},
        "spec": {"restartPolicy": "Never", "containers": [container]},
    }
    release.kubectl("apply", "-f", "-", input=json.dumps(pod))
    release.kubectl(
        "wait", "pod/client", "--for=jsonpath={.status.phase}=Succeeded", "--timeout=60s"
    )
    told = release.kubectl("logs", "client")
    release.kubectl("delete", "pod", "client")
    answer: dict[str, Any] = json.loads(told)
    return answer


def tags_of(release: Release) -> set[str]:
    """The tags of the images that run."""
    pods = [*release.pods("router"), *release.pods("engine")]
    return {pod["spec"]["containers"][0]["image"].rpartition(":")[2] for pod in pods}
