"""The whole story of a fleet on a cluster, by the chart's own operator: it grows with its load, a
prefix that everybody asks gets engines that own it, it shrinks by drains that cost no request, it
sleeps, and the first who asks wakes it. Each step is told by an event, and by conditions and a
reason in `kubectl get fleet -o yaml`.
"""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from e2e.deploy import counters, fleets, running
from e2e.deploy.fleets import Fleet
from e2e.deploy.release import BRISK, ENGINE, GATEWAYS, NAME, Release, until
from e2e.deploy.running import MODEL
from e2e.namespaces import restricted

if TYPE_CHECKING:
    from collections import Counter
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]
# A stream takes 2.4 s: of so many a second 62 are in flight, four replicas' worth, which is the
# most; of the few, 10.
MANY_PER_S, FEW_PER_S = 26.0, 4.0
GROWN = 4
# One prompt of three blocks of the routing key, for everybody: nothing in it tells requests apart.
# The others are of a few words, so nearly all tokens are this one's.
HOT_PER_S, LETTERS = 8.0, 6200
COST = LETTERS / 8  # tokens, of which it has twice as many: whoever gets it prefills more than so


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
    """A fleet of these engines, of which there is one, whatever was before."""
    release.scale(ENGINE, 1)
    fleet = Fleet(release)
    fleet.apply(fleets.SPEC)
    yield fleet
    fleet.delete()


def leader(release: Release) -> str:
    """The operator's pod that leads."""
    lease = json.loads(release.kubectl("get", "lease", "cardan-controller", "-o", "json"))
    return str(lease["spec"]["holderIdentity"]).partition("_")[0]


def test_a_fleet_is_created_grows_rehomes_shrinks_sleeps_and_wakes(
    release: Release, fleet: Fleet
) -> None:
    with fleet.explained():
        is_routed(release, fleet)
        with running.load(release, MANY_PER_S) as many:
            grows(release, fleet)
            with running.load(release, HOT_PER_S, same=LETTERS) as hot:
                moves_a_hot_prefix(release, fleet)
        with running.load(release, FEW_PER_S) as few:
            shrinks(fleet)
        sleeps(release, fleet)
        with running.load(release, 1.0) as first:  # it has started when the first answer is whole
            is_woken(fleet)
    for load in (many, hot, few, first):
        assert load.told().failures == []


def is_routed(release: Release, fleet: Fleet) -> None:
    """The operator takes the fleet, and every gateway has its engine."""
    fleet.says(
        SpecValid="True Valid",
        AbleToScale="True ReadyForNewScale",
        ScalingActive="True Active",
        Conflict="False NobodyElse",
        Ready="True AllReady",
    )
    until(lambda: routable(release) == [1] * GATEWAYS, "every gateway to have found the engine")


def grows(release: Release, fleet: Fleet) -> None:
    """A higher load gets replicas, and those are asked."""
    until(lambda: fleet.ready() >= GROWN, "it to grow under load")
    fleet.says("ScaledUp", r"main: 1 to \d: .*", "Panic|Concurrency")
    fleet.says(
        MetricsHealthy="True Fresh", CapacityAvailable="True NothingStuck", Ready="True AllReady"
    )
    until(lambda: len(answered(release)) >= GROWN, "new engines to be asked")


def moves_a_hot_prefix(release: Release, fleet: Fleet) -> None:
    """What everybody asks gets another home, or more of them, which is made warm first."""
    until(lambda: heavy(fleet), "the prefix to get another home")
    kind = heavy(fleet)[0]["kind"]
    assert kind in ("add-owners", "re-home")
    fleet.says("HotSpotWarming", f"^{kind}: .* is made warm first: .*")
    until(lambda: prewarmed(release) > 0, "a gateway to make its new owner warm")
    fleet.says(
        *("HotSpotMoved", f"^{kind}: .*"),
        MetricsHealthy="True Fresh",
        Ready="True AllReady",
        ScalingLimited="True TooManyReplicas",
    )
    until(lambda: is_told(fleet), "all owners to be warm, and gateways to know them")
    before, new = cached(release), new_owners(fleet)
    # A new owner answers from its cache, which has nothing of its own yet that is long enough.
    until(lambda: any(cached(release)[one] - before[one] > COST for one in new), "their turn")


def shrinks(fleet: Fleet) -> None:
    """A lower load takes replicas away, each when it has finished what it ran."""
    until(fleet.draining, "replicas to drain")
    until(lambda: fleet.ready() == 1, "those that leave to be gone")
    fleet.says("ScaledDown", r"main: \d to 1: .* in flight", "Concurrency")
    fleet.says(Ready="True AllReady", MetricsHealthy="True Fresh")


def sleeps(release: Release, fleet: Fleet) -> None:
    """Without load nothing is left of it, but gateways know that it sleeps."""
    until(lambda: fleet.asked_for() == 0, "it to sleep")
    fleet.says("ScaledDown", r"main: 1 to 0: nobody has asked for 15 s", "Idle")
    fleet.says(Ready="True Asleep")
    until(lambda: "dormant" in fleet.overlay(), "gateways to know")
    until(lambda: not release.pods("engine"), "no engine to be left")
    until(lambda: not fleet.moves(), "moves to end with their owners")


def is_woken(fleet: Fleet) -> None:
    """The first request has been held, and has waited for an engine."""
    fleet.says("ScaledUp", r"main: 0 to 1: a gateway holds a request", "Wake")
    fleet.says(Ready="True AllReady")
    until(lambda: "dormant" not in fleet.overlay(), "gateways to forget that it slept")


def heavy(fleet: Fleet) -> list[dict[str, Any]]:
    """Moves of the prefix that everybody asks; others are short."""
    return [move for move in fleet.moves() if move["costTokens"] > COST]


def is_told(fleet: Fleet) -> bool:
    """Whether gateways are told of the first move as the status tells it, with a reason."""
    move, told = heavy(fleet)[0], fleet.overlay()
    said = [told.get(part, {}).get(move["key"]) for part in ("owners", "add")]
    return bool(move["why"]) and "warming" not in move and move["owners"] in said


def new_owners(fleet: Fleet) -> list[str]:
    """Whom the first move has made owners: the first of a new home, all that were added."""
    move = heavy(fleet)[0]
    owners: list[str] = move["owners"]
    return owners[:1] if move["kind"] == "re-home" else owners


def routable(release: Release) -> list[int]:
    """How many engines each gateway may ask."""
    found = counters.of_gateways(release, "cardan_fleet_endpoints", model=MODEL, which="routable")
    return [sum(one.values()) for one in found]


def answered(release: Release) -> Counter[str]:
    """How many requests each engine has answered."""
    return counters.together(release, "cardan_endpoint_requests_total", outcome="ok")


def cached(release: Release) -> Counter[str]:
    """How many tokens of prompts each engine has found in its cache."""
    return counters.together(release, "cardan_cached_tokens_actual_total")


def prewarmed(release: Release) -> int:
    """How often the gateways have made an engine warm."""
    return counters.together(release, "cardan_prewarms_total", result="ok").total()


def test_another_operator_goes_on_where_one_dies(release: Release, fleet: Fleet) -> None:
    fleet.says(SpecValid="True Valid")
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
        lambda: "cardan_fleet_replicas{" in counters.page(release, f"{leader(release)}:8080"),
        "series",
    )
