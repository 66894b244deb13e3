"""The operator of the chart: off unless asked for, with the rights for what it does and no others.
Its configuration is one that it takes.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan_controller.cluster.selectors import parse
from cardan_controller.config import OperatorConfig

from tests.chart.helm import NAMESPACE, RELEASE, Object, nested, notes, of_kind, render, the
from tests.chart.matrix import VALUE_SETS
from tests.chart.rendered import gateway, rendered

SETS = [name for name, values in VALUE_SETS.items() if values.get("controller", {}).get("enabled")]
every_set = pytest.mark.parametrize("name", SETS)
CALLED = f"{RELEASE}-controller"
FLEETS = [
    {
        "apiGroups": ["cardan.dev"],
        "resources": ["inferencefleets"],
        "verbs": ["list", "watch", "patch"],
    },
    {"apiGroups": ["cardan.dev"], "resources": ["inferencefleets/status"], "verbs": ["patch"]},
    {
        "apiGroups": ["cardan.dev"],
        "resources": ["routingoverlays"],
        "verbs": ["list", "watch", "create", "patch", "delete"],
    },
    {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch", "patch", "delete"]},
    {
        "apiGroups": ["apps"],
        "resources": ["deployments", "statefulsets"],
        "verbs": ["list", "watch"],
    },
    {
        "apiGroups": ["apps"],
        "resources": ["deployments/scale", "statefulsets/scale"],
        "verbs": ["patch"],
    },
    {
        "apiGroups": ["autoscaling"],
        "resources": ["horizontalpodautoscalers"],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": ["policy"], "resources": ["poddisruptionbudgets"], "verbs": ["list", "watch"]},
    {"apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"]},
]
LEASE = [
    {
        "apiGroups": ["coordination.k8s.io"],
        "resources": ["leases"],
        "resourceNames": ["cardan-controller"],
        "verbs": ["get", "update"],
    },
    {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create"]},
]
OTHERS = {**LEASE[0], "verbs": ["get"]}
GROUP = "leaderworkerset.x-k8s.io"
EXTRA = (
    {"apiGroups": [GROUP], "resources": ["leaderworkersets/scale"], "verbs": ["get", "patch"]},
    {"apiGroups": [GROUP], "resources": ["leaderworkersets"], "verbs": ["get"]},
)


def rules_of(objects: list[Object]) -> dict[tuple[str, str | None, str], list[Any]]:
    """The rules of the operator's roles, by kind, namespace and name."""
    return {
        (kind, role["metadata"].get("namespace"), role["metadata"]["name"]): role["rules"]
        for kind in ("Role", "ClusterRole")
        for role in of_kind(objects, kind, "controller")
    }


def config_of(objects: list[Object]) -> OperatorConfig:
    """The configuration as the operator reads it."""
    text = the(objects, "ConfigMap", "controller")["data"]["operator.yaml"]
    return msgspec.yaml.decode(text, type=OperatorConfig)


def test_there_is_none_where_none_is_asked_for() -> None:
    for name in set(VALUE_SETS) - set(SETS):
        parts = [found["metadata"].get("labels", {}) for found in rendered(name)]
        assert not any(part.get("app.kubernetes.io/component") == "controller" for part in parts)


@pytest.mark.parametrize(
    ("name", "roles"),
    [
        ("an operator", {("Role", NAMESPACE, CALLED): FLEETS}),
        (
            "an operator of several namespaces",
            {
                ("Role", NAMESPACE, CALLED): [*FLEETS[:6], *EXTRA, *FLEETS[6:]],
                ("Role", "models", f"{NAMESPACE}:{CALLED}"): [*FLEETS[:6], *EXTRA, *FLEETS[6:]],
            },
        ),
        (
            "an operator of the whole cluster",
            {("ClusterRole", None, f"{NAMESPACE}:{CALLED}"): [*FLEETS, OTHERS]},
        ),
    ],
)
def test_it_may_do_what_it_does_where_it_looks_and_nothing_else(name: str, roles: Any) -> None:
    objects = rendered(name)
    assert rules_of(objects) == {("Role", NAMESPACE, f"{CALLED}-lease"): LEASE, **roles}
    bindings = [
        *of_kind(objects, "RoleBinding", "controller"),
        *of_kind(objects, "ClusterRoleBinding", "controller"),
    ]
    bound = {
        (found["roleRef"]["kind"], found["metadata"].get("namespace"), found["roleRef"]["name"])
        for found in bindings
    }
    assert bound == set(rules_of(objects))
    account = {"kind": "ServiceAccount", "name": CALLED, "namespace": NAMESPACE}
    assert all(found["subjects"] == [account] for found in bindings)


def test_no_rights_are_made_where_somebody_else_makes_them() -> None:
    objects = rendered("an operator with rights of somebody else's")
    assert rules_of(objects) == {}
    assert of_kind(objects, "ServiceAccount", "controller") == []
    pod = the(objects, "Deployment", "controller")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == "given"


