"""Whatever is set, what is installed hangs together: a configuration that the gateway takes, pods
that the restricted Pod Security standard admits, selectors that select, secrets that are mounted,
and time enough to leave.
"""

from __future__ import annotations

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
    of_kind,
    pods,
    run,
    the,
)
from tests.chart.matrix import VALUE_SETS
from tests.chart.rendered import gateway, rendered

if TYPE_CHECKING:
    from cardan_router.config import Config

CLUSTER_WIDE = {"ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition"}
# What Kubernetes waits beyond the gateway's own grace: its workers are killed after five seconds.
LAST_WORDS_S = 10
# A node that stalls all gateways for so long does not empty their Service.
STALL_S = 12


def config_of(objects: list[Object]) -> Config:
    """The configuration as the gateway reads it."""
    return decode(yaml.safe_load(gateway_file(objects)), "cardan.yaml")


def component(pod: Object) -> str:
    """Which part of the release a pod is."""
    return str(pod["metadata"]["labels"]["app.kubernetes.io/component"])


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
        looked_after = VALUE_SETS[name].get("controller", {}).get("namespaces", ())
        roles = {"Role", "RoleBinding"}
        allowed = {NAMESPACE} | ({home, *looked_after} if found["kind"] in roles else set())
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
    able = {"router", "controller"}
    others = [pod for pod in pods(objects) if component(pod) not in able]
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
