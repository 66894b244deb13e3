"""A wrong value is refused before anything is installed, and the message names the field.

The table is of mistakes that people make: typos, wrong types, bounds, words of another tool, values
that belong elsewhere, fields that a kind of discovery needs or does not have.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.chart.helm import Values, nested, refusal

MISTAKES: list[tuple[str, Any, str]] = [
    ("replicas", 3, "additional properties 'replicas' not allowed"),
    ("router.replicsa", 3, "at '/router': additional properties 'replicsa' not allowed"),
    ("router.replicas", "three", "at '/router/replicas': got string, want integer"),
    ("router.replicas", 0, "at '/router/replicas': minimum: got 0, want 1"),
    ("router.replicas", 2.5, "at '/router/replicas': got number, want integer"),
    ("router.autoscaling.enabled", "yes please", "at '/router/autoscaling/enabled'"),
    ("router.autoscaling.minReplicas", 0, "at '/router/autoscaling/minReplicas'"),
    ("router.autoscaling.busyRatio", 70, "at '/router/autoscaling/busyRatio': maximum"),
    ("router.podDisruptionBudget.maxUnavailable", "half", "/podDisruptionBudget/maxUnavailable'"),
    ("router.podDisruptionBudget.maxUnavailable", 0, "/podDisruptionBudget/maxUnavailable'"),
    ("router.podDisruptionBudget.maxUnavailable", "0%", "/podDisruptionBudget/maxUnavailable'"),
    ("router.autoscaling.cpuPercent", 280, "at '/router/autoscaling/cpuPercent': maximum"),
    ("router.podDisruptionBudget.minAvailable", 1, "'minAvailable' not allowed"),
    ("router.service.type", "ExternalName", "at '/router/service/type': value must be one of"),
    ("router.service.port", 0, "at '/router/service/port': minimum"),
    ("router.service.grpcPort", 70000, "at '/router/service/grpcPort': maximum"),
    ("router.minReadySeconds", "5s", "at '/router/minReadySeconds': got string, want integer"),
    ("router.resources", "small", "at '/router/resources': got string, want object"),
    ("router.tolerations", {"key": "a"}, "at '/router/tolerations': got object, want array"),
    ("router.podLabels", {"a": 1}, "at '/router/podLabels/a': got number, want string"),
    ("router.podLabels", {"app.kubernetes.io/instance": "a"}, "at '/router/podLabels/app"),
    ("router.podLabels", {"cardan.dev/engine": "vllm"}, "at '/router/podLabels/cardan.dev"),
    ("commonLabels", {"app.kubernetes.io/name": "a"}, "at '/commonLabels/app.kubernetes.io"),
    ("engines.simulated.podLabels", {"cardan.dev/engine": "a"}, "/podLabels/cardan.dev~1engine'"),
    ("podSecurity.runAsUser", 0, "at '/podSecurity/runAsUser'"),
    ("router.apiKeys.hashed", ["alice:secret"], "at '/router/apiKeys/hashed/0'"),
    ("router.apiKeys.existingSecret", "My_Secret", "at '/router/apiKeys/existingSecret'"),
    ("router.engineKey.value", "two words", "at '/router/engineKey/value'"),
    ("router.tls.secretName", "tls", "at '/router/tls': additional properties 'secretName'"),
    ("router.image.digest", "latest", "at '/router/image/digest'"),
    ("router.image", "cardan-router:1", "at '/router/image': got string, want object"),
    ("image.tag", 1.2, "at '/image/tag': got number, want string"),
    ("image.tag", "v 1", "at '/image/tag'"),
    ("image.pullPolicy", "Sometimes", "at '/image/pullPolicy': value must be one of 'Always'"),
    ("image.registry", "https://registry.example.com", "at '/image/registry'"),
    ("fullnameOverride", "My Gateway", "at '/fullnameOverride'"),
    ("discovery.kind", "pods", "at '/discovery': additional properties 'kind' not allowed"),
    ("discovery.kubernetes.kind", "endpoints", "at '/discovery/kubernetes/kind': value must be"),
    ("discovery.kubernetes.kind", "service", "at '/discovery/kubernetes/name': minLength"),
    ("discovery.kubernetes.kind", "inference_pool", "at '/discovery/kubernetes/name': minLength"),
    ("discovery.kubernetes.selector", "", "at '/discovery/kubernetes/selector': minLength"),
    ("discovery.kubernetes.selector", "app in (", "at '/discovery/kubernetes/selector'"),
    ("discovery.kubernetes.selector", "app=vllm;x", "at '/discovery/kubernetes/selector'"),
    ("discovery.kubernetes.selector", "app=a,,b", "at '/discovery/kubernetes/selector'"),
    ("discovery.kubernetes.ports", ["-http"], "at '/discovery/kubernetes/ports/0'"),
    ("discovery.kubernetes.ports", [], "at '/discovery/kubernetes/ports': minItems"),
    ("discovery.kubernetes.ports", [99999], "at '/discovery/kubernetes/ports/0'"),
    ("discovery.kubernetes.ports", [8000, 8000], "at '/discovery/kubernetes/ports'"),
    (
        "discovery.kubernetes",
        {"kind": "service", "name": "vllm", "namespace": "*"},
        "at '/discovery/kubernetes/namespace'",
    ),
    (
        "discovery.kubernetes",
        {"kind": "service", "name": "vllm.models"},
        "at '/discovery/kubernetes/name'",
    ),
    ("discovery.kubernetes", None, "at '/discovery': missing property 'kubernetes'"),
    ("discovery.file.configMap", "A", "at '/discovery/file/configMap'"),
    ("engines.vllm", {}, "at '/engines': additional properties 'vllm' not allowed"),
    (
        "engines.simulated.kind",
        "tgi",
        "at '/engines/simulated/kind': value must be one of 'sglang'",
    ),
    ("engines.simulated.model", "nope", "at '/engines/simulated/model': value must be one of"),
    ("engines.simulated.speed", 0, "at '/engines/simulated/speed'"),
    ("engines.simulated.extraArgs", "--seed 1", "at '/engines/simulated/extraArgs'"),
    ("config.listen", "0.0.0.0:80", "at '/config': additional properties 'listen' not allowed"),
    ("config.upstream.api_key", "sk", "at '/config/upstream': additional properties 'api_key'"),
    ("config.workers", 0, "at '/config/workers': minimum: got 0, want 1"),
    ("config.policy.type", "dualmop", "at '/config/policy/type': value must be one of 'dualmap'"),
    ("config.policy", "round robin", "at '/config/policy': value must be one of 'dualmap'"),
    ("config.policy", {"type": "p2c", "theta": 1}, "at '/config/policy': additional properties"),
    ("config.policy", {"type": "dualmap", "theta": 2}, "at '/config/policy/theta': maximum"),
    ("config.slo.ttft_ms", "2s", "at '/config/slo/ttft_ms': got string, want number"),
    ("config.slo.models", {"m": -1}, "at '/config/slo/models/m'"),
    ("config.fleet.health.probe_intervals_s", 1, "at '/config/fleet/health': additional"),
    ("config.log.level", "verbose", "at '/config/log/level': value must be one of 'debug'"),
    ("config.endpoints", ["10.0.0.1:8000"], "at '/config/endpoints/0'"),
    ("config.endpoints", [{"host": "e"}], "at '/config/endpoints/0'"),
    ("monitoring.podMonitor.interval", 15, "at '/monitoring/podMonitor/interval'"),
    ("monitoring.podMonitor.interval", "often", "at '/monitoring/podMonitor/interval'"),
    ("networkPolicy.clients", {}, "at '/networkPolicy/clients': got object, want array"),
    ("networkPolicy.enginePorts", ["http"], "at '/networkPolicy/enginePorts/0'"),
    ("networkPolicy.apiServerPorts", [], "at '/networkPolicy/apiServerPorts': minItems"),
    ("rbac.serviceAccount.name", "Me!", "at '/rbac/serviceAccount/name'"),
    ("rbac.clusterWide", True, "at '/rbac': additional properties 'clusterWide' not allowed"),
    ("controller.replicas", 0, "at '/controller/replicas': minimum: got 0, want 1"),
    ("controller.enabled", "on", "at '/controller/enabled': got string, want boolean"),
    ("controller.namespaces", ["Team A"], "at '/controller/namespaces/0'"),
    ("controller.namespaces", "*", "at '/controller/namespaces': got string, want array"),
    ("controller.extraTargets", ["leaderworkersets"], "at '/controller/extraTargets/0'"),
    ("controller.extraTargets", [{"apiGroup": "*", "resource": "*"}], "/extraTargets/0/apiGroup'"),
    ("controller.config.listen", ":80", "at '/controller/config': additional properties 'listen'"),
    ("controller.config.tick_s", 0, "at '/controller/config/tick_s'"),
    ("controller.config.lease.name", "mine", "at '/controller/config/lease': additional"),
    ("controller.config.metrics.prometheus", {}, "missing property 'url'"),
    ("controller.config.gateways.endpoint_names", "ip", "/config/gateways/endpoint_names'"),
    ("controller.podLabels", {"app.kubernetes.io/name": "a"}, "at '/controller/podLabels/app"),
    ("controller.podDisruptionBudget.maxUnavailable", 0, "/podDisruptionBudget/maxUnavailable'"),
    ("extraObjects", [1], "at '/extraObjects/0'"),
]

# Two values that do not go together are told by a sentence of the templates.
CONFLICTS: list[tuple[Values, str]] = [
    (nested("discovery.kubernetes.kind", "none"), "The gateway needs engines: set discovery."),
    (
        nested("router.apiKeys", {"existingSecret": "a", "hashed": ["alice:" + "ab" * 32]}),
        "router.apiKeys: give existingSecret or hashed, not both",
    ),
    (
        nested("router.engineKey", {"existingSecret": "a", "value": "b"}),
        "router.engineKey: give existingSecret or value, not both",
    ),
    (
        nested("router.autoscaling", {"enabled": True, "minReplicas": 9, "maxReplicas": 3}),
        "router.autoscaling: minReplicas is more than maxReplicas",
    ),
    (
        nested("router.autoscaling", {"enabled": True, "cpuPercent": 0}),
        "router.autoscaling: set cpuPercent, busyRatio or both",
    ),
    (
        {
            "networkPolicy": {"enabled": True, "egress": True},
            "discovery": {"kubernetes": {"ports": [8000, "http"]}},
        },
        "networkPolicy.egress needs numbers: discovery.kubernetes.ports has the name http",
    ),
    (
        nested("controller", {"enabled": True, "namespaces": ["*", "models"]}),
        "controller.namespaces: * is all of them",
    ),
    (
        nested("controller", {"enabled": True, "serviceAccount": {"create": False}}),
        "controller.serviceAccount.create is false: name the account",
    ),
    (
        nested("rbac.serviceAccount.create", False),
        "rbac.serviceAccount.create is false: name the account",
    ),
]


@pytest.mark.parametrize(
    ("path", "value", "told"), MISTAKES, ids=[f"{path}={value}" for path, value, _ in MISTAKES]
)
def test_a_wrong_value_is_refused_by_its_name(path: str, value: object, told: str) -> None:
    assert told in refusal(nested(path, value))


@pytest.mark.parametrize(("values", "told"), CONFLICTS)
def test_values_that_do_not_go_together_are_a_sentence(values: Values, told: str) -> None:
    assert told in refusal(values)


def test_there_are_enough_of_them() -> None:
    assert len({path for path, _, _ in MISTAKES}) >= 30
