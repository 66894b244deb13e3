"""What is to be written, and what is already so: pure.

A fleet's orders are compared with what the cluster has; only what differs becomes a request. So a
tick that has been carried out is not carried out twice, a new leader writes nothing that its
predecessor has written, and a fleet at rest is not written at all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

import msgspec
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.scaling.drain import OUR_COSTS
from cardan_kube.writing import Collection, apply, delete, merge, scale

from cardan_controller.cluster.pods import DELETION_COST, KEPT_COST
from cardan_controller.crds.definitions import API_VERSION, FLEET, GROUP, OVERLAY, VERSION
from cardan_controller.crds.documents import status_document
from cardan_controller.crds.sections import without_none

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from collections.abc import Set as AbstractSet

    from cardan_kube.api import Request

    from cardan_controller.cluster.pods import PodFacts
    from cardan_controller.crds.status import FleetStatus

MANAGER: Final = "cardan-controller"
FLEET_LABEL: Final = f"{GROUP}/fleet"
FLEET_NAMESPACE_LABEL: Final = f"{GROUP}/fleet-namespace"


class Scaling(NamedTuple):
    """A target's `/scale`: its path, what it asks for, the version that was looked at.

    `writers` have said so, the latest first.
    """

    path: str
    replicas: int
    version: str
    writers: tuple[str, ...] = ()


class Write(NamedTuple):
    """A request and what it is, for the log and the metrics.

    `pool` is whose scale it is, `pod` which one is deleted.
    """

    what: str
    request: Request
    pool: str = ""
    replicas: int = 0
    pod: str = ""


class Home(NamedTuple):
    """A fleet's own name, and where its gateways are."""

    namespace: str
    name: str
    uid: str
    gateways: str


def scales(wanted: Mapping[str, int], targets: Mapping[str, Scaling]) -> Iterator[Write]:
    """The targets that are to ask for another number of replicas, by pool."""
    for pool, replicas in sorted(wanted.items()):
        target = targets.get(pool)
        if target is not None and target.replicas != replicas:
            request = scale(target.path, replicas, MANAGER, version=target.version)
            yield Write("scale", request, pool, replicas)


def costs(wanted: Mapping[str, int], pods: Sequence[PodFacts]) -> Iterator[Write]:
    """Deletion costs that are to be set, and those of ours that nobody needs any more.

    What somebody else has set is kept beside ours, and is there again when ours goes.
    """
    for pod in pods:
        cost = wanted.get(pod.name)
        if pod.leaving or cost == pod.deletion_cost is not None:
            continue
        if cost is not None:
            yield _marked(pod, cost)
        elif pod.deletion_cost in OUR_COSTS or pod.kept_cost is not None:
            yield _unmarked(pod)


def restarts(names: Sequence[str], pods: Sequence[PodFacts]) -> Iterator[Write]:
    """Pods that are to be deleted, and no successors of their names."""
    by_name = {pod.name: pod for pod in pods}
    for name in names:
        pod = by_name.get(name)
        if pod is not None and not pod.leaving:
            path = _pods(pod.namespace).object(name)
            yield Write("restart", delete(path, uid=pod.uid), pod=name)


def overlays(
    home: Home, model: str, wanted: ModelOverlay, present: RoutingOverlay | None
) -> Iterator[Write]:
    """The fleet's overlay, if gateways are to be told anything else than they are now."""
    known = present or RoutingOverlay()
    if known.models == ({} if wanted == ModelOverlay() else {model: wanted}):
        return
    path = _overlays(home).object(overlay_name(home))
    if wanted == ModelOverlay():
        yield Write("overlay", delete(path))
        return
    manifest: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": OVERLAY.kind,
        "metadata": {
            "name": overlay_name(home),
            "namespace": home.gateways,
            "labels": {
                "app.kubernetes.io/managed-by": MANAGER,
                FLEET_LABEL: home.name,
                FLEET_NAMESPACE_LABEL: home.namespace,
            },
        },
        "spec": {"generation": known.generation + 1, "models": {model: _said(wanted)}},
    }
    if home.gateways == home.namespace:  # an owner is of the same namespace
        manifest["metadata"]["ownerReferences"] = [_owner(home)]
    yield Write("overlay", apply(path, manifest, MANAGER, force=True))


def _said(part: ModelOverlay) -> dict[str, Any]:
    """What an overlay says, without what it says nothing of.

    The API takes null for no object. Nor may a mapping be empty that had keys: server-side apply
    takes our keys away and leaves null, and refuses that for it is none.
    """
    fields = without_none(msgspec.to_builtins(part))
    return {name: value for name, value in fields.items() if value not in ({}, [])}


def forgotten(home: Home) -> Write:
    """Gateways are told nothing of a fleet any more."""
    return Write("overlay", delete(_overlays(home).object(overlay_name(home))))


def unmarked(victims: AbstractSet[str], pods: Sequence[PodFacts]) -> Iterator[Write]:
    """No deletion cost of ours is left on a pod; `victims` may have one that is not seen yet."""
    for pod in pods:
        unseen = pod.name in victims
        if not pod.leaving and (unseen or pod.deletion_cost in OUR_COSTS):
            yield _unmarked(pod, unseen=unseen)


def statuses(home: Home, status: FleetStatus, version: str = "") -> Write:
    """The fleet's status, whole; never that of another fleet that has its name by now.

    With the fleet's version it is written only if nobody else has written since.
    """
    path = Collection(GROUP, VERSION, FLEET.plural, home.namespace).object(home.name, "status")
    meta = {"name": home.name, "namespace": home.namespace, "uid": home.uid}
    if version:
        meta["resourceVersion"] = version
    manifest = {
        "apiVersion": API_VERSION,
        "kind": FLEET.kind,
        "metadata": meta,
        "status": status_document(status),
    }
    return Write("status", apply(path, manifest, MANAGER, force=True))


def overlay_name(home: Home) -> str:
    """Fleets of several namespaces may have gateways in one."""
    return home.name if home.gateways == home.namespace else f"{home.namespace}.{home.name}"


def _marked(pod: PodFacts, cost: int) -> Write:
    """A pod gets a deletion cost of ours; what is there is kept."""
    told: dict[str, int | None] = {DELETION_COST: cost}
    if pod.own_cost != pod.kept_cost:
        told[KEPT_COST] = pod.own_cost
    return _annotated(pod, told)


def _unmarked(pod: PodFacts, *, unseen: bool = False) -> Write:
    """A pod has its own deletion cost again, or none; `unseen`: ours may be there all the same."""
    told: dict[str, int | None] = {KEPT_COST: None}
    if unseen or pod.deletion_cost in OUR_COSTS:
        told[DELETION_COST] = pod.own_cost
    return _annotated(pod, told)


def _annotated(pod: PodFacts, costs: Mapping[str, int | None]) -> Write:
    told = {name: None if cost is None else str(cost) for name, cost in costs.items()}
    path = _pods(pod.namespace).object(pod.name)
    return Write("deletion-cost", merge(path, {"metadata": {"annotations": told}}, MANAGER))


def _owner(home: Home) -> dict[str, object]:
    return {
        "apiVersion": API_VERSION,
        "kind": FLEET.kind,
        "name": home.name,
        "uid": home.uid,
        "controller": True,
        "blockOwnerDeletion": False,  # with it, setting an owner takes rights on its finalizers
    }


def _overlays(home: Home) -> Collection:
    return Collection(GROUP, VERSION, OVERLAY.plural, home.gateways)


def _pods(namespace: str) -> Collection:
    return Collection("", "v1", "pods", namespace)
