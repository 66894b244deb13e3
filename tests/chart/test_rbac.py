"""The rights of the gateway are those that its way of finding engines takes, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from cardan_router.config import Config

from tests.chart.helm import NAMESPACE, Object, gateway_file, nested, of_kind, render
from tests.chart.matrix import VALUE_SETS

PODS = {"apiGroups": [""], "resources": ["pods"], "verbs": ["list", "watch"]}
SLICES = {
    "apiGroups": ["discovery.k8s.io"],
    "resources": ["endpointslices"],
    "verbs": ["list", "watch"],
}
POOL = {
    "apiGroups": ["inference.networking.k8s.io"],
    "resources": ["inferencepools"],
    "resourceNames": ["llama"],
    "verbs": ["list", "watch"],
}
OVERLAYS = {
    "apiGroups": ["cardan.dev"],
    "resources": ["routingoverlays"],
    "verbs": ["list", "watch"],
}
# Value set → kind of role, its namespace, its rules.
GOLDEN: dict[str, tuple[str, str | None, list[Any]]] = {
    "as it is": ("Role", NAMESPACE, [PODS]),
    "pods by a named port in another namespace": ("Role", "models", [PODS]),
    "pods of its own namespace by name": ("Role", NAMESPACE, [PODS]),
    "pods of all namespaces": ("ClusterRole", None, [PODS]),
    "a service": ("Role", NAMESPACE, [SLICES]),
    "a service's port elsewhere": ("Role", "models", [SLICES]),
    "an inference pool": ("Role", NAMESPACE, [PODS, POOL]),
}
NONE = ["fixed endpoints", "a list in a config map", "no rights made here"]
KINDS = ("Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding")


def rights(objects: list[Object], *, overlays: bool = False) -> list[Object]:
    """Roles and bindings for finding engines, or for what an operator says."""
    found = [found for kind in KINDS for found in of_kind(objects, kind, "router")]
    return [one for one in found if one["metadata"]["name"].endswith("-overlays") is overlays]


@pytest.mark.parametrize("name", GOLDEN)
def test_each_way_has_its_role_and_no_more(name: str) -> None:
    kind, namespace, rules = GOLDEN[name]
    role, binding = rights(render(VALUE_SETS[name]))
    assert role["kind"] == kind
    assert role["metadata"].get("namespace") == namespace
    assert role["rules"] == rules
    assert binding["kind"] == f"{kind}Binding"
    assert binding["metadata"].get("namespace") == namespace
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "cardan-router", "namespace": NAMESPACE}
    ]


@pytest.mark.parametrize("name", GOLDEN)
def test_what_an_operator_says_is_read_where_the_gateway_is(name: str) -> None:
    role, binding = rights(render(VALUE_SETS[name]), overlays=True)
    assert (role["kind"], role["metadata"]["namespace"]) == ("Role", NAMESPACE)
    assert role["rules"] == [OVERLAYS]
    assert (binding["kind"], binding["metadata"]["namespace"]) == ("RoleBinding", NAMESPACE)
    assert binding["roleRef"]["name"] == role["metadata"]["name"] == "cardan-overlays"
    assert binding["subjects"] == [
        {"kind": "ServiceAccount", "name": "cardan-router", "namespace": NAMESPACE}
    ]


def test_who_follows_no_operator_has_no_right_to() -> None:
    objects = render(nested("discovery.kubernetes.overlays", False))
    assert rights(objects, overlays=True) == []
    config = msgspec.yaml.decode(gateway_file(objects), type=Config)
    assert config.discovery.kubernetes is not None
    assert not config.discovery.kubernetes.overlays


@pytest.mark.parametrize("name", NONE)
def test_who_asks_nothing_of_the_api_server_may_ask_nothing(name: str) -> None:
    for overlays in (False, True):
        assert rights(render(VALUE_SETS[name]), overlays=overlays) == []


def test_no_other_value_changes_the_rights() -> None:
    usual = rights(render({}))
    others = [
        name for name in VALUE_SETS if not {"discovery", "controller"} & set(VALUE_SETS[name])
    ]
    named = {name for name in others if {"commonLabels", "nameOverride"} & set(VALUE_SETS[name])}
    for name in set(others) - set(NONE) - named:
        assert rights(render(VALUE_SETS[name])) == usual, name


def test_two_releases_that_watch_everything_do_not_share_a_cluster_role() -> None:
    everything = VALUE_SETS["pods of all namespaces"]
    names = {
        found["metadata"]["name"]
        for release in ("cardan", "other-cardan")
        for found in of_kind(render(everything, release=release), "ClusterRole", "router")
    }
    assert names == {f"{NAMESPACE}:cardan-router", f"{NAMESPACE}:other-cardan-router"}


def test_releases_of_one_name_in_two_namespaces_can_watch_the_same_third_one() -> None:
    elsewhere = VALUE_SETS["pods by a named port in another namespace"]
    names = [
        (found["kind"], found["metadata"]["namespace"], found["metadata"]["name"])
        for namespace in ("team-a", "team-b")
        for found in rights(render(elsewhere, namespace=namespace))
    ]
    assert len(names) == len(set(names)) == 4
    assert {namespace for _, namespace, _ in names} == {"models"}


def test_at_home_a_role_keeps_the_name_that_it_has_always_had() -> None:
    for name in ("as it is", "pods of its own namespace by name"):
        role, binding = rights(render(VALUE_SETS[name]))
        assert (role["metadata"]["name"], binding["metadata"]["name"]) == ("cardan-router",) * 2
