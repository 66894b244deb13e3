"""An operator process on an API-only cluster: Deployments are real, lives of pods are the test's.

The controller manager makes pods of Deployments; no kubelet runs them, so a test says when one is
ready and takes away what is being deleted. Gateways are pods at loopback addresses whose pages the
test writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from typing import TYPE_CHECKING

import httpx

from e2e.controller.pages import LONG_S, MODEL, SHORT_S
from e2e.controller.rest import Document, Rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster
    from e2e.controller.pages import Page

LABELS = {"app": "llama"}
GATEWAY = {"app.kubernetes.io/name": "cardan", "app.kubernetes.io/component": "router"}
GROUP = "/apis/cardan.dev/v1alpha1"
# Grows and shrinks at once: what a test waits for is not the patience of a fleet.
AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}
# By tokens a second: how many replicas a load takes is plain.
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]


def until(condition: Callable[[], object], what: str, deadline_s: float = 45.0) -> None:
    """Wait for it, looking ten times a second."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.1)


class World:
    """One namespace with a Deployment, its pods, a gateway, and operators that look after it."""

    def __init__(self, api: Cluster, namespace: str, folder: Path, page: Page, port: int) -> None:
        self.api = api
        self.namespace = namespace
        self.folder = folder
        self.page = page
        self.port = port
        self.keeps_ready = True  # pods that are made become ready
        self.rest = Rest(api.kubeconfig, folder)
        self._stop = threading.Event()
        self._kubelet = threading.Thread(target=self._play_kubelet, daemon=True)

    # The API

    def kubectl(self, *words: str, document: object = None) -> str:
        """What kubectl prints."""
        given = None if document is None else json.dumps(document)
        return self.api.kubectl("-n", self.namespace, *words, input=given)

    def create(self, document: Document) -> None:
        """Make an object."""
        self.kubectl("create", "-f", "-", document=document)

    def apply(self, document: Document) -> None:
        """Make an object, or change it."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", document=document)

    def path(self, kind: str, name: str = "", group: str = "/api/v1") -> str:
        """Of an object or a collection of this namespace."""
        return f"{group}/namespaces/{self.namespace}/{kind}/{name}".rstrip("/")

    def pods(self) -> list[Document]:
        """The engines' pods that stay."""
        found = self.rest.get(self.path("pods"))["items"]
        return [
            pod
            for pod in found
            if pod["metadata"]["labels"].get("app") == LABELS["app"]
            and not pod["metadata"].get("deletionTimestamp")
        ]

    def names(self) -> list[str]:
        """Of the engines' pods that stay."""
        return sorted(pod["metadata"]["name"] for pod in self.pods())

    def workload(self, name: str = "llama", kind: str = "deployments") -> Document:
        """A Deployment or StatefulSet."""
        return self.rest.get(self.path(kind, name, "/apis/apps/v1"))

    def replicas(self, name: str = "llama", kind: str = "deployments") -> int:
        """What it asks for."""
        count: int = self.workload(name, kind)["spec"]["replicas"]
        return count

    # Engines and gateways

    def deployment(self, replicas: int, name: str = "llama", kind: str = "Deployment") -> None:
        """A Deployment of engines."""
        labels = {**LABELS, "pool": name}
        template = {
            "metadata": {"labels": labels},
            "spec": {"containers": [{"name": "engine", "image": "none"}]},
        }
        spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
        if kind == "StatefulSet":
            spec |= {"serviceName": name, "podManagementPolicy": "Parallel"}
        self.create(
            {"apiVersion": "apps/v1", "kind": kind, "metadata": {"name": name}, "spec": spec}
        )

    def gateway(self) -> None:
        """A gateway's pod, at the address that its page is served at."""
        self.create(
            {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "gateway", "labels": GATEWAY},
                "spec": {"containers": [{"name": "router", "image": "none"}]},
            }
        )
        self.ready("gateway", address="127.0.0.1")

    def ready(self, pod: str, *, address: str = "10.0.0.1") -> None:
        """Say what kubelet would of a pod that serves."""
        self.tell(pod, "Running", address, {"type": "Ready", "status": "True"})

    def tell(self, pod: str, phase: str, address: str, condition: Document) -> None:
        """Write a pod's status."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        conditions = [{**condition, "lastTransitionTime": moment}]
        status = {"phase": phase, "podIP": address or None, "conditions": conditions}
        self.rest.patch(f"{self.path('pods', pod)}/status", {"status": status})

    # Fleets

    def fleet(
        self, name: str = "llama", *, annotations: Document | None = None, **spec: object
    ) -> None:
        """A fleet of that Deployment; `pool` says what is different of its pool."""
        pool = {
            "name": "main",
            "scaleTargetRef": {"kind": "Deployment", "name": "llama"},
            "minReplicas": 1,
            "maxReplicas": 8,
            **spec.pop("pool", {}),  # type: ignore[dict-item]  # a document
        }
        defaults = {
            "model": MODEL,
            "policies": THROUGHPUT,
            "behavior": IMPATIENT,
            "forecast": {"enabled": False},
        }
        self.apply(
            {
                "apiVersion": "cardan.dev/v1alpha1",
                "kind": "InferenceFleet",
                "metadata": {"name": name, "annotations": annotations or {}},
                "spec": {**defaults, "pools": [pool], **spec},
            }
        )

    def found(self, name: str = "llama") -> Document:
        """The fleet as it is; empty if there is none."""
        return self.rest.get(self.path("inferencefleets", name, GROUP))

    def status(self, name: str = "llama") -> Document:
        """The fleet's status."""
        found: Document = self.found(name).get("status", {})
        return found

    def condition(self, type_: str, name: str = "llama") -> Document:
        """One of its conditions; empty while it has none of the kind."""
        found = self.status(name).get("conditions", [])
        return next((one for one in found if one["type"] == type_), {})

    def is_said(self, type_: str, status: str, reason: str = "") -> bool:
        """Does the fleet say so?"""
        found = self.condition(type_)
        return found.get("status") == status and reason in ("", found.get("reason"))

    def overlay(self, name: str = "llama") -> Document:
        """What the fleet's overlay says of its model; empty without one."""
        found = self.rest.get(self.path("routingoverlays", name, GROUP))
        part: Document = found.get("spec", {}).get("models", {}).get(MODEL, {})
        return part

    def events(self) -> list[tuple[str, str]]:
        """Reason and note of all events about fleets."""
        found = self.rest.get(self.path("events", group="/apis/events.k8s.io/v1"))["items"]
        return [
            (event["reason"], event.get("note", ""))
            for event in found
            if event["regarding"].get("kind") == "InferenceFleet"
        ]

    # Operators

    @contextlib.contextmanager
    def operator(self, **config: object) -> Iterator[Operator]:
        """An operator process for this namespace."""
        name = f"operator-{secrets.token_hex(2)}"
        settings = {
            "listen": "127.0.0.1:0",
            "kubeconfig": str(self.api.kubeconfig),
            "namespaces": [self.namespace],
            "tick_s": 0.5,
            "metrics": {"short_window_s": SHORT_S, "long_window_s": LONG_S, "stale_after_s": 10},
            "gateways": {"metrics_port": self.port},
            "lease": {"namespace": self.namespace, **QUICK},
            **config,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings))
        operator = Operator(path, self.folder / f"{name}.log")
        try:
            yield operator
        finally:
            operator.end()

    def lease(self, **times: float) -> Document:
        """An operator's part of its configuration, for a lease of other times."""
        return {"namespace": self.namespace, **QUICK, **times}

    # The kubelet

    def start(self) -> None:
        """Play kubelet from now on."""
        self._kubelet.start()

    def stop(self) -> None:
        """Play it no more."""
        self._stop.set()
        self._kubelet.join()
        self.rest.close()

    def _play_kubelet(self) -> None:
        """Pods become ready, and those that are deleted go."""
        while not self._stop.wait(0.2):
            with contextlib.suppress(httpx.HTTPError, KeyError):  # the server is away: a test's
                for pod in self.rest.get(self.path("pods"))["items"]:
                    self._look_after(pod)

    def _look_after(self, pod: Document) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp"):
            self.rest.delete(self.path("pods", name))
        elif self.keeps_ready and not pod.get("status", {}).get("podIP"):
            self.ready(name)


