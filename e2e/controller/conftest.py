"""An operator process on an API-only cluster: Deployments are real, lives of pods are the test's.

The controller manager makes pods of Deployments; no kubelet runs them, so a test says when one is
ready and takes away what is being deleted. Gateways are pods at loopback addresses whose pages the
test writes.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
from cardan_controller.crds.main import text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster

Document = dict[str, Any]
MODEL = "org/llama"
LABELS = {"app": "llama"}
GATEWAY = {"app.kubernetes.io/name": "cardan", "app.kubernetes.io/component": "router"}


def until(condition: Callable[[], object], what: str, deadline_s: float = 30.0) -> None:
    """Wait for it, looking ten times a second."""
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, f"waited {deadline_s} s in vain: {what}"
        time.sleep(0.1)


class Page:
    """A gateway's page: counters that rise with the time, at rates that a test sets."""

    def __init__(self) -> None:
        self.rates: dict[str, float] = {}
        self.gauges: dict[str, float] = {"cardan_ready": 1.0}
        self._values: dict[str, float] = {}
        self._at = time.monotonic()
        self._lock = threading.Lock()

    def text(self) -> bytes:
        """As it is now."""
        with self._lock:
            now = time.monotonic()
            for series, rate in self.rates.items():
                value = self._values.get(series, 0.0)
                self._values[series] = value + rate * (now - self._at)
            self._at = now
            rows = {**self._values, **self.gauges}
        return "".join(f"{series} {value}\n" for series, value in rows.items()).encode()

    def load(self, requests: float, uncached: float, output: float) -> None:
        """Demand, per second: requests, prompt tokens (none of them cached), generated tokens."""
        model = f'model="{MODEL}"'
        self.rates = {
            f'cardan_requests_total{{api="chat",{model},outcome="ok"}}': requests,
            f"cardan_prompt_tokens_total{{{model}}}": uncached,
            f"cardan_completion_tokens_total{{{model}}}": output,
        }


