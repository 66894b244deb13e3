"""What the chart writes is read as it was meant: names and labels are text, no key stands twice."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.chart.helm import (
    NAMESPACE,
    Object,
    manifest,
    notes,
    of_kind,
    pods,
    render,
    the,
)
from tests.chart.matrix import VALUE_SETS

# Fields of Kubernetes that are text, wherever they stand in what we make.
TEXT = {
    *("name", "namespace", "secretName", "serviceAccountName", "priorityClassName", "key"),
    *("loadBalancerClass", "image", "configMap"),
}


# What speaks of fields instead of having them.
SCHEMAS = {"CustomResourceDefinition"}


class _Once(yaml.CSafeLoader):
    """Takes no key twice, as Kubernetes' strict decoder does."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key) for key, _ in node.value]
        twice = {key for key in keys if keys.count(key) > 1}
        assert not twice, f"{twice} at {node.start_mark}"
        return super().construct_mapping(node, deep)


def mistaken(node: object, path: str = "") -> list[str]:
    """Where something that is text to Kubernetes is none."""
    if isinstance(node, list):
        return [at for n, inner in enumerate(node) for at in mistaken(inner, f"{path}[{n}]")]
    if not isinstance(node, dict):
        return []
    found = []
    for key, value in node.items():
        here = f"{path}.{key}"
        if key in ("labels", "annotations", "matchLabels"):
            found += [f"{here}.{k}" for k, v in value.items() if not isinstance(v, str)]
        elif key == "args":
            found += [here for word in value if not isinstance(word, str)]
        elif key in TEXT and not isinstance(value, str | dict):
            found.append(here)
        found += mistaken(value, here)
    return found


@pytest.mark.parametrize("name", VALUE_SETS)
def test_no_key_stands_twice_and_text_is_text(name: str) -> None:
    for found in yaml.load_all(manifest(VALUE_SETS[name]), _Once):
        if found and found["kind"] not in SCHEMAS:
            assert mistaken(found, found["kind"]) == []


@pytest.mark.parametrize("word", ["123", "1e5"])
def test_a_release_and_a_namespace_may_be_called_like_a_number(word: str) -> None:
    values = VALUE_SETS["everything that monitors"]
    objects = render(values, release=word, namespace=word)
    told = [found for found in objects if found["kind"] not in SCHEMAS]
    assert [at for found in told for at in mistaken(found, found["kind"])] == []
    assert {found["metadata"].get("namespace", word) for found in objects} == {word}
    instances = {found["metadata"]["labels"]["app.kubernetes.io/instance"] for found in objects}
    assert instances == {word}


def test_what_is_said_of_one_kind_of_object_wins_over_what_is_said_of_all() -> None:
    objects = render(VALUE_SETS["labels that all could have set"])

    def team(found: Object) -> object:
        return found["metadata"]["labels"]["team"]

    gateway, engine = (
        the(objects, "Deployment", part)["spec"]["template"] for part in ("router", "engine")
    )
    assert (team(gateway), team(engine)) == ("gateways", "engines")
    assert gateway["metadata"]["annotations"]["prometheus.io/scrape"] == "false"
    for kind in ("PodMonitor", "PrometheusRule"):
        assert {team(found) for found in of_kind(objects, kind)} == {"watchers"}
    assert team(the(objects, "Service", "router")) == "ml"
    assert {pod["metadata"]["labels"]["version"] for pod in pods(objects)} == {"1e5"}


def test_commands_of_the_notes_can_be_pasted() -> None:
    told = notes()
    assert "--reset-then-reuse-values" in told
    assert "CHART" not in told
    assert f"helm test cardan -n {NAMESPACE}" in told


@pytest.mark.parametrize(
    ("watch", "command"),
    [
        ({"kind": "pods", "selector": "app=a"}, f'kubectl -n {NAMESPACE} get pods -l "app=a"'),
        (
            {"kind": "pods", "selector": "app=a", "namespace": "*"},
            'kubectl get -A pods -l "app=a"',
        ),
        (
            {"kind": "service", "name": "vllm", "namespace": "models"},
            "kubectl -n models get endpointslices -l kubernetes.io/service-name=vllm",
        ),
        (
            {"kind": "inference_pool", "name": "llama"},
            f"kubectl -n {NAMESPACE} get inferencepools.inference.networking.k8s.io llama -o yaml",
        ),
    ],
)
def test_the_notes_ask_whether_there_are_any_engines(watch: dict[str, str], command: str) -> None:
    told = notes({"discovery": {"kubernetes": watch}})
    assert f"\n  {command}\n" in told
    assert f"kubectl -n {NAMESPACE} logs deploy/" in told
