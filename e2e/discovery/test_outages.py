"""A lost API server, a silent one, an expired watch, a flood of events: nobody is forgotten, no
request fails, and the metrics and the log tell what is the matter.

CARDAN_OUTAGE_S says how long the API server is away: a few seconds as a rule, for all states are
seen in them but one, the end of a watch that has been silent for 90 s.
"""

from __future__ import annotations

import os
import signal
import time
from typing import TYPE_CHECKING

import pytest
from cardan_kube.api import SILENCE_S

from benchmarks import procfs
from e2e.cluster.errors import CommandError
from e2e.discovery.flood import Flood
from e2e.discovery.load import Load
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster.interface import Cluster
    from e2e.discovery.conftest import Gateway
    from e2e.discovery.pods import Pods

OUTAGE_S = float(os.environ.get("CARDAN_OUTAGE_S", "5"))
CLIENTS = 4
# The silence, a try that fails, and a busy machine.
STALL_S = SILENCE_S + 30.0
FLOOD_CHANGES = 1_500
# Measured: 0.28 s where each change is of a pod that is followed (0.2 ms each), 0.06 s for others'
# (probes, and the metrics that the test reads).
MAX_CPU_S = 1.0
MAX_GROWTH_BYTES = 10_000_000

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(180 + 2 * OUTAGE_S)]


@pytest.fixture
def api(private_api: Cluster) -> Iterator[Cluster]:
    """An API server to be stopped, up at the beginning and at the end of each test."""
    yield private_api
    try:
        private_api.kubectl("get", "--raw", "/readyz")
    except CommandError:
        private_api.start("api-server")


def age_s(front: Gateway) -> float:
    """How long the API has said nothing."""
    return front.metrics()["cardan_discovery_last_event_age_seconds"]


def count(front: Gateway, metric: str, value: str) -> float:
    """A counter of discovery."""
    return front.metrics().get(f"cardan_discovery_{metric}_total{{{value}}}", 0.0)


def sum_of(front: Gateway, metric: str) -> float:
    """A counter of discovery, over all its labels."""
    prefix = f"cardan_discovery_{metric}_total"
    return sum(value for name, value in front.metrics().items() if name.startswith(prefix))


