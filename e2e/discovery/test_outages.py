"""A lost API server, an expired watch, a flood of events: nobody is forgotten, no request fails."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest

from e2e.cluster.errors import CommandError
from e2e.discovery.load import Load
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster.interface import Cluster
    from e2e.discovery.conftest import Gateway
    from e2e.discovery.pods import Pods

pytestmark = pytest.mark.cluster


@pytest.fixture
def api(private_api: Cluster) -> Iterator[Cluster]:
    """An API server to be stopped, up at the beginning and at the end of each test."""
    yield private_api
    try:
        private_api.kubectl("get", "--raw", "/readyz")
    except CommandError:
        private_api.start("api-server")


def test_an_outage_fails_no_request_and_is_told(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    pods.create("b", engine())
    front = gateway()
    front.serves("a", "b")
    until(lambda: front.ready, "the gateway to be ready")
    with Load(front.child.url) as load:
        api.stop("api-server")
        until(lambda: front.metrics()["cardan_discovery_connected"] == 0, "the loss to be told")
        before = len(load.answers)
        until(lambda: len(load.answers) > before + 100, "requests")
        assert front.ready
        assert front.healthy() == {"a", "b"}
        api.start("api-server")
        until(
            lambda: front.metrics()["cardan_discovery_connected"] == 1, "the API to be back", 20.0
        )
    assert load.failures == []
    pods.terminate("b")
    front.serves("a")
    assert front.child.output().count("what is known stays in force") == 1


def test_an_expired_watch_and_a_flood_do_no_harm(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    pods.create("gone", engine())
    front = gateway()
    front.serves("a", "gone")
    api.stop("api-server")
    until(lambda: front.metrics()["cardan_discovery_connected"] == 0, "the loss to be told")
    api.start("api-server")
    pods.remove("gone")
    api.compact()
    api.stop("api-server")
    api.start("api-server")
    front.serves("a", within_s=20.0)
    for number in range(20):
        pods.annotate("a", f"noise={number}")
    pods.create("b", engine())
    front.serves("a", "b")
    relists = {k: v for k, v in front.metrics().items() if "relists" in k}
    assert sum(relists.values()) <= 4


def test_a_gateway_starts_without_an_api_server_and_says_what_it_waits_for(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    api.stop("api-server")
    front = gateway()
    until(lambda: "Connection refused" in front.readiness(), "the reason")
    assert not front.ready
    api.start("api-server")
    front.serves("a", within_s=20.0)
    until(lambda: front.ready, "the gateway to be ready")
    began = time.monotonic()
    assert front.child.terminate() == 0
    assert time.monotonic() - began < 5.0
