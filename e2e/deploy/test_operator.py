"""The whole story of a fleet on a cluster, by the chart's own operator: it grows with its load and
shrinks by drains that cost no request, it sleeps, and the first who asks wakes it. Each step is
told by an event, and by the status with a reason.
"""

from __future__ import annotations

import copy
import json
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from e2e.deploy import fleets, running
from e2e.deploy.fleets import Fleet
from e2e.deploy.release import BRISK, NAME, Release, until
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
# A stream takes 2.4 s: of so many a second 48 are in flight, three replicas' worth; of the few, 10.
MANY_PER_S, FEW_PER_S = 20.0, 4.0
# One prompt of three blocks of the routing key, for everybody: nothing in it tells requests apart.
HOT_PER_S, LETTERS = 8.0, 6200


@pytest.fixture(scope="module")
def release(cluster: Cluster, tag: str) -> Iterator[Release]:
    """The chart with an operator and one engine."""
    with restricted(cluster, "operator") as where:
        values = {
            **BRISK,
            "config": {**BRISK["config"], "prewarm": {"enabled": True}},
            "controller": fleets.BRISK_OPERATOR,
            "engines": {"simulated": {"replicas": 1}},
        }
        release = Release(cluster, where, values)
        release.install(tag)
        yield release


@pytest.fixture
def fleet(release: Release) -> Iterator[Fleet]:
    """A fleet of these engines."""
    fleet = Fleet(release)
    fleet.apply(fleets.SPEC)
    yield fleet
    fleet.delete()


def leader(release: Release) -> str:
    """The operator's pod that leads."""
    lease = json.loads(release.kubectl("get", "lease", "cardan-controller", "-o", "json"))
    return str(lease["spec"]["holderIdentity"]).partition("_")[0]


def test_a_fleet_follows_its_load_to_nothing_and_back(release: Release, fleet: Fleet) -> None:
    until(lambda: fleet.condition("SpecValid")[0] == "True", "the operator to look")
    until(lambda: fleet.condition("Ready") == ("True", "AllReady"), "the engine to be ready")

    with running.load(release, MANY_PER_S) as load:
        until(lambda: fleet.ready() >= 2, "it to grow under load")
        assert fleet.condition("MetricsHealthy") == ("True", "Fresh")
        until(lambda: fleet.told("ScaledUp"), "an event")
        until(lambda: grown(fleet), "the status, which is written after the event")
        up = grown(fleet)[-1]
        assert up["reason"] == "Concurrency"
        assert "in flight" in up["message"]
        until(lambda: len(asked(release)) > 1, "new engines to be asked")
    assert load.told().failures == []

    with running.load(release, FEW_PER_S) as load:
        until(lambda: fleet.asked_for() == 1, "it to shrink under a smaller load")
        until(lambda: fleet.ready() == 1, "those that leave to be gone")
        assert fleet.told("ScaledDown")
    assert load.told().failures == []

    until(lambda: fleet.asked_for() == 0, "it to sleep")
    assert fleet.last()["reason"] == "Idle"
    until(lambda: "dormant" in fleet.overlay(), "gateways to know")
    until(lambda: fleet.condition("Ready") == ("True", "Asleep"), "it to say so")
    until(lambda: not release.pods("engine"), "no engine to be left")

    with running.load(release, 1.0) as load:
        assert fleet.asked_for() >= 1
        assert fleet.last()["reason"] == "Wake"
        until(lambda: "dormant" not in fleet.overlay(), "gateways to forget that it slept")
    assert load.told().failures == []
    assert f"{fleets.POOL}: 0 to 1: a gateway holds a request" in fleet.told("ScaledUp")


