"""Engines at loopback addresses, and a gateway that finds them by a real API server."""

from __future__ import annotations

import itertools
import json
import os
import re
import subprocess
import time
import urllib.request
from typing import TYPE_CHECKING

import pytest

from e2e.discovery.load import MODEL
from e2e.discovery.pods import Pods
from tests.system.processes import Child, Processes, processes, status_of, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from e2e.cluster.interface import Cluster

PORT = 8000
# Engines listen on one port, so each has an address of its own; each process that runs tests has a
# block, for others may be testing on this machine. 127.0 and 127.1 are somebody else's.
_BLOCK = 16 + os.getpid() % 224
_ADDRESSES = (f"127.{_BLOCK}.{n // 250}.{n % 250 + 1}" for n in itertools.count())


class Gateway:
    """A gateway process and what a test looks at."""

    def __init__(self, child: Child) -> None:
        self.child = child

    @property
    def ready(self) -> bool:
        return status_of(f"{self.child.url}/readyz") == 200

    def readiness(self) -> str:
        """What `/readyz` says, ready or not."""
        done = subprocess.run(
            ["curl", "-s", f"{self.child.url}/readyz"], capture_output=True, text=True
        )
        return done.stdout

    def metrics(self) -> dict[str, float]:
        """All series by name and labels."""
        with urllib.request.urlopen(f"{self.child.url}/metrics", timeout=5) as answer:
            text: str = answer.read().decode()
        pairs = (line.rsplit(" ", 1) for line in text.splitlines() if line[:1] not in ("#", ""))
        return {name: float(value) for name, value in pairs}

    def states(self) -> dict[str, str]:
        """Each endpoint's state."""
        found = (
            re.fullmatch(r'cardan_endpoint_state\{endpoint="(.+)",state="(.+)"\}', name)
            for name in self.metrics()
        )
        return {match[1]: match[2] for match in found if match}

    def healthy(self) -> set[str]:
        """Who may be asked."""
        return {name for name, state in self.states().items() if state == "healthy"}

    def serves(self, *names: str, within_s: float = 10.0) -> float:
        """Wait until exactly these may be asked; how long that took."""
        began = time.monotonic()
        until(
            lambda: self.healthy() == set(names),
            f"{names} to serve: {self.states()}; {self.child.tail()}",
            within_s,
        )
        return time.monotonic() - began


@pytest.fixture
def namespace(api: Cluster) -> Iterator[str]:
    """A namespace of the test's own."""
    name = f"d{time.monotonic_ns()}"
    api.kubectl("create", "namespace", name)
    yield name
    api.kubectl("delete", "namespace", name, "--wait=false")


def rule(
    resource: str,
    *,
    group: str = "",
    names: tuple[str, ...] = (),
    verbs: tuple[str, ...] = ("list", "watch"),
) -> dict[str, list[str]]:
    """A rule of a Role."""
    found = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return {**found, "resourceNames": list(names)} if names else found


@pytest.fixture
def account(api: Cluster, namespace: str) -> Callable[..., Path]:
    """Lets a service account of the namespace do exactly this; a kubeconfig that is the account."""
    api.kubectl("create", "serviceaccount", "gateway", "-n", namespace)

    def grant(*rules: dict[str, list[str]]) -> Path:
        kind = {"apiVersion": "rbac.authorization.k8s.io/v1", "metadata": {"name": "gateway"}}
        role = {**kind, "kind": "Role", "rules": rules}
        binding = {
            **kind,
            "kind": "RoleBinding",
            "roleRef": {
                "apiGroup": "rbac.authorization.k8s.io",
                "kind": "Role",
                "name": "gateway",
            },
            "subjects": [{"kind": "ServiceAccount", "name": "gateway", "namespace": namespace}],
        }
        for document in (role, binding):
            api.kubectl("apply", "-n", namespace, "-f", "-", input=json.dumps(document))
        return api.kubeconfig_for(namespace, "gateway")

    return grant


@pytest.fixture
def pods(api: Cluster, namespace: str) -> Pods:
    return Pods(api, namespace)


@pytest.fixture
def procs(tmp_path: Path) -> Iterator[Processes]:
    with processes(tmp_path) as group:
        yield group


@pytest.fixture
def engine(procs: Processes) -> Callable[[], str]:
    """Starts an engine at an address of its own."""

    def start() -> str:
        address = next(_ADDRESSES)
        options = ("--model", MODEL, "--time-scale", "0.1")
        child = procs.start(
            f"engine-{address}", "engine", "--listen", f"{address}:{PORT}", *options
        )
        child.url  # noqa: B018 - waits for it
        return address

    return start


@pytest.fixture
def gateway(procs: Processes, api: Cluster, namespace: str) -> Callable[..., Gateway]:
    """Starts a gateway that watches the namespace, as administrator unless told otherwise."""

    def start(*options: str, kind: str = "pods", kubeconfig: Path | None = None) -> Gateway:
        where: tuple[str, ...] = ("--discovery-kubernetes-namespace", namespace)
        if kind == "pods":
            where += ("--discovery-kubernetes-selector", "app=vllm")
        child = procs.start(
            "router",
            *("router", "--listen", "127.0.0.1:0", "--access-log", "off"),
            *("--discovery-kubernetes-kind", kind, *where),
            *("--discovery-kubernetes-kubeconfig", str(kubeconfig or api.kubeconfig)),
            *options,
        )
        child.url  # noqa: B018 - waits for it
        return Gateway(child)

    return start
