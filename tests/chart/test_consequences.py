"""One value, or a few, and what exactly follows from them in what is installed."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.helm import CHART, NAMESPACE, RELEASE, manifest, nested, of_kind, pods, render, the
from tests.chart.matrix import VALUE_SETS
from tests.chart.rendered import gateway, rendered


def test_the_test_asks_through_the_service_with_a_key_where_one_is_needed() -> None:
    (pod,) = of_kind(rendered("as it is"), "Pod")
    assert pod["metadata"]["annotations"]["helm.sh/hook"] == "test"
    (container,) = pod["spec"]["containers"]
    assert container["args"] == ["explain", f"http://{RELEASE}.{NAMESPACE}.svc:8080", "--wait=60"]
    assert of_kind(rendered("hashed keys"), "Pod") == []
    (pod,) = of_kind(rendered("keys of a secret, and a test with one"), "Pod")
    (container,) = pod["spec"]["containers"]
    assert "--api-key-file=/etc/cardan/key/api-key" in container["args"]
    (pod,) = of_kind(rendered("TLS"), "Pod")
    assert pod["spec"]["containers"][0]["args"][1].startswith("https://")
    assert "--insecure" in pod["spec"]["containers"][0]["args"]


def test_only_what_a_restart_alone_can_change_rolls_the_gateways() -> None:
    def template(values: Any) -> object:
        return gateway(render(nested("config", values)))

    before = template({})
    harmless: Any
    fixed: Any
    for harmless in ({"slo": {"ttft_ms": 1}}, {"policy": "p2c"}, {"log": {"level": "debug"}}):
        assert template(harmless) == before, harmless
    for fixed in ({"workers": 2}, {"seed": 1}, {"ui": {"enabled": False}}, {"fleet": {}}):
        assert template(fixed) != before, fixed


def test_where_nothing_is_read_again_every_change_rolls_the_gateways() -> None:
    def template(more: Any, **router: object) -> object:
        return gateway(render({"config": more, "router": router}))

    for never in ({"reload": {"poll_s": 0}}, {"reload": None}):
        before = template(never)
        assert before != template({})
        assert template({**never, "slo": {"ttft_ms": 1}}) != before
        one, other = (
            template(never, apiKeys={"hashed": [f"alice:{digit * 64}"]}) for digit in "ab"
        )
        assert one != other


def test_a_changed_key_of_the_engines_rolls_the_simulated_ones() -> None:
    def template(key: str) -> object:
        simulated = nested("engines.simulated.enabled", True)
        objects = render({**simulated, "router": {"engineKey": {"value": key}}})
        return the(objects, "Deployment", "engine")["spec"]["template"]

    assert template("sk-a") != template("sk-b")
    assert "sk-a" not in str(template("sk-a"))


def test_engines_that_others_scale_are_given_no_number() -> None:
    engine = the(rendered("a fleet of simulated engines"), "Deployment", "engine")
    assert "replicas" not in engine["spec"]
    assert the(rendered("a test drive"), "Deployment", "engine")["spec"]["replicas"] == 4


def test_the_autoscaler_measures_cores_that_workers_can_use_whatever_is_requested() -> None:
    def target(**config: int) -> object:
        values = {"router": {"autoscaling": {"enabled": True}}, "config": config}
        (metric,) = the(render(values), "HorizontalPodAutoscaler")["spec"]["metrics"]
        return metric["resource"]["target"]

    assert target() == {"type": "AverageValue", "averageValue": "700m"}
    assert target(workers=4) == {"type": "AverageValue", "averageValue": "2800m"}


def test_images_come_from_the_registry_by_digest_before_tag() -> None:
    def images(name: str) -> set[str]:
        return {
            container["image"]
            for pod in pods(rendered(name))
            for container in pod["spec"]["containers"]
        }

    at = "registry.example.com:5000/team/cardan"
    digest = "sha256:" + "0123456789abcdef" * 4
    assert images("images of a registry") == {f"{at}-router@{digest}", f"{at}-engine:dev"}
    assert images("a test drive") == {"cardan-router:0.1.0", "cardan-engine:0.1.0"}


def test_gateways_are_scraped_as_often_as_an_operator_needs_whatever_prometheus_does() -> None:
    monitors = of_kind(rendered("labels that all could have set"), "PodMonitor")
    intervals = {found["spec"]["podMetricsEndpoints"][0].get("interval") for found in monitors}
    assert intervals == {"15s"}  # four in `metrics.short_window_s`


def test_monitoring_brings_what_is_exported_and_nothing_is_changed_on_the_way() -> None:
    objects = rendered("everything that monitors")
    ports = {
        found["spec"]["podMetricsEndpoints"][0]["port"] for found in of_kind(objects, "PodMonitor")
    }
    assert ports == {"metrics", "http"}
    (rule,) = of_kind(objects, "PrometheusRule")
    assert rule["spec"] == yaml.safe_load((CHART / "rules/cardan.yaml").read_text())
    boards = [found for found in of_kind(objects, "ConfigMap") if "dashboard" in str(found)[:400]]
    texts = {name: text for board in boards for name, text in board["data"].items()}
    for file in (CHART / "dashboards").glob("*.json"):
        assert texts[file.name].strip() == file.read_text().strip()
    assert not any("prometheus.io/scrape" in str(pod["metadata"]) for pod in pods(objects))


def test_network_policies_name_ports_that_exist_and_let_the_test_in() -> None:
    objects = rendered("network policies")
    router, engine = (the(objects, "NetworkPolicy", part)["spec"] for part in ("router", "engine"))
    assert router["policyTypes"] == ["Ingress", "Egress"]
    clients, monitoring = router["ingress"]
    assert [port["port"] for port in clients["ports"]] == ["http", "grpc"]
    tester = of_kind(objects, "Pod")[0]["metadata"]["labels"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in clients["from"][1:]]
    assert any(labels.items() <= tester.items() for labels in allowed)
    assert monitoring["from"] == [{"podSelector": {"matchLabels": {"app": "prometheus"}}}]
    gateways = engine["ingress"][0]["from"][0]["podSelector"]["matchLabels"]
    assert gateways.items() <= gateway(objects)["metadata"]["labels"].items()


def test_an_empty_list_of_who_may_read_metrics_means_everybody() -> None:
    objects = rendered("open network policies")
    router, engine = (the(objects, "NetworkPolicy", part)["spec"] for part in ("router", "engine"))
    assert not any("from" in rule for rule in router["ingress"])
    gateways, anybody = engine["ingress"]
    assert "from" in gateways
    assert anybody == {"ports": [{"port": "http", "protocol": "TCP"}]}


@pytest.mark.parametrize(
    ("name", "engines", "api"),
    [
        ("open network policies", [8000], [443, 6443]),
        ("network policies for other ports", [8100, 8101], [16443]),
        ("network policies with the engines' ports named", [8200], [443, 6443]),
    ],
)
def test_a_gateway_may_reach_the_engines_where_it_looks_for_them(
    name: str, engines: list[int], api: list[int]
) -> None:
    egress = the(rendered(name), "NetworkPolicy", "router")["spec"]["egress"]
    _, to_api, to_engines = ([port["port"] for port in rule["ports"]] for rule in egress)
    assert (to_api, to_engines) == (api, engines)


def test_extra_objects_are_templates() -> None:
    names = {found["metadata"]["name"] for found in rendered("more objects")}
    assert {"cardan-more", "cardan-text"} <= names


@pytest.mark.parametrize(
    ("release", "name"), [("cardan", "cardan"), ("prod", "prod-cardan"), ("my-cardan", "my-cardan")]
)
def test_everything_is_called_after_the_release(release: str, name: str) -> None:
    objects = render({"engines": {"simulated": {"enabled": True}}}, release=release)
    # The definitions, and the roles that go with them, are the cluster's.
    kinds = ("CustomResourceDefinition", "ClusterRole")
    names = {found["metadata"]["name"] for found in objects if found["kind"] not in kinds}
    parts = ("router", "engine", "overlays", "test")
    assert names == {name, *(f"{name}-{part}" for part in parts)}
    roles = {one["metadata"]["name"] for one in objects if one["kind"] == "ClusterRole"}
    assert roles == {f"cardan.dev:{who}" for who in ("view", "edit", "admin")}


def test_a_long_release_name_stays_within_what_kubernetes_takes() -> None:
    for found in render({}, release="r" * 53):
        assert len(found["metadata"]["name"]) <= 63


def test_the_manifest_is_the_same_every_time() -> None:
    values = VALUE_SETS["a large gateway"]
    assert manifest(values) == manifest(values)
