"""A Prometheus in the cluster that finds what to scrape as users' do: by annotations on pods, and
by the chart's PodMonitors.

The operator that would read PodMonitors is not there; `as_operator` writes the scrape configuration
that it generates from one, which is where labels collide. Prometheus runs with an account of its
own, which may list and watch pods in the one namespace and nothing else.
"""

from __future__ import annotations

import json
import urllib.parse
from typing import TYPE_CHECKING, Any

import yaml

from e2e.cluster.versions import PROMETHEUS_IMAGE
from tests.dashboards.committed import RULES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from e2e.cluster.interface import Cluster

PORT = 9090
NAME = "prometheus"
ANNOTATION = "__meta_kubernetes_pod_annotation_prometheus_io_"
LABEL = "__meta_kubernetes_pod_label_"
POD_NAMES = [
    {"source_labels": ["__meta_kubernetes_namespace"], "target_label": "namespace"},
    {"source_labels": ["__meta_kubernetes_pod_name"], "target_label": "pod"},
]


def by_annotations(namespace: str) -> dict[str, Any]:
    """The scrape job that most clusters have, after the example in Prometheus' own repository."""
    return _job(
        "annotated",
        namespace,
        [
            {"source_labels": [f"{ANNOTATION}scrape"], "regex": "true", "action": "keep"},
            {
                "source_labels": [f"{ANNOTATION}path"],
                "regex": "(.+)",
                "target_label": "__metrics_path__",
            },
            {
                "source_labels": ["__address__", f"{ANNOTATION}port"],
                "regex": r"([^:]+)(?::\d+)?;(\d+)",
                "replacement": "$1:$2",
                "target_label": "__address__",
            },
            *POD_NAMES,
        ],
    )


def as_operator(monitor: dict[str, Any], namespace: str) -> dict[str, Any]:
    """The scrape job that the Prometheus operator generates from a PodMonitor with one port."""
    spec = monitor["spec"]
    (port,) = spec["podMetricsEndpoints"]
    wanted = [
        {"source_labels": [meta(label)], "regex": value, "action": "keep"}
        for label, value in spec["selector"]["matchLabels"].items()
    ]
    return _job(
        f"operator-{monitor['metadata']['name']}",
        namespace,
        [
            *wanted,
            {
                "source_labels": ["__meta_kubernetes_pod_container_port_name"],
                "regex": port["port"],
                "action": "keep",
            },
            *POD_NAMES,
            {"source_labels": [meta(spec["jobLabel"])], "regex": "(.+)", "target_label": "job"},
            {"target_label": "endpoint", "replacement": port["port"]},
            *port.get("relabelings", ()),
        ],
        path=port["path"],
    )


def meta(label: str) -> str:
    """What discovery calls a pod's label."""
    return LABEL + label.replace(".", "_").replace("/", "_").replace("-", "_")


def _job(
    name: str, namespace: str, relabel: list[dict[str, Any]], path: str = "/metrics"
) -> dict[str, Any]:
    return {
        "job_name": name,
        "metrics_path": path,
        "kubernetes_sd_configs": [{"role": "pod", "namespaces": {"names": [namespace]}}],
        "relabel_configs": relabel,
    }


def objects(namespace: str, jobs: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything that Prometheus is made of."""
    configuration = {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "rule_files": ["/etc/prometheus/rules.yaml"],
        "scrape_configs": jobs,
    }
    (rules,) = RULES
    files = {"prometheus.yaml": yaml.safe_dump(configuration), "rules.yaml": rules.read_text()}
    return {
        "apiVersion": "v1",
        "kind": "List",
        "items": [
            _object("v1", "ServiceAccount"),
            _object(
                "rbac.authorization.k8s.io/v1",
                "Role",
                rules=[{"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}],
            ),
            _object(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                roleRef={"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": NAME},
                subjects=[{"kind": "ServiceAccount", "name": NAME, "namespace": namespace}],
            ),
            _object("v1", "ConfigMap", data=files),
            _object("v1", "Pod", labels={"app": NAME}, spec=_pod()),
            _object("v1", "Service", spec={"selector": {"app": NAME}, "ports": [{"port": PORT}]}),
        ],
    }


def _object(
    version: str, kind: str, labels: Mapping[str, str] | None = None, **rest: object
) -> dict[str, Any]:
    metadata = {"name": NAME, "labels": dict(labels or {})}
    return {"apiVersion": version, "kind": kind, "metadata": metadata, **rest}


def _pod() -> dict[str, Any]:
    """Restricted, like everything in the namespace."""
    return {
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 65532,
            "fsGroup": 65532,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [
            {
                "name": NAME,
                "image": PROMETHEUS_IMAGE,
                "imagePullPolicy": "Never",
                "args": [
                    "--config.file=/etc/prometheus/prometheus.yaml",
                    "--storage.tsdb.path=/data",
                    f"--web.listen-address=:{PORT}",
                ],
                "securityContext": {
                    "allowPrivilegeEscalation": False,
                    "readOnlyRootFilesystem": True,
                    "capabilities": {"drop": ["ALL"]},
                },
                "readinessProbe": {
                    "httpGet": {"path": "/-/ready", "port": PORT},
                    "periodSeconds": 1,
                },
                "volumeMounts": [
                    {"name": "config", "mountPath": "/etc/prometheus"},
                    {"name": "data", "mountPath": "/data"},
                ],
            }
        ],
        "volumes": [
            {"name": "config", "configMap": {"name": NAME}},
            {"name": "data", "emptyDir": {}},
        ],
    }


class Getter:
    """Fetches from Prometheus through the API server, which works for any cluster."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self._cluster = cluster
        self._root = f"/api/v1/namespaces/{namespace}/services/{NAME}:{PORT}/proxy"

    def __call__(self, path: str, parameters: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        query = urllib.parse.urlencode(parameters)
        return json.loads(self._cluster.kubectl("get", "--raw", f"{self._root}{path}?{query}"))
