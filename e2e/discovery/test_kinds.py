"""Services and InferencePools by a real API server: slices made by its own controller, a pool that
changes its mind; each with the permissions that are documented and no other.

EndpointSlices take no loopback addresses, so nobody answers behind the Service here: that an
endpoint is known, and when it goes, is what is looked at.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.discovery.conftest import rule
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.cluster.interface import Cluster
    from e2e.discovery.conftest import Gateway
    from e2e.discovery.pods import Pods

pytestmark = pytest.mark.cluster

SERVICE: dict[str, Any] = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "vllm"},
    "spec": {
        "selector": {"app": "vllm"},
        "ports": [
            {"name": "http", "port": 80, "targetPort": 8000},
            {"name": "metrics", "port": 9090},
        ],
    },
}
# The controller of slices leaves out pods whose node does not exist.
NODE = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "nowhere"}}
# What discovery reads of it, and the rest unchecked: the real one comes with the inference
# extension, and whoever has none can try this.
POOL_CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": "inferencepools.inference.networking.k8s.io",
        "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
    },
    "spec": {
        "group": "inference.networking.k8s.io",
        "names": {"kind": "InferencePool", "plural": "inferencepools"},
        "scope": "Namespaced",
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
            }
        ],
    },
}


def pool(label: str, *ports: int) -> str:
    """A pool of the pods with a label `app`."""
    return json.dumps(
        {
            "apiVersion": "inference.networking.k8s.io/v1",
            "kind": "InferencePool",
            "metadata": {"name": "llama"},
            "spec": {
                "selector": {"matchLabels": {"app": label}},
                "targetPorts": [{"number": port} for port in ports],
            },
        }
    )


def test_what_stands_behind_a_service_is_known_and_goes_when_it_terminates(
    api: Cluster,
    namespace: str,
    gateway: Callable[..., Gateway],
    pods: Pods,
    account: Callable[..., Path],
) -> None:
    api.kubectl("apply", "-f", "-", input=json.dumps(NODE))
    api.kubectl("create", "-n", namespace, "-f", "-", input=json.dumps(SERVICE))
    own = account(rule("endpointslices", group="discovery.k8s.io"))
    front = gateway("--discovery-kubernetes-name", "vllm", kind="service", kubeconfig=own)
    pods.create("a", "10.77.0.1")
    pods.create("b", "10.77.0.2")
    until(lambda: set(front.states()) == {"a", "b"}, "both", 20.0)
    pods.terminate("a")
    until(lambda: set(front.states()) == {"b"}, "one to go", 20.0)


def test_a_pool_that_changes_its_ports_or_its_selector_changes_the_fleet(
    api: Cluster,
    namespace: str,
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
    account: Callable[..., Path],
) -> None:
    api.kubectl("apply", "-f", "-", input=json.dumps(POOL_CRD))
    crd = "crd/inferencepools.inference.networking.k8s.io"
    api.kubectl("wait", "--for=condition=Established", crd, "--timeout=30s")
    api.kubectl("apply", "-n", namespace, "-f", "-", input=pool("vllm", 8000))
    pods.create("a", engine())
    pods.create("b", engine(), labels={"app": "other"})
    own = account(
        rule("inferencepools", group="inference.networking.k8s.io", names=("llama",)), rule("pods")
    )
    front = gateway("--discovery-kubernetes-name", "llama", kind="inference_pool", kubeconfig=own)
    front.serves("a")
    api.kubectl("apply", "-n", namespace, "-f", "-", input=pool("vllm", 8000, 8001))
    until(lambda: front.states() == {"a:8000": "healthy", "a:8001": "joining"}, "two ranks")
    api.kubectl("apply", "-n", namespace, "-f", "-", input=pool("vllm", 8000))
    front.serves("a")
    api.kubectl("apply", "-n", namespace, "-f", "-", input=pool("other", 8000))
    front.serves("b")
    api.kubectl("delete", "inferencepool", "llama", "-n", namespace)
    front.serves()


def test_a_cluster_without_pools_is_told_as_such(
    gateway: Callable[..., Gateway], api: Cluster
) -> None:
    api.kubectl(
        *("delete", "crd", "inferencepools.inference.networking.k8s.io"),
        *("--ignore-not-found", "--timeout=30s"),
    )
    front = gateway("--discovery-kubernetes-name", "llama", kind="inference_pool")
    until(lambda: "not-found" in front.readiness(), "the reason")
