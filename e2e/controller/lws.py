"""The definition of LeaderWorkerSet as far as scaling knows it, and the objects of one.

As its v1 is published (names, scale subresource and the labels of its pods):
https://github.com/kubernetes-sigs/lws/blob/main/config/crd/bases
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from e2e.controller.rest import Document

GROUP: Final = "leaderworkerset.x-k8s.io"
API_VERSION: Final = f"{GROUP}/v1"
KIND: Final = "LeaderWorkerSet"
PLURAL: Final = "leaderworkersets"
CRD: Final = f"{PLURAL}.{GROUP}"
NAME_LABEL: Final = f"{GROUP}/name"
INDEX_LABEL: Final = f"{GROUP}/worker-index"

_NUMBER: Final = {"type": "integer", "format": "int32"}
_OPEN: Final = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_SPEC: Final = {
    "type": "object",
    "required": ["leaderWorkerTemplate"],
    "properties": {
        "replicas": {**_NUMBER, "default": 1},
        "leaderWorkerTemplate": {
            "type": "object",
            "required": ["workerTemplate"],
            "properties": {
                "size": {**_NUMBER, "default": 1},
                "leaderTemplate": _OPEN,
                "workerTemplate": _OPEN,
                "restartPolicy": {"type": "string", "default": "RecreateGroupOnPodRestart"},
            },
        },
        "rolloutStrategy": _OPEN,
        "startupPolicy": {"type": "string", "default": "LeaderCreated"},
    },
}
_STATUS: Final = {
    "type": "object",
    "properties": {
        "replicas": _NUMBER,
        "readyReplicas": _NUMBER,
        "updatedReplicas": _NUMBER,
        "hpaPodSelector": {"type": "string"},
        "conditions": {"type": "array", "items": _OPEN},
    },
}
DEFINITION: Final[Document] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {
        "name": CRD,
        "annotations": {
            "api-approved.kubernetes.io": "https://github.com/kubernetes-sigs/lws/issues/5"
        },
    },
    "spec": {
        "group": GROUP,
        "scope": "Namespaced",
        "names": {
            "plural": PLURAL,
            "singular": "leaderworkerset",
            "kind": KIND,
            "listKind": f"{KIND}List",
            "shortNames": ["lws"],
        },
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {
                    "openAPIV3Schema": {
                        "type": "object",
                        "properties": {"spec": _SPEC, "status": _STATUS},
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


def groups(name: str, replicas: int, size: int) -> Document:
    """A LeaderWorkerSet."""
    template = {"spec": {"containers": [{"name": "engine", "image": "none"}]}}
    return {
        "apiVersion": API_VERSION,
        "kind": KIND,
        "metadata": {"name": name},
        "spec": {
            "replicas": replicas,
            "leaderWorkerTemplate": {"size": size, "workerTemplate": template},
        },
    }


def selector(name: str) -> str:
    """What its controller writes into the status: leaders stand for their groups."""
    return f"{NAME_LABEL}={name},{INDEX_LABEL}=0"


def pod(name: str, group: int, worker: int) -> Document:
    """A pod of it: the leader of a group is `NAME-GROUP`, its workers `NAME-GROUP-WORKER`."""
    own = f"{name}-{group}" + (f"-{worker}" if worker else "")
    labels = {
        "app": name,
        NAME_LABEL: name,
        f"{GROUP}/group-index": str(group),
        INDEX_LABEL: str(worker),
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": own, "labels": labels},
        "spec": {"containers": [{"name": "engine", "image": "none"}]},
    }