def test_a_prefix_that_is_too_hot_for_its_owners_gets_others_that_are_warm(
    release: Release, fleet: Fleet
) -> None:
    spec = copy.deepcopy(fleets.SPEC)
    spec["pools"][0] |= {"minReplicas": 4, "maxReplicas": 4}
    del spec["scaleToZero"]
    spec["hotSpots"] = {"holdSeconds": 8, "coolSeconds": 60, "prewarmSeconds": 60}
    fleet.apply(spec)
    until(lambda: fleet.ready() == 4, "four engines")
    with running.load(release, HOT_PER_S, same=LETTERS) as load:
        until(lambda: warming(fleet), "the prefix to get another home, made warm first")
        first, before = warming(fleet)[0], answered(release)
        assert first["kind"] in ("add-owners", "re-home")
        assert first["costTokens"] > LETTERS / 8  # what its new owner has to prefill again
        until(lambda: fleet.told("HotSpotWarming"), "an event")
        until(lambda: prewarmed(release) > 0, "a gateway to make its new owner warm")
        until(lambda: fleet.told("HotSpotMoved"), "another event")
        until(lambda: "warming" not in rehomed(fleet)[0], "all owners to be warm")
        move, told = rehomed(fleet)[0], fleet.overlay()
        said = [told.get(part, {}).get(move["key"]) for part in ("owners", "add")]
        assert move["owners"] in said  # a key may have a new home and more owners besides
        # A cold owner stays cold while warm ones keep the promise; the new ones were made warm.
        new = set(first["warming"])
        until(
            lambda: any(answered(release)[one] > before[one] for one in new), "a new owner's turn"
        )
    assert load.told().failures == []


def grown(fleet: Fleet) -> list[dict[str, Any]]:
    """Decisions by which there were more than one, the latest last."""
    return [one for one in fleet.status().get("lastDecisions", []) if one["to"] > 1]


def rehomed(fleet: Fleet) -> list[dict[str, Any]]:
    """Moves of a prefix, as opposed to those of an endpoint's share of all of them."""
    return [move for move in fleet.moves() if move.get("key")]


def warming(fleet: Fleet) -> list[dict[str, Any]]:
    """Moves of a prefix whose new owners are being made warm."""
    return [move for move in rehomed(fleet) if move.get("warming")]


def answered(release: Release) -> Counter[str]:
    """How many requests each engine has answered, by what all gateways tell."""
    pods = (pod["metadata"]["name"] for pod in release.pods("router"))
    pages = "".join(metrics_of(release, f"{pod}:9090") for pod in pods)
    told = re.findall(
        r'cardan_endpoint_requests_total\{endpoint="([^"]+)",outcome="ok"\} (\d+)', pages
    )
    counts: Counter[str] = Counter()
    for endpoint, count in told:
        counts[endpoint] += int(count)
    return counts


def prewarmed(release: Release) -> int:
    """How often the gateways have made an engine warm."""
    pods = (pod["metadata"]["name"] for pod in release.pods("router"))
    pages = "".join(metrics_of(release, f"{pod}:9090") for pod in pods)
    return sum(map(int, re.findall(r'cardan_prewarms_total\{result="ok"\} (\d+)', pages)))


def asked(release: Release) -> set[str]:
    """The engines that one of the gateways has sent requests to."""
    gateway = release.pods("router")[0]["metadata"]["name"]
    page = metrics_of(release, f"{gateway}:9090")
    return set(re.findall(r'cardan_endpoint_requests_total\{endpoint="([^"]+)"[^\n]* [1-9]', page))


def metrics_of(release: Release, pod: str) -> str:
    """What a pod's page tells; `pod` with its port."""
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/proxy/metrics"
    return release.kubectl("get", "--raw", path)


def test_another_operator_goes_on_where_one_dies(release: Release, fleet: Fleet) -> None:
    until(lambda: fleet.condition("SpecValid")[0] == "True", "the operator to look")
    first = leader(release)
    before = fleet.status().get("lastDecisions", [])
    release.kubectl("delete", "pod", first, "--force", "--grace-period=0")
    until(lambda: leader(release) not in ("", first), "another to lead")
    changed = copy.deepcopy(fleets.SPEC)
    changed["pools"][0]["minReplicas"] = 2
    del changed["scaleToZero"]
    fleet.apply(changed)
    until(lambda: fleet.ready() == 2, "the other to act")
    decisions = fleet.status()["lastDecisions"]
    assert decisions[len(decisions) - len(before) :] == before


def test_the_operator_has_a_page_of_metrics_and_two_replicas_spread_over_nodes(
    release: Release, fleet: Fleet
) -> None:
    del fleet
    deployment: Any = json.loads(
        release.kubectl("get", "deployment", f"{NAME}-controller", "-o", "json")
    )
    assert deployment["status"]["readyReplicas"] == 2
    until(
        lambda: "cardan_fleet_replicas{" in metrics_of(release, f"{leader(release)}:8080"), "series"
    )
