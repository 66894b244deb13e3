"""Whatever is set, what is installed hangs together: a configuration that the gateway takes, pods
that the restricted Pod Security standard admits, selectors that select, secrets that are mounted,
and time enough to leave.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from cardan_router.config_file import decode
from cardan_sim.serve.main import _parser as engine_parser

from tests.chart.helm import (
    CHART,
    NAMESPACE,
    RELEASE,
    Object,
    gateway_file,
    manifest,
    nested,
    of_kind,
    pods,
    render,
    run,
    the,
)
from tests.chart.matrix import VALUE_SETS

if TYPE_CHECKING:
    from cardan_router.config import Config

CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
# What Kubernetes waits beyond the gateway's own grace: its workers are killed after five seconds.
LAST_WORDS_S = 10
# A node that stalls all gateways for so long does not empty their Service.
STALL_S = 12


@functools.cache
def rendered(name: str) -> list[Object]:
    """The objects of a value set, rendered once for all tests of this process."""
    return render(VALUE_SETS[name])


def config_of(objects: list[Object]) -> Config:
    """The configuration as the gateway reads it."""
    return decode(yaml.safe_load(gateway_file(objects)), "cardan.yaml")


def gateway(objects: list[Object]) -> Any:
    """The pod template of the gateway."""
    return the(objects, "Deployment", "router")["spec"]["template"]


every_set = pytest.mark.parametrize("name", VALUE_SETS)


def test_there_are_enough_ways() -> None:
    assert len(VALUE_SETS) >= 20


@every_set
def test_helm_finds_nothing_to_complain_about(name: str) -> None:
    ended = run("lint", "--strict", str(CHART), values=VALUE_SETS[name])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "1 chart(s) linted, 0 chart(s) failed" in ended.stdout


@every_set
def test_the_gateway_takes_the_configuration(name: str) -> None:
    config = config_of(rendered(name))
    config.check_complete()
    assert (config.listen, config.grpc, config.admin) == (
        "0.0.0.0:8080",
        "0.0.0.0:9000",
        "0.0.0.0:9090",
    )
    assert config.reload.poll_s > 0


@every_set
def test_objects_are_called_once_labelled_and_in_their_namespace(name: str) -> None:
    seen = set()
    for found in rendered(name):
        metadata = found["metadata"]
        if "labels" not in metadata:
            assert name == "more objects"
            continue
        key = (found["kind"], metadata["name"], metadata.get("namespace"))
        assert key not in seen
        seen.add(key)
        assert len(metadata["name"]) <= 63
        assert metadata["labels"]["app.kubernetes.io/managed-by"] == "Helm"
        assert metadata["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert ("namespace" in metadata) == (found["kind"] not in CLUSTER_WIDE), key
        home = VALUE_SETS[name].get("discovery", {}).get("kubernetes", {}).get("namespace")
        roles = {"Role", "RoleBinding"}
        allowed = {NAMESPACE} | ({home} if found["kind"] in roles else set())
        assert found["kind"] in CLUSTER_WIDE or metadata["namespace"] in allowed


def restricted(spec: Any) -> list[str]:
    """What the restricted Pod Security standard has against a pod (v1.36), as far as we use it."""
    wrong = [
        f"{field} is set" for field in ("hostNetwork", "hostPID", "hostIPC") if spec.get(field)
    ]
    kinds = {kind for volume in spec.get("volumes", ()) for kind in volume if kind != "name"}
    wrong += sorted(kinds - {"configMap", "secret", "emptyDir", "projected"})
    pod = spec.get("securityContext", {})
    if pod.get("runAsNonRoot") is not True or pod.get("runAsUser") == 0:
        wrong.append("runAsNonRoot")
    if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
        wrong.append("seccompProfile")
    for container in [*spec["containers"], *spec.get("initContainers", ())]:
        own = container["securityContext"]
        if own["allowPrivilegeEscalation"] is not False or own.get("privileged"):
            wrong.append("allowPrivilegeEscalation")
        if own["capabilities"] != {"drop": ["ALL"]}:
            wrong.append("capabilities")
        if any("hostPort" in port for port in container.get("ports", ())):
            wrong.append("hostPort")
    return wrong


@every_set
def test_pods_are_hardened(name: str) -> None:
    for pod in pods(rendered(name)):
        spec = pod["spec"]
        assert restricted(spec) == []
        context = spec["securityContext"]
        given = VALUE_SETS[name].get("podSecurity", {})
        for field in ("runAsUser", "runAsGroup", "fsGroup"):
            assert context.get(field) == given.get(field, 65532)
        assert spec["enableServiceLinks"] is False
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert "command" not in container  # the image's own entry point, no shell


def test_the_check_of_pods_would_notice() -> None:
    spec: Any = gateway(rendered("as it is"))["spec"]
    assert restricted({**spec, "hostNetwork": True}) == ["hostNetwork is set"]
    assert restricted({**spec, "volumes": [{"name": "h", "hostPath": {}}]}) == ["hostPath"]
    assert restricted({**spec, "securityContext": {}}) == ["runAsNonRoot", "seccompProfile"]


@every_set
def test_selectors_select_the_pods_they_mean(name: str) -> None:
    objects = rendered(name)
    deployments = of_kind(objects, "Deployment")
    for deployment in deployments:
        wanted = deployment["spec"]["selector"]["matchLabels"]
        fit = [
            other
            for other in pods(objects)
            if wanted.items() <= other["metadata"]["labels"].items()
        ]
        assert len(fit) == 1
        assert not {"helm.sh/chart", "app.kubernetes.io/version"} & set(
            fit[0]["metadata"]["labels"]
        )  # a new chart alone rolls nothing
    for service in of_kind(objects, "Service"):
        _check_service(service, deployments)
    for budget in of_kind(objects, "PodDisruptionBudget"):
        selectors = [found["spec"]["selector"] for found in deployments]
        assert budget["spec"]["selector"] in selectors
        assert budget["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"
    for scaler in of_kind(objects, "HorizontalPodAutoscaler"):
        target = the(objects, "Deployment", "router")
        assert scaler["spec"]["scaleTargetRef"]["name"] == target["metadata"]["name"]
        assert "replicas" not in target["spec"]


def _check_service(service: Object, deployments: list[Object]) -> None:
    wanted = service["spec"]["selector"]
    (behind,) = [
        found["spec"]["template"]
        for found in deployments
        if wanted.items() <= found["spec"]["template"]["metadata"]["labels"].items()
    ]
    (container,) = behind["spec"]["containers"]
    ports = {port["name"] for port in container["ports"]}
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= ports


@every_set
def test_what_the_configuration_names_is_mounted(name: str) -> None:
    objects = rendered(name)
    config = config_of(objects)
    spec = gateway(objects)["spec"]
    (container,) = spec["containers"]
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {volume["name"] for volume in spec["volumes"]} == set(mounts.values())
    upstream = config.upstream.api_key_file
    files = [config.api_keys, config.tls.cert, config.tls.key, config.discovery.file, upstream]
    for file in filter(None, files):
        assert file.rpartition("/")[0] in mounts
    assert f"{container['args'][-1].rpartition('/')[0]}" in mounts
    made = {found["metadata"]["name"]: found for found in of_kind(objects, "Secret")}
    for volume in spec["volumes"]:
        secret = volume.get("secret", {}).get("secretName", "")
        assert not secret.startswith(RELEASE) or secret in made


@every_set
def test_there_is_time_to_leave(name: str) -> None:
    objects = rendered(name)
    for deployment in of_kind(objects, "Deployment"):
        assert deployment["spec"]["strategy"]["rollingUpdate"] == {
            "maxUnavailable": 0,
            "maxSurge": 1,
        }
    spec = gateway(objects)["spec"]
    (container,) = spec["containers"]
    shutdown = config_of(objects).shutdown
    needed_s = math.ceil(shutdown.linger_s) + math.ceil(shutdown.grace_s) + LAST_WORDS_S
    assert spec["terminationGracePeriodSeconds"] == needed_s
    assert "lifecycle" not in container  # the gateway lingers itself
    probes = {"startupProbe", "readinessProbe", "livenessProbe"}
    assert {container[probe]["httpGet"]["port"] for probe in probes} == {"metrics"}
    ready = container["readinessProbe"]
    assert ready["httpGet"]["path"] == "/readyz"
    assert ready["periodSeconds"] * ready["failureThreshold"] >= STALL_S


@every_set
def test_a_gateway_has_a_token_only_where_it_watches(name: str) -> None:
    objects = rendered(name)
    watches = config_of(objects).discovery.kubernetes is not None
    assert gateway(objects)["spec"]["automountServiceAccountToken"] is watches
    others = [pod for pod in pods(objects) if pod is not gateway(objects)]
    assert not any(pod["spec"]["automountServiceAccountToken"] for pod in others)


@every_set
def test_simulated_engines_understand_their_flags(name: str) -> None:
    for deployment in of_kind(rendered(name), "Deployment", "engine"):
        template = deployment["spec"]["template"]
        (container,) = template["spec"]["containers"]
        command, *flags = container["args"]
        args = engine_parser().parse_args(flags)
        assert command == "engine"
        assert args.engine == template["metadata"]["labels"]["cardan.dev/engine"]
        values = VALUE_SETS[name].get("engines", {}).get("simulated", {})
        assert args.time_scale == pytest.approx(1 / values.get("speed", 1))
        needed = args.shutdown_timeout + container["lifecycle"]["preStop"]["sleep"]["seconds"]
        assert template["spec"]["terminationGracePeriodSeconds"] > needed
        asks = "router" in VALUE_SETS[name] and "engineKey" in VALUE_SETS[name]["router"]
        assert (args.api_key == "$(ENGINE_API_KEY)") is asks
        assert ("env" in container) is asks


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
    names = {found["metadata"]["name"] for found in objects}
    assert names == {name, f"{name}-router", f"{name}-engine", f"{name}-test"}


def test_a_long_release_name_stays_within_what_kubernetes_takes() -> None:
    for found in render({}, release="r" * 53):
        assert len(found["metadata"]["name"]) <= 63


def test_the_manifest_is_the_same_every_time() -> None:
    values = VALUE_SETS["a large gateway"]
    assert manifest(values) == manifest(values)
