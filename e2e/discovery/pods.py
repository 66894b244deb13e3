"""Pods of a test in an API-only cluster: they run where the test says, because it says so."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

LABELS = {"app": "vllm"}


class Pods:
    """Pods of one namespace, created and given a status through the API."""

    def __init__(self, cluster: Cluster, namespace: str) -> None:
        self.cluster = cluster
        self.namespace = namespace

    def create(
        self,
        name: str,
        address: str,
        *,
        ready: bool = True,
        labels: dict[str, str] | None = None,
        annotations: dict[str, str] | None = None,
    ) -> None:
        """A pod that runs at an address."""
        meta = {"name": name, "labels": labels or LABELS, "annotations": annotations or {}}
        spec = {"nodeName": "nowhere", "containers": [{"name": "c", "image": "none"}]}
        document = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}
        self._kubectl("create", "-f", "-", input=json.dumps(document))
        self.set(name, address, ready=ready)

    def set(self, name: str, address: str, *, ready: bool) -> None:
        """Write its status."""
        status = {
            "phase": "Running",
            "podIP": address,
            "podIPs": [{"ip": address}],
            "conditions": [{"type": "Ready", "status": str(ready)}],
        }
        patch = json.dumps({"status": status})
        self._kubectl("patch", "pod", name, "--subresource=status", "--type=merge", "-p", patch)

    def terminate(self, name: str) -> None:
        """Ask for its deletion: it stays, with a deletion timestamp, for nobody ends it."""
        self._kubectl("delete", "pod", name, "--wait=false")

    def remove(self, name: str) -> None:
        """Gone at once."""
        self._kubectl("delete", "pod", name, "--force", "--grace-period=0")

    def annotate(self, name: str, text: str) -> None:
        """As `kubectl annotate`."""
        self._kubectl("annotate", "pod", name, text, "--overwrite")

    def _kubectl(self, *arguments: str, input: str | None = None) -> str:
        return self.cluster.kubectl(*arguments, "-n", self.namespace, input=input)
