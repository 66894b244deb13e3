"""The operator's account as the chart makes it: its rights, whole or with some of them missing."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Final

import yaml

from tests.chart.helm import Object, of_kind, render, the

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

PART: Final = "controller"
ACCOUNT: Final = "cardan-controller"
ROLES: Final = ("Role", "ClusterRole")
KINDS: Final = ("ServiceAccount", *ROLES, "RoleBinding", "ClusterRoleBinding")
Right = tuple[str, str]
"""A resource and a verb."""


def rendered(namespace: str, namespaces: Sequence[str] = ()) -> list[Object]:
    """The chart's objects of an operator that looks after these namespaces."""
    values = {"controller": {"enabled": True, "namespaces": list(namespaces)}}
    objects = render(values, namespace=namespace)
    return [one for kind in (*KINDS, "ConfigMap") for one in of_kind(objects, kind, PART)]


def account(objects: Iterable[Object]) -> list[Object]:
    """The account, with its roles and bindings."""
    return [one for one in objects if one["kind"] in KINDS]


def configured(objects: list[Object]) -> dict[str, Any]:
    """The configuration that the chart gives it."""
    text = the(objects, "ConfigMap", PART)["data"]["operator.yaml"]
    document: dict[str, Any] = yaml.safe_load(text)
    return document


def every(objects: Iterable[Object]) -> set[Right]:
    """All that the roles allow."""
    return {
        (resource, verb)
        for role in objects
        if role["kind"] in ROLES
        for rule in role["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def without(objects: Iterable[Object], missing: Iterable[Right]) -> list[Object]:
    """The same account without some of its rights."""
    taken = set(missing)
    kept = [copy.deepcopy(one) for one in account(objects)]
    for role in kept:
        if role["kind"] in ROLES:
            role["rules"] = [rule for old in role["rules"] for rule in _rest(old, taken)]
    return kept


def _rest(rule: Object, taken: set[Right]) -> list[Object]:
    """What is left of a rule, a rule a resource; none where nothing is."""
    found = []
    for resource in rule["resources"]:
        verbs = [verb for verb in rule["verbs"] if (resource, verb) not in taken]
        if verbs:
            found.append({**rule, "resources": [resource], "verbs": verbs})
    return found
