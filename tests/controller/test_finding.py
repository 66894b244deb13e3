"""A fleet's gateways are the pods that it names, or those of the chart's labels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.instants import WallTime
from cardan_controller.cluster.pods import PodFacts, PodIndex
from cardan_controller.config import GatewaysConfig
from cardan_controller.crds.documents import read_fleet
from cardan_controller.finding import GatewayPods

if TYPE_CHECKING:
    from cardan_controller.crds.documents import Fleet

READY = WallTime(1_800_000_000.0)
USUAL = {"app.kubernetes.io/name": "cardan", "app.kubernetes.io/component": "router"}
OWN = {"app": "our-gateway"}
FOUND = GatewayPods(GatewaysConfig(metrics_port=9999))


def pod(name: str, labels: dict[str, str], namespace: str = "n", *, ready: bool = True) -> PodFacts:
    """One that runs."""
    return PodFacts(
        name=name,
        namespace=namespace,
        uid=name,
        labels=labels,
        created_at=READY,
        ready_at=READY if ready else None,
        address="fd00::1" if namespace == "v6" else f"10.0.0.{name[-1]}",
    )


PODS = [
    pod("gw-1", USUAL),
    pod("gw-2", USUAL, ready=False),
    pod("own-3", OWN),
    pod("own-4", OWN, "other"),
    pod("engine-5", {"app": "llama"}),
    pod("gw-6", USUAL, "v6"),
]


def fleet(**gateways: object) -> Fleet:
    """A fleet of namespace `n` with those gateways."""
    target = {"kind": "Deployment", "name": "llama"}
    spec = {
        "model": "m",
        "pools": [{"name": "main", "scaleTargetRef": target}],
        "gateways": gateways,
    }
    manifest = {"metadata": {"name": "llama", "namespace": "n"}, "spec": spec}
    return read_fleet(msgspec.json.encode(manifest))


def pages(*fleets: Fleet) -> list[str]:
    """What is read for these fleets."""
    return [gateway.url for gateway in FOUND.pages(PODS, fleets)]


def test_those_of_the_chart_are_read_for_every_fleet() -> None:
    usual = ["http://10.0.0.1:9999/metrics", "http://[fd00::1]:9999/metrics"]
    assert pages() == pages(fleet()) == usual


def test_those_that_a_fleet_names_are_read_in_its_gateways_namespace_alone() -> None:
    named = {"selector": {"matchLabels": OWN}}
    assert "http://10.0.0.3:9999/metrics" in pages(fleet(**named))
    assert "http://10.0.0.4:9999/metrics" not in pages(fleet(**named))
    assert "http://10.0.0.4:9999/metrics" in pages(fleet(namespace="other", **named))


def test_as_many_are_ready_as_serve_in_a_namespace_whichever_fleet_names_them() -> None:
    # counts are of a namespace: who is heard there may be another fleet's gateway
    index, named = PodIndex(PODS), {"selector": {"matchLabels": OWN}}
    alone, with_others = (
        FOUND.ready(index, [fleet()]),
        FOUND.ready(index, [fleet(), fleet(**named)]),
    )
    assert (alone("n"), with_others("n")) == (1, 2)
    assert (with_others("v6"), with_others("other"), with_others("elsewhere")) == (1, 0, 0)


def test_a_gateway_that_several_name_is_counted_once() -> None:
    twice = [fleet(selector={"matchLabels": labels}) for labels in (USUAL, OWN, OWN)]
    assert FOUND.ready(PodIndex(PODS), twice)("n") == 2