# A lease that is soon another's: a loaded machine renews it in time nevertheless.
QUICK = {"duration_s": 6.0, "renew_deadline_s": 4.0, "retry_s": 0.5}


class Operator:
    """One process."""

    def __init__(self, config: Path, log: Path) -> None:
        self.log = log
        with log.open("wb") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cardan_cli", "controller", "--config", str(config)],
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )

    def output(self) -> str:
        """All it has said."""
        return self.log.read_text()

    def leads(self) -> bool:
        """Has it said that it leads?"""
        assert self.process.poll() is None, self.output()[-4000:]
        return " leads\n" in self.output()

    def url(self) -> str:
        """Where it listens."""
        until(lambda: "listening on " in self.output(), "it to listen")
        found = re.search(r"listening on (\S+)", self.output())
        assert found is not None
        return found[1]

    def metric(self, series: str) -> float:
        """One series of its metrics; 0 without it."""
        with urllib.request.urlopen(f"{self.url()}/metrics", timeout=20) as page:
            rows = page.read().decode().splitlines()
        return next((float(row.split()[-1]) for row in rows if row.startswith(f"{series} ")), 0.0)

    def ticks(self, count: int) -> None:
        """Wait for so many more ticks over all fleets."""
        series = 'cardan_controller_ticks_total{result="ok"}'
        end = self.metric(series) + count
        until(lambda: self.metric(series) >= end, f"{count} ticks")

    def kill(self) -> None:
        """As the kernel ends who has no memory left."""
        self.process.kill()
        self.process.wait(15)

    def end(self) -> int:
        """Ask it to leave; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it does not leave: {self.output()[-4000:]}") from None
