"""What people may do with fleets: as much as with everything else of their namespace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.chart.helm import Object, nested, of_kind, render

if TYPE_CHECKING:
    from tests.chart.helm import Values

KEEP = "helm.sh/resource-policy"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
Rights = set[tuple[str, str]]
"""Resources and verbs."""
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
FLEETS, OVERLAYS = "inferencefleets", "routingoverlays"
VIEW: Rights = {
    (resource, verb)
    for resource in (FLEETS, f"{FLEETS}/status", f"{FLEETS}/scale", OVERLAYS)
    for verb in READ
}
EDIT: Rights = VIEW | {(FLEETS, verb) for verb in WRITE}
EDIT |= {(f"{FLEETS}/scale", verb) for verb in ("update", "patch")}
ADMIN: Rights = EDIT | {(OVERLAYS, verb) for verb in WRITE}


def roles(values: Values | None = None) -> list[Object]:
    """Those for people."""
    return of_kind(render(values), "ClusterRole", "crds")


def given_to(role: str) -> Rights:
    """What one of the cluster's own roles gets."""
    rules = [
        rule
        for one in roles()
        if one["metadata"]["labels"].get(AGGREGATE + role) == "true"
        for rule in one["rules"]
    ]
    assert all(rule["apiGroups"] == ["cardan.dev"] for rule in rules)
    return {(what, verb) for rule in rules for what in rule["resources"] for verb in rule["verbs"]}


def test_who_views_edits_or_administers_a_namespace_does_so_with_its_fleets() -> None:
    assert given_to("view") == VIEW
    assert given_to("edit") == EDIT
    assert given_to("admin") == ADMIN


def test_they_come_with_the_definitions_and_can_be_left_out() -> None:
    assert len(roles()) == 3
    assert roles(nested("crds.install", False)) == []
    assert roles(nested("crds.userRoles", False)) == []


def test_they_stay_as_long_as_the_definitions() -> None:
    assert all(one["metadata"]["annotations"][KEEP] == "keep" for one in roles())
    going = roles(nested("crds.keep", False))
    assert len(going) == 3
    assert not any(KEEP in one["metadata"].get("annotations", {}) for one in going)
