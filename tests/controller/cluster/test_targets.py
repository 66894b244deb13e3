"""Targets, autoscalers and disruption budgets, read from what the API prints."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan_controller.cluster.others import read_autoscaler, read_budget, same_target
from cardan_controller.cluster.pods import instant
from cardan_controller.cluster.selectors import parse
from cardan_controller.cluster.targets import (
    TargetRef,
    read_deployment,
    read_scale,
    read_stateful_set,
)


def raw(manifest: Any) -> msgspec.Raw:
    """As it comes over the wire."""
    return msgspec.Raw(msgspec.json.encode(manifest))


def field(manager: str, time: str, fields: Any, subresource: str = "") -> dict[str, Any]:
    """An entry of managedFields."""
    return {
        "manager": manager,
        "operation": "Update",
        "time": time,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
        "subresource": subresource,
    }


DEPLOYMENT = {
    "metadata": {
        "name": "vllm",
        "resourceVersion": "42",
        "uid": "u",
        "managedFields": [
            field("helm", "2026-11-21T10:00:00Z", {"f:spec": {"f:template": {}}}),
            field("cardan-controller", "2026-11-21T11:00:00Z", {"f:spec": {"f:replicas": {}}}),
            field("kubectl", "2026-11-21T12:00:00Z", {"f:spec": {"f:replicas": {}}}, "scale"),
            field("manager", "2026-11-21T13:00:00Z", {"f:status": {"f:replicas": {}}}, "status"),
        ],
    },
    "spec": {
        "replicas": 3,
        "selector": {
            "matchLabels": {"app": "vllm"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["gold"]}],
        },
    },
}


def test_a_deployment() -> None:
    facts = read_deployment(raw(DEPLOYMENT))
    assert (facts.replicas, facts.version, facts.uid, facts.refused) == (3, "42", "u", "")
    assert facts.selector == parse("app=vllm,tier in (gold)")
    assert facts.writers == ("kubectl", "cardan-controller")


def test_one_that_says_nothing_has_one_replica_and_no_pods() -> None:
    facts = read_deployment(raw({"metadata": {}, "spec": {}}))
    assert facts.replicas == 1
    assert not facts.selector.matches({"app": "vllm"})


def test_replicas_that_are_not_even_made() -> None:
    message = 'pods "vllm-x" is forbidden: exceeded quota: gpus'
    condition = {
        "type": "ReplicaFailure",
        "status": "True",
        "message": message,
        "lastTransitionTime": "2026-11-21T12:00:00Z",
    }
    facts = read_deployment(raw(DEPLOYMENT | {"status": {"conditions": [condition]}}))
    assert (facts.refused, facts.refused_at) == (message, instant("2026-11-21T12:00:00Z"))
    healed = condition | {"status": "False"}
    assert read_deployment(raw(DEPLOYMENT | {"status": {"conditions": [healed]}})).refused == ""


@pytest.mark.parametrize(
    ("generation", "observed", "replicas", "updated", "words"),
    [
        (2, 2, 4, 4, ""),
        (2, 2, 3, 0, "0 of 3 replicas are of its newest template"),
        (2, 2, 4, 3, "3 of 4 replicas are of its newest template"),
        (3, 2, 4, 4, "what has changed of it has not been looked at"),
        (1, 0, 0, 0, ""),  # it is new
    ],
)
def test_a_rollout_lasts_as_long_as_replicas_of_two_templates_are_there(
    generation: int, observed: int, replicas: int, updated: int, words: str
) -> None:
    status = {
        "observedGeneration": observed,
        "replicas": replicas,
        "updatedReplicas": updated,
    }
    manifest = {"metadata": {"generation": generation}, "spec": {}, "status": status}
    assert read_deployment(raw(manifest)).rollout == words
    assert read_stateful_set(raw(manifest)).rollout == ""


def test_a_scale_of_any_kind() -> None:
    scale = {
        "metadata": {"name": "lws", "resourceVersion": "7", "uid": "v"},
        "spec": {"replicas": 2},
        "status": {"replicas": 2, "selector": "role=leader,app in (a,b)"},
    }
    facts = read_scale(bytes(raw(scale)))
    assert (facts.replicas, facts.version, facts.writers) == (2, "7", ())
    assert facts.selector == parse("role=leader,app in (a,b)")
    assert read_scale(b'{"metadata":{},"spec":{},"status":{}}').replicas == 0


def test_an_operator_that_nobody_knows_is_refused() -> None:
    expression = {"key": "a", "operator": "Like", "values": ["b"]}
    selector = {"matchExpressions": [expression]}
    with pytest.raises(ValueError, match="'Like' is no operator"):
        read_deployment(raw({"metadata": {}, "spec": {"selector": selector}}))


def test_an_autoscaler_names_its_target() -> None:
    ref = {"apiVersion": "apps/v1", "kind": "Deployment", "name": "vllm"}
    found = read_autoscaler(
        raw({"metadata": {"name": "h", "namespace": "n"}, "spec": {"scaleTargetRef": ref}})
    )
    assert (found.name, found.target) == ("h", TargetRef("n", "apps/v1", "Deployment", "vllm"))


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (TargetRef("n", "apps/v1beta1", "Deployment", "vllm"), True),
        (TargetRef("n", "extensions/v1", "Deployment", "vllm"), False),
        (TargetRef("m", "apps/v1", "Deployment", "vllm"), False),
        (TargetRef("n", "apps/v1", "StatefulSet", "vllm"), False),
    ],
)
def test_the_same_object_under_another_version(other: TargetRef, same: bool) -> None:
    assert same_target(TargetRef("n", "apps/v1", "Deployment", "vllm"), other) is same


def test_a_disruption_budget() -> None:
    manifest = {
        "metadata": {"name": "b", "namespace": "n"},
        "spec": {"minAvailable": 1, "selector": {"matchLabels": {"app": "vllm"}}},
        "status": {"disruptionsAllowed": 2},
    }
    budget = read_budget(raw(manifest))
    assert (budget.name, budget.namespace, budget.allowed) == ("b", "n", 2)
    assert budget.selector == parse("app=vllm")


@pytest.mark.parametrize(
    ("spec", "covers"),
    [({"selector": {}}, True), ({}, False), ({"selector": {"matchLabels": {"app": "x"}}}, False)],
)
def test_an_empty_budget_covers_all_pods_and_one_without_a_selector_none(
    spec: Any, covers: bool
) -> None:
    budget = read_budget(raw({"metadata": {"name": "b", "namespace": "n"}, "spec": spec}))
    assert budget.selector.matches({"app": "vllm"}) is covers
