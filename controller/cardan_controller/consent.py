"""Whose gateways a fleet may use: pure.

A fleet may name gateways of another namespace: its demand is what they count, and what it says of
routing is told to them. Who may write a fleet in one namespace would thereby have a say over the
traffic of another, where Kubernetes has given nobody that right. So only those namespaces are open
whose owner runs the operator: its own, and those that its configuration lists; and of an operator
that looks after some namespaces only those, for elsewhere it sees no gateway and may tell it
nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Collection

    from cardan_controller.crds.documents import Fleet

ALL: Final = "*"


def opened(own: str, listed: Collection[str], looked_after: Collection[str]) -> frozenset[str]:
    """The namespaces whose gateways any fleet may name.

    `own` is the operator's, `looked_after` are its `namespaces` (none: all of the cluster).
    """
    named = frozenset((own, *listed))
    if not looked_after:
        return named
    return frozenset(looked_after) if ALL in named else named & frozenset(looked_after)


def refusal(fleet: Fleet, open_namespaces: Collection[str]) -> str:
    """Why a fleet may not have the gateways that it names; empty if it may."""
    named = fleet.spec.gateways.namespace if fleet.spec is not None else ""
    if named in ("", fleet.meta.namespace, *open_namespaces) or ALL in open_namespaces:
        return ""
    return (
        f"spec.gateways.namespace: {named!r} is not open to fleets of other namespaces;"
        " the operator's configuration lists those that are (gateways.namespaces), of the"
        " namespaces that it looks after (namespaces)"
    )


def admitted(fleet: Fleet, open_namespaces: Collection[str]) -> Fleet:
    """The fleet as it may be looked after: a specification that asks for too much is a problem."""
    problem = refusal(fleet, open_namespaces)
    return fleet._replace(spec=None, problem=problem) if problem else fleet
