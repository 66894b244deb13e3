"""A real API server takes everything the chart makes, as it is: no unknown field, no warning, and
nothing that the restricted Pod Security standard would not admit.
"""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from e2e.cluster import find
from tests.chart.helm import manifest
from tests.chart.matrix import VALUE_SETS

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster
OPERATOR_GROUP = "monitoring.coreos.com"
NAMESPACES = ("llm", "models")


def crd(kind: str) -> dict[str, Any]:
    """A stand-in for a kind of the Prometheus operator: it takes any spec."""
    plural = f"{kind.lower()}s"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    schema = {"type": "object", "properties": {"spec": anything}}
    version = {
        "name": "v1",
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{OPERATOR_GROUP}"},
        "spec": {
            "group": OPERATOR_GROUP,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural},
            "versions": [version],
        },
    }


@pytest.fixture(scope="module")
def ready(private_api: Cluster) -> Cluster:
    """An API server with the namespaces and kinds that the matrix speaks of, and no other."""
    api = private_api
    for name in NAMESPACES:
        document = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": name,
                "labels": {
                    f"pod-security.kubernetes.io/{mode}": "restricted"
                    for mode in ("enforce", "warn")
                },
            },
        }
        api.kubectl("apply", "-f", "-", input=json.dumps(document))
    for kind in ("PodMonitor", "PrometheusRule"):
        api.kubectl("apply", "-f", "-", input=json.dumps(crd(kind)))
        name = f"crd/{kind.lower()}s.{OPERATOR_GROUP}"
        api.kubectl("wait", "--for=condition=Established", name, "--timeout=20s")
    return api


def dry_run(cluster: Cluster, text: str) -> subprocess.CompletedProcess[str]:
    """What the API server would say, warnings on standard error."""
    # One cache of discovery for all: without it each call asks for every group of the API.
    cache = cluster.kubeconfig.parent / "dry-run"
    whose = ["--kubeconfig", str(cluster.kubeconfig), "--cache-dir", str(cache)]
    command = ["apply", "--dry-run=server", "--validate=strict", "-f", "-"]
    argv = cluster.inside([str(find.tool("kubectl")), *whose, *command])
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", VALUE_SETS)
def test_the_api_server_takes_it_without_a_word(ready: Cluster, name: str) -> None:
    text = manifest(VALUE_SETS[name])
    ended = dry_run(ready, text)
    assert (ended.returncode, ended.stderr) == (0, "")
    objects = [found for found in yaml.safe_load_all(text) if found]
    assert ended.stdout.count("created (server dry run)") == len(objects)


def test_a_pod_that_is_not_hardened_would_be_noticed(ready: Cluster) -> None:
    text = manifest({}).replace("readOnlyRootFilesystem: true", "privileged: true")
    ended = dry_run(ready, text)
    assert "would violate PodSecurity" in ended.stderr or ended.returncode != 0


def test_a_field_that_does_not_exist_would_be_noticed(ready: Cluster) -> None:
    text = manifest({}).replace("minReadySeconds:", "minReadySecond:")
    ended = dry_run(ready, text)
    assert ended.returncode != 0
    assert 'unknown field "spec.minReadySecond"' in ended.stderr
