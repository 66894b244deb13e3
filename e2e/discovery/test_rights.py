"""The rights that the chart gives its gateway are enough, and none can be taken away; nobody of the
chart may do more than is written down in `rights/`, as `kubectl auth can-i --list` tells it.

To write it anew: CARDAN_WRITE_GOLDEN=1.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from e2e.discovery import chart
from e2e.discovery.conftest import Gateway
from e2e.discovery.pods import Pods
from e2e.discovery.test_kinds import NODE, POOL_CRD, SERVICE, pool
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from e2e.cluster.interface import Cluster
    from tests.system.processes import Processes

pytestmark = pytest.mark.cluster

GOLDEN = Path(__file__).parent / "rights"
# Each rule of each way's role, by its number.
RULES = [
    ("pods", 0),
    ("pods-elsewhere", 0),
    ("pods-everywhere", 0),
    ("service", 0),
    ("service-elsewhere", 0),
    ("inference-pool", 0),
    ("inference-pool", 1),
]


@pytest.fixture(scope="module")
def home(api: Cluster) -> Iterator[tuple[str, str]]:
    """Where gateways live, and where some of them look."""
    own, elsewhere = (f"{name}-{secrets.token_hex(3)}" for name in ("home", "away"))
    chart.apply(
        api,
        [
            *(
                {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}}
                for name in (own, elsewhere)
            ),
            NODE,
            POOL_CRD,
        ],
    )
    crd = POOL_CRD["metadata"]["name"]
    api.kubectl("wait", "--for=condition=Established", f"crd/{crd}", "--timeout=30s")
    yield own, elsewhere
    api.kubectl("delete", "namespace", own, elsewhere, "--wait=false")


def agrees(name: str, found: list[str]) -> None:
    """Compare with what is written down."""
    path, text = GOLDEN / f"{name}.txt", "\n".join(found) + "\n"
    if os.environ.get("CARDAN_WRITE_GOLDEN") == "1":
        path.write_text(text)
    assert text == path.read_text()


def test_nobody_may_do_more_than_is_written_down(api: Cluster, home: tuple[str, str]) -> None:
    own, elsewhere = home
    modes = chart.modes(elsewhere, "app=vllm")
    charts = {name: chart.render(own, modes[name], release=f"{name}-cardan") for name in modes}
    chart.apply(api, [found for one in charts.values() for found in one.rights])
    # Engines and the chart's test run as this one; it is in no binding of ours.
    everybody = list(chart.can_do(api, own, "default", own))
    agrees("everybody", everybody)
    for name, one in charts.items():
        told = [f"# {name}: what it adds to everybody.txt, in which namespace."]
        places = {
            "where the gateway is": own,
            "where it is told to look, if elsewhere": elsewhere,
            "anywhere else": "default",
        }
        for title, where in places.items():
            rows = list(chart.can_do(api, own, one.account, where))
            assert set(everybody) <= set(rows)
            told += [f"{title}:", *(f"  {row}" for row in rows if row not in everybody)]
        agrees(name, told)


class Place:
    """A gateway's surroundings for one rule: what it finds, and what it may."""

    def __init__(self, api: Cluster, mode: str, home: tuple[str, str]) -> None:
        own, elsewhere = home
        self.api = api
        self.label = f"r{secrets.token_hex(3)}"
        found = chart.modes(elsewhere, f"app={self.label}")[mode]
        self.kind: str = found["kind"]
        self.rendered = chart.render(own, found, release=f"{self.label}-cardan")
        watched = elsewhere if mode.endswith("-elsewhere") else own
        self.pods = Pods(api, watched)
        self.prefix = f"{watched}/" if mode.endswith("-everywhere") else ""
        if self.kind == "service":
            spec = {**SERVICE["spec"], "selector": {"app": self.label}}
            document = json.dumps({**SERVICE, "spec": spec})
            api.kubectl("apply", "-n", watched, "-f", "-", input=document)
        if self.kind == "inference_pool":
            api.kubectl("apply", "-n", watched, "-f", "-", input=pool(self.label, 8000))

    def add(self, name: str, address: str) -> str:
        """A pod that is to be found; what the gateway calls it."""
        self.pods.create(f"{self.label}-{name}", address, labels={"app": self.label})
        return f"{self.prefix}{self.label}-{name}"


@pytest.fixture
def starts(api: Cluster, procs: Processes, tmp_path: Path) -> Callable[[chart.Rendered], Gateway]:
    """Starts a gateway with the chart's configuration as the chart's account."""

    def start(rendered: chart.Rendered) -> Gateway:
        own = api.kubeconfig_for(rendered.namespace, rendered.account)
        child = procs.start(
            "router",
            *("router", "--config", str(rendered.write_config(tmp_path))),
            *("--listen", "127.0.0.1:0", "--discovery-kubernetes-kubeconfig", str(own)),
        )
        child.url  # noqa: B018 - waits for it
        return Gateway(child)

    return start


@pytest.mark.parametrize(("mode", "rule"), RULES)
def test_a_gateway_works_with_the_rights_of_the_chart_and_with_none_less(
    api: Cluster,
    home: tuple[str, str],
    starts: Callable[[chart.Rendered], Gateway],
    engine: Callable[[], str],
    mode: str,
    rule: int,
) -> None:
    place = Place(api, mode, home)
    # EndpointSlices take no loopback address: behind a Service nobody answers here.
    answers = place.kind != "service"
    first = place.add("a", engine() if answers else "10.77.0.1")
    resource = place.rendered.role["rules"][rule]["resources"][0]

    chart.apply(api, place.rendered.without(rule, "list"))
    front = starts(place.rendered)
    until(lambda: "forbidden" in front.readiness(), "the reason")
    until(lambda: f'cannot list resource \\"{resource}\\"' in front.child.output(), "more of it")
    assert front.states() == {}
    assert front.metrics()['cardan_discovery_errors_total{reason="forbidden"}'] >= 1

    chart.apply(api, place.rendered.without(rule, "watch"))
    until(lambda: set(front.states()) == {first}, "a list")
    until(lambda: f'cannot watch resource \\"{resource}\\"' in front.child.output(), "the reason")
    assert front.metrics()["cardan_discovery_connected"] == 0

    chart.apply(api, place.rendered.rights)
    until(lambda: front.metrics()["cardan_discovery_connected"] == 1, "a watch")
    second = place.add("b", "10.77.0.2")
    until(lambda: set(front.states()) == {first, second}, "a change to be seen", 20.0)
    until(lambda: front.ready is answers, f"to be ready: {front.readiness()}")


def test_every_rule_of_every_way_was_taken_away() -> None:
    modes = chart.modes("away", "app=vllm")
    rendered = {name: chart.render("home", modes[name]) for name in modes if name != "none"}
    rules = [(name, n) for name, one in rendered.items() for n in range(len(one.role["rules"]))]
    assert rules == RULES
    verbs = {tuple(rule["verbs"]) for one in rendered.values() for rule in one.role["rules"]}
    assert verbs == {("list", "watch")}