def test_an_outage_fails_no_request_and_is_told(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    pods.create("b", engine())
    front = gateway()
    front.serves("a", "b")
    until(lambda: front.ready, "the gateway to be ready")
    with Load(front.child.url, CLIENTS) as load:
        api.stop("api-server")
        until(lambda: front.metrics()["cardan_discovery_connected"] == 0, "the loss to be told")
        while age_s(front) < OUTAGE_S:
            assert front.ready
            assert front.healthy() == {"a", "b"}
            time.sleep(0.5)
        assert front.metrics()["cardan_discovery_connected"] == 0
        assert count(front, "errors", 'reason="unreachable"') > 1
        api.start("api-server")
        until(
            lambda: front.metrics()["cardan_discovery_connected"] == 1, "the API to be back", 20.0
        )
        pods.create("c", engine())
        front.serves("a", "b", "c")
    assert load.failures == []
    assert len(load.answers) > 100
    pods.terminate("b")
    front.serves("a", "c")
    assert front.child.output().count("what is known stays in force") == 1
    assert front.child.output().count("the API answers again after") == 1
    print(f"away {OUTAGE_S:g} s: {len(load.answers)} requests, 0 failed")


def test_an_api_server_that_takes_connections_and_is_silent_fails_no_request(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    first, second = engine(), engine()
    pods.create("a", first)
    front = gateway()
    front.serves("a")
    until(lambda: front.ready, "the gateway to be ready")
    api.signal("api-server", signal.SIGSTOP)
    try:
        with Load(front.child.url, CLIENTS) as load:
            late = gateway()
            until(lambda: "unreachable" in late.readiness(), "the reason", 20.0)
            assert not late.ready
            until(lambda: age_s(front) > OUTAGE_S, "the silence to be told", OUTAGE_S + 10.0)
            if OUTAGE_S > STALL_S:
                assert count(front, "errors", 'reason="stalled"') == 1
                assert front.metrics()["cardan_discovery_connected"] == 0
            assert front.ready
            assert front.healthy() == {"a"}
            api.signal("api-server", signal.SIGCONT)
            pods.create("b", second)
            front.serves("a", "b", within_s=20.0)
            late.serves("a", "b", within_s=20.0)
    finally:
        api.signal("api-server", signal.SIGCONT)
    assert load.failures == []
    assert age_s(front) < OUTAGE_S
    print(f"silent {OUTAGE_S:g} s: {len(load.answers)} requests, 0 failed")


def test_an_expired_watch_does_no_harm(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    pods.create("gone", engine())
    front = gateway()
    front.serves("a", "gone")
    # The gateway must not hear of the change, nor of anything later, before it is forgotten.
    front.child.process.send_signal(signal.SIGSTOP)
    api.stop("api-server")
    api.start("api-server")
    pods.remove("gone")
    api.compact()
    api.stop("api-server")
    api.start("api-server")
    front.child.process.send_signal(signal.SIGCONT)
    front.serves("a", within_s=20.0)
    assert count(front, "errors", 'reason="expired"') == 1
    assert count(front, "relists", 'reason="expired"') == 1
    pods.create("b", engine())
    front.serves("a", "b")
    relists = {k: v for k, v in front.metrics().items() if "relists" in k}
    assert sum(relists.values()) <= 4


@pytest.mark.parametrize("followed", [False, True], ids=["of others", "of engines"])
def test_a_flood_of_changes_that_matter_to_nobody_does_no_harm(
    private_api: Cluster,
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
    followed: bool,
) -> None:
    for name in ("a", "b"):
        pods.create(name, engine())
    others = [f"other-{number}" for number in range(8)]
    for number, name in enumerate(others):
        pods.create(name, f"10.77.1.{number + 1}", labels={"app": "other"})
    front = gateway()
    front.serves("a", "b")
    events, relists = (count(front, "events", 'type="put"'), sum_of(front, "relists"))
    root = front.child.process.pid
    cpu_s, rss_bytes = procfs.cpu_s(root), procfs.rss_bytes(root)
    with Flood(private_api.kubeconfig, pods.namespace, ["a", "b"] if followed else others) as flood:
        while flood.changes < FLOOD_CHANGES:
            assert front.healthy() == {"a", "b"}
            assert len(front.states()) == 2
            time.sleep(0.2)
    cpu_s, rss_bytes = procfs.cpu_s(root) - cpu_s, procfs.rss_bytes(root) - rss_bytes
    seen = flood.changes if followed else 0
    until(lambda: count(front, "events", 'type="put"') == events + seen, "all events")
    assert sum_of(front, "relists") == relists
    assert front.metrics()["cardan_discovery_connected"] == 1
    print(f"{flood.changes / flood.seconds:.0f}/s, {cpu_s:.2f} s CPU, {rss_bytes / 1e6:.1f} MB")
    assert cpu_s < MAX_CPU_S
    assert rss_bytes < MAX_GROWTH_BYTES
    pods.set("a", "10.77.2.1", ready=False)
    front.serves("b")


def test_a_gateway_starts_without_an_api_server_and_says_what_it_waits_for(
    api: Cluster, gateway: Callable[..., Gateway], engine: Callable[[], str], pods: Pods
) -> None:
    pods.create("a", engine())
    api.stop("api-server")
    front = gateway()
    until(lambda: "unreachable" in front.readiness(), "the reason")
    assert not front.ready
    api.start("api-server")
    front.serves("a", within_s=20.0)
    until(lambda: front.ready, "the gateway to be ready")
    began = time.monotonic()
    assert front.child.terminate() == 0
    assert time.monotonic() - began < 5.0
