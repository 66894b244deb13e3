"""The metrics' whole way on a real cluster: gateways, engines and operators installed by the chart,
found and scraped by a real Prometheus, and every query of the dashboards answered.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
import yaml

from e2e.chart.conftest import CHART, Release
from e2e.cluster import images as bases
from e2e.cluster.paths import ROOT
from e2e.deploy import fleets
from e2e.monitoring import scraping
from e2e.namespaces import restricted
from tests.dashboards.live import EVERYTHING, Answer, Prometheus, now_s
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from e2e.cluster.interface import Cluster

pytestmark = pytest.mark.cluster

ROUTERS = ENGINES = OPERATORS = 2
VALUES: dict[str, Any] = {
    "controller": {**fleets.BRISK_OPERATOR, "replicas": OPERATORS},
    "router": {"replicas": ROUTERS},
    "engines": {"simulated": {"enabled": True, "replicas": ENGINES, "speed": 10}},
    "config": {"scrape": {"when": "always"}},
}
MODEL = "llama-3.1-8b"
TRAFFIC_S = 6
# Both ways of finding pods, by the job that they give the gateways' series.
JOBS = ["annotated", "cardan"]


class Watched(NamedTuple):
    """A release, the Prometheus beside it, when there was traffic, and the dashboard by job."""

    release: Release
    prometheus: Prometheus
    start_s: float
    end_s: float
    asked: dict[str, list[Answer]]

    def answers(self, job: str) -> list[Answer]:
        """Every panel. Asked once: through the API server that is 5 s."""
        if job not in self.asked:
            chosen = EVERYTHING | {"job": job}
            self.asked[job] = self.prometheus.dashboards(self.start_s, self.end_s, chosen)
        return self.asked[job]

    def instant(self, expr: str) -> list[dict[str, str]]:
        """Labels of what a query finds at the end of the traffic."""
        found = self.prometheus.ask("query", query=expr, time=f"{self.end_s}")["result"]
        return [one["metric"] for one in found]


@pytest.fixture(scope="module")
def namespace(cluster: Cluster) -> Iterator[str]:
    """A namespace that admits restricted pods only."""
    with restricted(cluster, "watched") as name:
        yield name


@pytest.fixture(scope="module")
def watched(cluster: Cluster, namespace: str, tag: str) -> Watched:
    """Two gateways, two engines and a fleet of them, watched while they answer for some seconds."""
    cluster.load_image(bases.kept(bases.WATCHER))
    release = Release(cluster, namespace, tag)
    release.upgrade(VALUES)
    release.apply(fleet())
    jobs = [scraping.by_annotations(namespace)]
    jobs += [scraping.as_operator(one, namespace) for one in monitors(release)]
    release.apply(scraping.objects(namespace, jobs))
    release.kubectl("wait", "pod/prometheus", "--for=condition=Ready", "--timeout=60s")
    prometheus = Prometheus(scraping.Getter(cluster, namespace))
    wanted = len(JOBS) * (ROUTERS + ENGINES + OPERATORS)
    until(lambda: len(prometheus.healthy_targets()) == wanted, f"{wanted} targets", 30.0)
    start_s = now_s()
    assert send_traffic(release) > 20
    return Watched(release, prometheus, start_s, now_s(), {})


def fleet() -> dict[str, Any]:
    """A fleet of these engines that stays as it is."""
    (pool,) = fleets.SPEC["pools"]
    fixed = {**pool, "minReplicas": ENGINES, "maxReplicas": ENGINES}
    return {
        "apiVersion": "cardan.dev/v1alpha1",
        "kind": "InferenceFleet",
        "metadata": {"name": fleets.NAME},
        "spec": {"model": MODEL, "pools": [fixed], "policies": fleets.SPEC["policies"]},
    }


def monitors(release: Release) -> list[dict[str, Any]]:
    """The PodMonitors that the chart would install."""
    text = release.helm(
        *("template", "cardan", str(CHART), "--api-versions", "monitoring.coreos.com/v1"),
        values=VALUES | {"monitoring": {"podMonitor": {"enabled": True}}},
    )
    objects = [one for one in yaml.safe_load_all(text) if one]
    found = [one for one in objects if one["kind"] == "PodMonitor"]
    assert len(found) == 3
    return found


def send_traffic(release: Release) -> int:
    """Chats through the Service, from where pods are; how many were answered in full."""
    command = [sys.executable, "-m", "e2e.monitoring.traffic", release.url(), MODEL, f"{TRAFFIC_S}"]
    path = f"PYTHONPATH={ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    return int(release.cluster.run("env", path, *command))


@pytest.mark.parametrize("job", JOBS)
def test_every_panel_has_something_to_show(watched: Watched, job: str) -> None:
    empty = [a.where for a in watched.answers(job) if not a.drawn and not a.quiet]
    assert not empty


@pytest.mark.parametrize("job", JOBS)
def test_discovery_is_seen_to_work(watched: Watched, job: str) -> None:
    drawn = {a.where.partition(": ")[2][:-2] for a in watched.answers(job) if a.drawn}
    assert drawn >= {"Kubernetes API, by gateway", "Since the Kubernetes API was heard"}


@pytest.mark.parametrize("job", JOBS)
def test_endpoints_keep_their_names(watched: Watched, job: str) -> None:
    pods = watched.release.get("pods", "-l", "app.kubernetes.io/component=engine")["items"]
    names = {pod["metadata"]["name"] for pod in pods}
    seen = {one["endpoint"] for one in watched.instant(f'cardan_endpoint_in_flight{{job="{job}"}}')}
    assert len(names) == ENGINES
    assert seen == names
    assert not watched.instant('{exported_endpoint=~".+"}')


@pytest.mark.parametrize("job", JOBS)
def test_each_gateway_says_how_busy_it_is(watched: Watched, job: str) -> None:
    pods = watched.release.get("pods", "-l", "app.kubernetes.io/component=router")["items"]
    by_pod = watched.instant(f'max by (namespace, pod) (cardan_loop_busy_ratio{{job="{job}"}})')
    assert {one["pod"] for one in by_pod} == {pod["metadata"]["name"] for pod in pods}
    assert {one["namespace"] for one in by_pod} == {watched.release.namespace}


def test_engines_metrics_are_scraped_too(watched: Watched) -> None:
    engines = watched.instant('vllm:num_requests_running{job="annotated"}')
    assert len({one["pod"] for one in engines}) == ENGINES


@pytest.mark.parametrize("job", JOBS)
def test_variables_offer_what_there_is(watched: Watched, job: str) -> None:
    offered = watched.prometheus.choices(EVERYTHING | {"job": job})
    assert offered["namespace"] == [watched.release.namespace]
    assert job in offered["job"]
    assert MODEL in offered["model"]
    assert offered["fleet"] == [fleets.NAME]


def test_no_alert_fires_while_all_is_well(watched: Watched) -> None:
    groups = watched.prometheus.ask("rules")["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert {rule["health"] for rule in rules} == {"ok"}
    assert [rule["name"] for rule in rules if rule["state"] == "firing"] == []


def test_prometheus_may_see_pods_and_nothing_else(watched: Watched) -> None:
    account = f"--as=system:serviceaccount:{watched.release.namespace}:{scraping.NAME}"
    rules = json.loads(
        watched.release.kubectl(
            *("create", "-o", "json", "-f", "-", "--validate=false", account),
            input=json.dumps(
                {
                    "apiVersion": "authorization.k8s.io/v1",
                    "kind": "SelfSubjectRulesReview",
                    "spec": {"namespace": watched.release.namespace},
                }
            ),
        )
    )["status"]["resourceRules"]
    allowed = {
        (resource, verb)
        for rule in rules
        for resource in rule["resources"]
        for verb in rule["verbs"]
        if "authorization.k8s.io" not in rule["apiGroups"]
        and "authentication.k8s.io" not in rule["apiGroups"]
    }
    assert allowed == {("pods", "list"), ("pods", "watch")}
