"""The chart on a cluster: a namespace that admits only restricted pods, images, releases."""

from __future__ import annotations

import contextlib
import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml
from cardan_router.config_file import overlay

from e2e import images
from e2e.cluster.errors import CommandError
from e2e.cluster.paths import ROOT
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager

    from e2e.cluster.interface import Cluster

CHART = ROOT / "deploy/helm/cardan"
PROXY_S = 20.0  # kube-proxy learns of a ready pod a second after everybody else, or a few
# Several releases fit on a node with two cores.
SMALL = {"requests": {"cpu": "20m"}}


class Release(NamedTuple):
    """A chart that is installed."""

    cluster: Cluster
    namespace: str
    tag: str

    def helm(self, *argv: str, values: dict[str, Any] | None = None) -> str:
        """Helm in the namespace."""
        return self.cluster.helm(
            *argv,
            "--namespace",
            self.namespace,
            *([] if values is None else ["--values", "-"]),
            input=None if values is None else yaml.safe_dump(values),
        )

    def upgrade(self, values: dict[str, Any]) -> str:
        """Install it or change it, and wait until it is ready."""
        own = {
            "image": {"registry": images.REGISTRY, "tag": self.tag, "pullPolicy": "Never"},
            "router": {"resources": SMALL, "minReadySeconds": 1},
            # Nobody is lost here: that is looked at in `e2e.deploy`, with other settings.
            "config": {"shutdown": {"linger_s": 1}},
        }
        return self.helm(
            *("upgrade", "cardan", str(CHART), "--install", "--wait", "--timeout", "90s"),
            values=overlay(own, values),
        )

    def kubectl(self, *argv: str, input: str | None = None) -> str:
        """Kubectl in the namespace."""
        return self.cluster.kubectl("-n", self.namespace, *argv, input=input)

    def get(self, *argv: str) -> Any:  # noqa: ANN401 - JSON
        """What `kubectl get` tells."""
        return json.loads(self.kubectl("get", *argv, "-o", "json"))

    def apply(self, document: dict[str, Any]) -> None:
        """Make an object or change it."""
        self.kubectl("apply", "-f", "-", input=json.dumps(document))

    def url(self) -> str:
        """The Service's own address, for commands that run inside."""
        spec = self.get("service", "cardan")["spec"]
        return f"http://{spec['clusterIP']}:{spec['ports'][0]['port']}"

    def explain(self, *argv: str) -> Any:  # noqa: ANN401 - JSON
        """The receipt of one request through the Service."""
        command = [str(ROOT / ".venv/bin/cardan"), "explain", self.url(), "--json", *argv]
        end = time.monotonic() + PROXY_S
        while True:
            try:
                return json.loads(self.cluster.run(*command))
            except CommandError as error:
                if "refused" not in str(error) or time.monotonic() > end:
                    raise


@contextlib.contextmanager
def released(cluster: Cluster, tag: str) -> Iterator[Release]:
    """A release to be, in a namespace of its own. What it has outside of it goes with it."""
    with restricted(cluster, "chart") as name:
        release = Release(cluster, name, tag)
        yield release
        release.helm("uninstall", "cardan", "--ignore-not-found")


@pytest.fixture
def release(cluster: Cluster, tag: str) -> Iterator[Release]:
    """A release to be, for one test."""
    with released(cluster, tag) as release:
        yield release


@pytest.fixture(scope="session")
def namespaces(api: Cluster) -> Callable[[], AbstractContextManager[str]]:
    """Makes namespaces on the API server that runs nothing."""
    return lambda: restricted(api, "chart")
