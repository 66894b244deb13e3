"""Gateways of another namespace: theirs to open, and left clean when a fleet has gone elsewhere."""

from __future__ import annotations

import contextlib
import json
import secrets
from typing import TYPE_CHECKING

import pytest

from e2e.controller.world import GROUP, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.controller.rest import Document
    from e2e.controller.world import Operator, World

pytestmark = pytest.mark.cluster


class Elsewhere:
    """A second namespace, in which gateways could be."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.namespace = f"gateways-{secrets.token_hex(3)}"

    def overlay(self) -> Document:
        """What the fleet has told gateways there."""
        name = f"{self.world.namespace}.llama"
        path = f"{GROUP}/namespaces/{self.namespace}/routingoverlays/{name}"
        return self.world.rest.get(path)

    def fleet(self, gateways: str, **more: object) -> None:
        """One that sleeps, which gateways there or at home are to be told."""
        self.world.fleet(
            scaleToZero={"idleSeconds": 600},
            pool={"minReplicas": 0},
            gateways={"namespace": gateways, **more},
        )

    def gateway(self, labels: Document) -> None:
        """A gateway there instead of the world's, at the same address."""
        self.world.rest.delete(self.world.path("pods", "gateway"))
        containers = [{"name": "router", "image": "none"}]
        meta = {"name": "gateway", "namespace": self.namespace, "labels": labels}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta}
        spec = {"spec": {"containers": containers}}
        self.world.api.kubectl("create", "-f", "-", input=json.dumps({**pod, **spec}))
        path = f"/api/v1/namespaces/{self.namespace}/pods/gateway/status"
        ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]}
        self.world.rest.patch(path, {"status": status})

    @contextlib.contextmanager
    def operator(self, *opened: str) -> Iterator[Operator]:
        """An operator of both namespaces, which opens these to fleets of others."""
        gateways = {"metrics_port": self.world.port, "namespaces": list(opened)}
        both = [self.world.namespace, self.namespace]
        with self.world.operator(namespaces=both, gateways=gateways) as operator:
            yield operator


@pytest.fixture
def elsewhere(world: World) -> Iterator[Elsewhere]:
    """The second namespace, and a Deployment of nothing in the first."""
    made = Elsewhere(world)
    world.api.kubectl("create", "namespace", made.namespace)
    world.deployment(0)
    yield made
    world.api.kubectl("delete", "namespace", made.namespace, "--wait=false")


def test_gateways_are_told_only_where_their_owner_has_opened_them(elsewhere: Elsewhere) -> None:
    world = elsewhere.world
    elsewhere.fleet(elsewhere.namespace)
    with elsewhere.operator() as operator:
        until(lambda: world.is_said("SpecValid", "False", "Invalid"), "it to be refused")
        message = world.condition("SpecValid")["message"]
        assert message.startswith(f"spec.gateways.namespace: '{elsewhere.namespace}' is not open")
        operator.ticks(3)
        assert not elsewhere.overlay()
    with elsewhere.operator(elsewhere.namespace):
        until(lambda: elsewhere.overlay(), "gateways there to be told")
        until(lambda: world.is_said("SpecValid", "True"), "it to be said")


def test_gateways_that_a_fleet_names_by_their_labels_are_heard(elsewhere: Elsewhere) -> None:
    world = elsewhere.world
    elsewhere.gateway({"app": "our-gateway"})
    elsewhere.fleet(elsewhere.namespace)
    with elsewhere.operator("*"):
        until(lambda: world.is_said("MetricsHealthy", "False", "MetricsMissing"), "it to be said")
        elsewhere.fleet(elsewhere.namespace, selector={"matchLabels": {"app": "our-gateway"}})
        until(lambda: world.is_said("MetricsHealthy", "True", "Fresh"), "it to be heard")


def test_what_was_told_elsewhere_is_taken_back_after_a_restart(elsewhere: Elsewhere) -> None:
    world = elsewhere.world
    elsewhere.fleet(elsewhere.namespace)
    with elsewhere.operator(elsewhere.namespace) as first:
        until(lambda: elsewhere.overlay(), "gateways there to be told")
        first.kill()
    elsewhere.fleet("")
    with elsewhere.operator(elsewhere.namespace):
        until(lambda: world.overlay().get("dormant"), "those at home to be told")
        until(lambda: not elsewhere.overlay(), "the others to be told no more")


def test_gateways_that_are_closed_to_it_forget_a_fleet(elsewhere: Elsewhere) -> None:
    elsewhere.fleet(elsewhere.namespace)
    with elsewhere.operator("*"):
        until(lambda: elsewhere.overlay(), "gateways there to be told")
    with elsewhere.operator():
        until(lambda: not elsewhere.overlay(), "them to be told no more")