@contextlib.contextmanager
def served(page: Page) -> Iterator[int]:
    """Serve a page; the port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = page.text()
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class World:
    """One namespace with a Deployment, its pods, a gateway, and operators that look after it."""

    def __init__(self, api: Cluster, namespace: str, folder: Path, page: Page, port: int) -> None:
        self.api = api
        self.namespace = namespace
        self.folder = folder
        self.page = page
        self.port = port
        self.keeps_ready = True  # pods that are made become ready
        self._stop = threading.Event()
        self._kubelet = threading.Thread(target=self._play_kubelet, daemon=True)

    def kubectl(self, *words: str, document: object = None) -> str:
        """What kubectl prints."""
        given = None if document is None else json.dumps(document)
        return self.api.kubectl("-n", self.namespace, *words, input=given)

    def get(self, *words: str) -> Document:
        """An object, or a list of them."""
        found: Document = json.loads(self.kubectl("get", *words, "-o", "json"))
        return found

    def apply(self, document: Document) -> None:
        """Make an object, or change it."""
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", document=document)

    def deployment(self, replicas: int, name: str = "llama") -> None:
        """A Deployment of engines."""
        labels = {**LABELS, "pool": name}
        spec = {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"containers": [{"name": "engine", "image": "none"}]},
            },
        }
        self.kubectl(
            "create",
            "-f",
            "-",
            document={
                "apiVersion": "apps/v1",
                "kind": "Deployment",
                "metadata": {"name": name},
                "spec": spec,
            },
        )

    def gateway(self) -> None:
        """A gateway's pod, at the address that its page is served at."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "gateway", "labels": GATEWAY},
            "spec": {"containers": [{"name": "router", "image": "none"}]},
        }
        self.kubectl("create", "-f", "-", document=pod)
        self.ready("gateway", address="127.0.0.1")

    def ready(self, pod: str, *, address: str = "10.0.0.1", ready: bool = True) -> None:
        """Say what kubelet would of a pod."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {
            "type": "Ready",
            "status": "True" if ready else "False",
            "lastTransitionTime": moment,
        }
        status = {"phase": "Running", "podIP": address, "conditions": [condition]}
        patch = json.dumps({"status": status})
        self.kubectl("patch", "pod", pod, "--subresource=status", "--type=merge", "-p", patch)

    def fleet(
        self, name: str = "llama", *, annotations: Document | None = None, **spec: object
    ) -> None:
        """A fleet of that Deployment."""
        pool = {
            "name": "main",
            "scaleTargetRef": {"kind": "Deployment", "name": "llama"},
            "minReplicas": 1,
            "maxReplicas": 8,
        }
        document = {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "InferenceFleet",
            "metadata": {"name": name, "annotations": annotations or {}},
            "spec": {"model": MODEL, "pools": [pool], **spec},
        }
        self.apply(document)

    def status(self, name: str = "llama") -> Document:
        """The fleet's status."""
        found: Document = self.get("fleet", name).get("status", {})
        return found

    def condition(self, type_: str, name: str = "llama") -> Document:
        """One of its conditions; empty while it has none of the kind."""
        found = self.status(name).get("conditions", [])
        return next((one for one in found if one["type"] == type_), {})

    def replicas(self, name: str = "llama") -> int:
        """What the Deployment asks for."""
        count: int = self.get("deployment", name)["spec"]["replicas"]
        return count

    def events(self) -> list[tuple[str, str]]:
        """Reason and note of all events about fleets."""
        found = self.get("events.events.k8s.io")["items"]
        return [
            (event["reason"], event.get("note", ""))
            for event in found
            if event["regarding"].get("kind") == "InferenceFleet"
        ]

    @contextlib.contextmanager
    def operator(self, **config: object) -> Iterator[Operator]:
        """An operator process for this namespace."""
        name = f"operator-{secrets.token_hex(2)}"
        settings = {
            "listen": "127.0.0.1:0",
            "kubeconfig": str(self.api.kubeconfig),
            "namespaces": [self.namespace],
            "tick_s": 0.5,
            "metrics": {"short_window_s": 2, "long_window_s": 6, "stale_after_s": 5},
            "gateways": {"metrics_port": self.port},
            "lease": {
                "namespace": self.namespace,
                "duration_s": 3,
                "renew_deadline_s": 2,
                "retry_s": 0.5,
            },
            **config,
        }
        path = self.folder / f"{name}.yaml"
        path.write_text(json.dumps(settings))
        operator = Operator(path, self.folder / f"{name}.log")
        try:
            yield operator
        finally:
            operator.end()

    def start(self) -> None:
        """Play kubelet from now on."""
        self._kubelet.start()

    def stop(self) -> None:
        """Play it no more."""
        self._stop.set()
        self._kubelet.join()

    def _play_kubelet(self) -> None:
        """Pods become ready, and those that are deleted go."""
        while not self._stop.wait(0.2):
            with contextlib.suppress(Exception):
                for pod in self.get("pods")["items"]:
                    self._look_after(pod)

    def _look_after(self, pod: Document) -> None:
        name = pod["metadata"]["name"]
        if pod["metadata"].get("deletionTimestamp"):
            self.kubectl("delete", "pod", name, "--grace-period=0", "--force", "--wait=false")
        elif self.keeps_ready and not pod.get("status", {}).get("podIP"):
            self.ready(name)


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

    def end(self) -> int:
        """Ask it to leave; its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(15)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"it does not leave: {self.output()[-4000:]}") from None


@pytest.fixture(scope="session")
def installed(api: Cluster) -> Cluster:
    """The definitions are there, and in use."""
    api.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", input=text())
    names = ("crd/inferencefleets.cardan.dev", "crd/routingoverlays.cardan.dev")
    api.kubectl("wait", "--for=condition=Established", "--timeout=60s", *names)
    return api


@pytest.fixture
def world(installed: Cluster, tmp_path: Path) -> Iterator[World]:
    """A namespace of a test's own, with a gateway."""
    namespace = f"operator-{secrets.token_hex(3)}"
    installed.kubectl("create", "namespace", namespace)
    page = Page()
    with served(page) as port:
        world = World(installed, namespace, tmp_path, page, port)
        world.gateway()
        world.start()
        yield world
        world.stop()
    installed.kubectl("delete", "namespace", namespace, "--wait=false")
