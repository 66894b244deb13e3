"""RoutingOverlays on a real API server: what the operator says is done, and its end undone; where
there is no operator nothing is different, and one that comes later is followed.
"""

from __future__ import annotations

import json
import threading
from typing import TYPE_CHECKING, Any

import pytest

from e2e.definitions import with_definitions
from e2e.discovery.conftest import rule
from e2e.discovery.load import MODEL, Load
from tests.router.asking import ask, get_state, metric
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from e2e.cluster.interface import Cluster
    from e2e.discovery.conftest import Gateway
    from e2e.discovery.pods import Pods

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(240)]

CRD = "routingoverlays.cardan.dev"
PODS, OVERLAYS = rule("pods"), rule("routingoverlays", group="cardan.dev")
# More than one prefix block, so that it is a key of its own.
PROMPT = "what an operator moves " * 200


@pytest.fixture
def api(private_api: Cluster) -> Cluster:
    """An API server that this module may take definitions from, and stop."""
    return private_api


@pytest.fixture
def installed(api: Cluster) -> Cluster:
    """The same, with our definitions."""
    return with_definitions(api)


class Fleet:
    """A gateway that follows overlays, and three engines."""

    def __init__(self, api: Cluster, namespace: str, front: Gateway) -> None:
        self.api = api
        self.namespace = namespace
        self.front = front
        self.url = front.child.url

    def say(self, model: dict[str, Any], name: str = "fleet") -> None:
        """The operator writes an overlay."""
        document = {
            "apiVersion": "cardan.dev/v1alpha1",
            "kind": "RoutingOverlay",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {"generation": 1, "models": {MODEL: model}},
        }
        self.api.kubectl("apply", "-f", "-", input=json.dumps(document))

    def unsay(self, name: str = "fleet") -> None:
        """The operator takes it back."""
        self.api.kubectl("delete", "routingoverlay", name, "-n", self.namespace)

    def shows(self, words: str) -> None:
        """Wait until the gateway says that it does so."""
        until(lambda: get_state(self.url)["overlay"] == words, f"{words!r}: {self.shown()!r}")

    def shown(self) -> str:
        return str(get_state(self.url)["overlay"])

    def weight(self, name: str) -> float:
        rows = {row["name"]: row["weight"] for row in get_state(self.url)["endpoints"]}
        return float(rows[name])

    def asked(self, times: int = 12) -> set[str]:
        """Who gets requests with prompts that nobody has seen."""
        return {ask(self.url, f"{n} {self.shown()} {PROMPT}")["endpoint"] for n in range(times)}


@pytest.fixture
def fleet(
    installed: Cluster,
    namespace: str,
    account: Callable[..., Path],
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
) -> Fleet:
    """Three engines that serve."""
    front = gateway(kubeconfig=account(PODS, OVERLAYS))
    for name in "abc":
        pods.create(name, engine())
    front.serves("a", "b", "c")
    return Fleet(installed, namespace, front)


def test_weights_drains_and_cordons_are_done_and_undone(fleet: Fleet) -> None:
    assert fleet.shown() == ""
    fleet.say({"weights": {"a": 0.5}, "draining": ["b"], "cordoned": ["c"]})
    fleet.shows(f"{MODEL}: weights a x 0.5, draining b, cordoned c")
    assert fleet.weight("a") == 0.5
    assert fleet.front.states()["b"] == "draining"
    assert fleet.asked() == {"a"}, "new prompts go to nobody else"
    fleet.say({"draining": ["a"]})
    fleet.shows(f"{MODEL}: draining a")
    assert fleet.weight("a") == 1.0
    assert "a" not in fleet.asked()
    fleet.unsay()
    fleet.shows("")
    until(lambda: fleet.front.healthy() == {"a", "b", "c"}, "all to be as they were")
    until(lambda: "a" in fleet.asked(), "a to be asked again")


