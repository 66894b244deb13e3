"""Discovery against a real API server: pods join, are held, leave, and nothing new goes to them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.discovery.load import Load
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from e2e.discovery.conftest import Gateway
    from e2e.discovery.pods import Pods

pytestmark = pytest.mark.cluster


def test_pods_join_when_ready_are_held_when_not_and_leave_when_they_terminate(
    gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    one, two = engine(), engine()
    front = gateway()
    until(lambda: "no endpoint is known" in front.readiness(), "an empty list")
    pods.create("a", one)
    pods.create("b", two, ready=False)
    assert front.serves("a") < 2.0
    until(lambda: front.ready, "the gateway to be ready")
    assert front.states()["b"] == "joining"
    pods.set("b", two, ready=True)
    assert front.serves("a", "b") < 2.0
    pods.set("a", one, ready=False)
    front.serves("b")
    assert front.states()["a"] == "not-ready"
    pods.set("a", one, ready=True)
    assert front.serves("a", "b") < 2.0
    pods.terminate("a")
    front.serves("b")
    assert "a" not in front.states()


def test_no_request_goes_to_a_pod_after_its_unready_or_deletion_event(
    gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    one, two = engine(), engine()
    front = gateway("--policy", "round-robin")
    pods.create("a", one)
    pods.create("b", two)
    front.serves("a", "b")
    with Load(front.child.url) as load:
        until(lambda: load.since(0) == {"a", "b"}, "both to be asked")
        pods.set("a", one, ready=False)
        at = time.monotonic() + 0.2
        until(lambda: len([1 for sent, _ in load.answers if sent > at]) > 50, "requests")
        assert load.since(at) == {"b"}
        pods.set("a", one, ready=True)
        front.serves("a", "b")
        until(lambda: load.since(time.monotonic() - 0.5) == {"a", "b"}, "both to be asked")
        pods.terminate("b")
        at = time.monotonic() + 0.2
        until(lambda: len([1 for sent, _ in load.answers if sent > at]) > 50, "requests")
        assert load.since(at) == {"a"}
    assert load.failures == []


def test_data_parallel_ranks_and_active_ports(
    gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    address = engine()
    front = gateway("--discovery-kubernetes-ports", "8000,8001")
    pods.create("a", address)
    until(lambda: front.states() == {"a:8000": "healthy", "a:8001": "joining"}, "two ranks")
    pods.annotate("a", "inference.networking.k8s.io/active-ports=8000")
    until(lambda: front.states() == {"a:8000": "healthy"}, "one rank")


def test_a_label_that_is_wrong_keeps_a_pod_out_and_is_said(
    gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    front = gateway()
    pods.create("odd", engine(), labels={"app": "vllm", "cardan.dev/role": "prefil"})
    pods.create("fine", engine())
    front.serves("fine")
    assert "cardan.dev/role: 'prefil' is none of" in front.child.output()


def test_workers_each_see_the_same(
    gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    front = gateway("--workers", "2")
    front.serves("a")
    until(
        lambda: [v for k, v in front.metrics().items() if "discovery_connected" in k] == [1, 1],
        "both workers to be connected",
    )
    pods.terminate("a")
    front.serves()