@every_set
def test_it_takes_its_configuration(name: str) -> None:
    objects = rendered(name)
    config = config_of(objects)
    service = the(objects, "Service", "controller")
    port = service["spec"]["ports"][0]["port"]
    host = f"{service['metadata']['name']}.{NAMESPACE}.svc"
    assert config.wake_url == f"http://{host}:{port}"
    assert config.listen == "0.0.0.0:8080"
    assert (config.lease.name, config.lease.namespace) == ("cardan-controller", NAMESPACE)
    named = VALUE_SETS[name]["controller"].get("namespaces") or [NAMESPACE]
    assert config.namespaces == (() if named == ["*"] else tuple(named))


def test_what_is_configured_is_kept_beside_what_the_chart_sets() -> None:
    config = config_of(rendered("an operator of several namespaces"))
    assert config.tick_s == 5
    assert config.metrics.prometheus
    assert (config.lease.duration_s, config.lease.renew_deadline_s) == (30, 20)
    assert config.budgets["h100"].gpus == 64
    assert config.metrics.external == {"jobs": "sum by (namespace) (jobs_waiting)"}
    assert config.gateways.namespaces == ("shared",)
    assert config.record.max_bytes == 1_073_741_824


@pytest.mark.parametrize("name", ["an operator", "an operator with rights of somebody else's"])
def test_it_knows_the_gateways_of_the_chart(name: str) -> None:
    config = config_of(rendered(name))
    labels = gateway(rendered(name))["metadata"]["labels"]
    assert parse(config.gateways.selector).matches(labels)
    assert config.gateways.endpoint_names == "pod"
    everywhere = config_of(rendered("an operator of the whole cluster")).gateways
    assert (everywhere.endpoint_names, everywhere.selector) == ("namespace/pod", "app=gateway")


def test_a_change_of_its_configuration_rolls_it_and_no_gateway() -> None:
    def templates(values: Any) -> list[object]:
        objects = render(nested("controller", {"enabled": True, **values}))
        parts = ("controller", "router")
        return [the(objects, "Deployment", part)["spec"]["template"] for part in parts]

    before, after = templates({}), templates({"config": {"tick_s": 3}})
    assert before[0] != after[0]
    assert before[1] == after[1]


@every_set
def test_two_lead_in_turn_and_are_asked_how_they_are(name: str) -> None:
    deployment = the(rendered(name), "Deployment", "controller")
    assert deployment["spec"]["replicas"] >= 2
    spec = deployment["spec"]["template"]["spec"]
    (container,) = spec["containers"]
    assert container["readinessProbe"]["httpGet"] == {"path": "/readyz", "port": "http"}
    assert container["livenessProbe"]["httpGet"] == {"path": "/livez", "port": "http"}
    assert container["env"][0]["name"] == "POD_IP"
    assert spec["automountServiceAccountToken"] is True


def test_network_policies_let_gateways_in_and_the_operator_out() -> None:
    policy = the(rendered("an operator of several namespaces"), "NetworkPolicy", "controller")
    gateways, anybody = policy["spec"]["ingress"]
    (peer,) = gateways["from"]
    assert peer["namespaceSelector"]["matchExpressions"][0]["values"] == ["llm", "models"]
    assert "from" not in anybody
    ports = [[port["port"] for port in rule["ports"]] for rule in policy["spec"]["egress"]]
    assert ports == [[53, 53], [443, 6443], [9091]]
    policy = the(rendered("an operator of the whole cluster"), "NetworkPolicy", "controller")
    gateways, keda = policy["spec"]["ingress"]
    assert gateways["from"][0]["namespaceSelector"] == {}
    assert gateways["from"][1] == {"podSelector": {"matchLabels": {"app": "prometheus"}}}
    assert keda["ports"][0]["port"] == "keda"
    assert [rule["ports"][0]["port"] for rule in policy["spec"]["egress"]] == [53, 443, 9999]


def test_gateways_let_the_operator_read_their_pages_and_may_wake_it() -> None:
    objects = rendered("an operator of the whole cluster")
    policy = the(objects, "NetworkPolicy", "router")["spec"]
    operator = the(objects, "Deployment", "controller")["spec"]["template"]["metadata"]["labels"]
    _, metrics = policy["ingress"]
    allowed = [peer["podSelector"]["matchLabels"] for peer in metrics["from"]]
    assert any(labels.items() <= operator.items() for labels in allowed)
    last = policy["egress"][-1]
    assert last["ports"] == [{"port": 8080, "protocol": "TCP"}]
    assert last["to"][0]["podSelector"]["matchLabels"].items() <= operator.items()


@pytest.mark.parametrize(("namespaces", "get"), [([], f"-n {NAMESPACE} get"), (["*"], "get -A")])
def test_the_notes_say_how_to_look_at_fleets(namespaces: list[str], get: str) -> None:
    told = notes({"controller": {"enabled": True, "namespaces": namespaces}})
    assert f"\n  kubectl {get} inferencefleets\n" in told
    assert "inferencefleets" not in notes()