def test_a_moved_key_goes_where_it_was_moved_to_and_its_receipt_says_so(fleet: Fleet) -> None:
    before = ask(fleet.url, PROMPT)
    hashed = [candidate["endpoint"] for candidate in before["candidates"]]
    (outside,) = {"a", "b", "c"} - set(hashed)
    assert before["moved"] is False
    fleet.say({"owners": {before["key"]: [outside]}})
    fleet.shows(f"{MODEL}: 1 key moved")
    receipt = ask(fleet.url, PROMPT)
    assert receipt["moved"] is True
    assert [candidate["endpoint"] for candidate in receipt["candidates"]] == [outside, hashed[0]]
    other = ask(fleet.url, "something else " * 400)
    assert other["moved"] is False
    fleet.unsay()
    fleet.shows("")
    after = ask(fleet.url, PROMPT)
    assert [candidate["endpoint"] for candidate in after["candidates"]] == hashed


def test_requests_for_a_model_that_sleeps_wait_for_its_first_pod(
    installed: Cluster,
    namespace: str,
    account: Callable[..., Path],
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
) -> None:
    address = engine()
    front = gateway(kubeconfig=account(PODS, OVERLAYS))
    night = Fleet(installed, namespace, front)
    until(lambda: "no endpoint is known" in front.readiness(), "an empty list")
    night.say({"dormant": {"holdRequests": 8, "holdSeconds": 120}})
    until(lambda: front.ready, "it to be ready, for requests can wait")
    receipts: list[Any] = []
    asking = threading.Thread(target=lambda: receipts.append(ask(night.url)))
    asking.start()
    held = rf'cardan_held_requests\{{model="{MODEL}"\}}'
    until(lambda: metric(night.url, held) == 1, "it to be held")
    pods.create("first", address)
    asking.join(60)
    (receipt,) = receipts
    assert receipt["endpoint"] == "first"
    assert receipt["queued_s"] > 0
    assert metric(night.url, held) == 0


def test_a_lost_api_server_leaves_the_last_overlay_in_force(fleet: Fleet) -> None:
    fleet.say({"cordoned": ["a"]})
    fleet.shows(f"{MODEL}: cordoned a")
    fleet.api.stop("api-server")
    try:
        with Load(fleet.url) as load:
            until(
                lambda: fleet.front.metrics()["cardan_discovery_connected"] == 0, "it to be missed"
            )
            until(lambda: len(load.answers) > 30, "requests")
        assert load.failures == []
        assert "a" not in {endpoint for _, endpoint in load.answers}
    finally:
        fleet.api.start("api-server")
    until(lambda: fleet.front.metrics()["cardan_discovery_connected"] == 1, "it to be back")
    assert fleet.shown() == f"{MODEL}: cordoned a"
    fleet.unsay()
    fleet.shows("")


def test_without_the_right_to_read_overlays_nothing_is_different_until_it_is_given(
    installed: Cluster,
    namespace: str,
    account: Callable[..., Path],
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
) -> None:
    front = gateway(kubeconfig=account(PODS))
    fleet = Fleet(installed, namespace, front)
    fleet.say({"cordoned": ["b"]})
    pods.create("a", engine())
    pods.create("b", engine())
    front.serves("a", "b")
    until(lambda: front.ready, "the gateway to be ready")
    assert front.metrics()["cardan_discovery_connected"] == 1
    assert front.child.output().count("none are followed") == 1
    assert 'cannot list resource "routingoverlays"' in front.child.output().replace('\\"', '"')
    account(PODS, OVERLAYS)
    fleet.shows(f"{MODEL}: cordoned b")
    assert front.child.output().count("none are followed") == 1


def test_an_operator_that_is_installed_later_is_followed(
    api: Cluster,
    namespace: str,
    account: Callable[..., Path],
    gateway: Callable[..., Gateway],
    engine: Callable[[], str],
    pods: Pods,
) -> None:
    api.kubectl("delete", f"crd/{CRD}", "--ignore-not-found", "--wait")
    front = gateway(kubeconfig=account(PODS, OVERLAYS))
    pods.create("a", engine())
    front.serves("a")
    until(lambda: front.ready, "the gateway to be ready")
    until(lambda: "is the CRD RoutingOverlay installed?" in front.child.output(), "a word of it")
    assert ask(front.child.url)["endpoint"] == "a"
    fleet = Fleet(api, namespace, front)
    with_definitions(api)
    fleet.say({"draining": ["a"]})
    fleet.shows(f"{MODEL}: draining a")
    assert front.child.output().count("is the CRD RoutingOverlay installed?") == 1
    assert " WARNING " not in front.child.output()
