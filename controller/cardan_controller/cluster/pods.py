"""Pods as the operator sees them: whose they are, since when, and what keeps them.

Of each pod some 400 bytes are kept. What it was before is among them: a pod that is ready now, and
was not a minute ago, has started, or was only unready for a moment. Which of the two shows in what
was seen of it. A cold start is learned of a pod that was seen before it was ready for the first
time, and of no other: who was not looking then cannot know.

An endpoint's name is the pod's, as the gateways' discovery names it (`discovery.kubernetes.kind:
pods`): with the namespace before it where gateways watch all. Where a pod has several engines each
of them is `pod:port` there, and all are the pod's here.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.drain import OUR_COSTS
from cardan.scaling.observation import PendingReplica, PoolState

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from cardan_controller.cluster.selectors import Selector

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
# What a person has set there, while the pod drains and has our mark in its place.
KEPT_COST: Final = "cardan.dev/kept-pod-deletion-cost"
# Cold starts are learned from pods that became ready within this time.
STARTED_LATELY_S: Final = 3600.0
# Kubelet writes the first conditions of a pod together, each with its own second.
TOGETHER_S: Final = 2.0


class _Meta(msgspec.Struct, rename="camel"):
    name: str = ""
    namespace: str = ""
    uid: str = ""
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}


class _Condition(msgspec.Struct, rename="camel"):
    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None


class _Status(msgspec.Struct):
    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: list[_Condition] | None = None


class _Pod(msgspec.Struct):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


_decode = msgspec.json.Decoder(_Pod).decode


class PodFacts(msgspec.Struct, frozen=True):
    """All of a pod that the operator keeps. Equal facts are no news.

    `ready_at` is since when it is ready, None while it is not; `unready_at` since when it is not
    ready any more, None while it is or never was. `first_ready_at` is when it was ready for the
    first time, if that was seen. `deletion_cost` is what is there, ours or not, `kept_cost` what
    was there before ours.
    """

    name: str
    namespace: str
    uid: str
    labels: dict[str, str]
    created_at: WallTime
    ready_at: WallTime | None
    unready_at: WallTime | None = None
    first_ready_at: WallTime | None = None
    unschedulable: str = ""
    leaving: bool = False
    deletion_cost: int | None = None
    kept_cost: int | None = None
    address: str = ""

    @property
    def was_ready(self) -> bool:
        """Is it ready, or was it ever?"""
        return self.ready_at is not None or self.unready_at is not None

    @property
    def own_cost(self) -> int | None:
        """The deletion cost that somebody else has given it, if anybody has."""
        return self.kept_cost if self.deletion_cost in OUR_COSTS else self.deletion_cost


def _nobody(_: str) -> None:
    """No pod was seen before."""


def read_pod(
    raw: msgspec.Raw, before: Callable[[str], PodFacts | None] = _nobody
) -> PodFacts | None:
    """The facts of a pod; None for one that has ended.

    `before` tells what was read of a pod last, by `namespace/name`.
    """
    pod = _decode(raw)
    meta, status = pod.metadata, pod.status
    if status.phase in ("Succeeded", "Failed"):
        return None
    known = before(f"{meta.namespace}/{meta.name}")
    if known is not None and known.uid != meta.uid:
        known = None
    told = {condition.type: condition for condition in status.conditions or ()}
    scheduled = told.get("PodScheduled")
    waits = scheduled is not None and scheduled.reason == "Unschedulable"
    ready_at, unready_at = _readiness(told, known)
    first = known.first_ready_at if known else None
    return PodFacts(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        labels=meta.labels,
        created_at=instant(meta.creation_timestamp),
        ready_at=ready_at,
        unready_at=unready_at,
        first_ready_at=first if known is None or known.was_ready else ready_at,
        unschedulable=(scheduled.message or scheduled.reason) if waits and scheduled else "",
        leaving=meta.deletion_timestamp is not None,
        deletion_cost=_number(meta.annotations.get(DELETION_COST)),
        kept_cost=_number(meta.annotations.get(KEPT_COST)),
        address=status.pod_ip,
    )


def _readiness(
    told: Mapping[str, _Condition], known: PodFacts | None
) -> tuple[WallTime | None, WallTime | None]:
    """Since when a pod is ready, and since when it is so no more."""
    ready, initialized = told.get("Ready"), told.get("Initialized")
    if ready is None:
        return None, known.unready_at or known.ready_at if known else None
    turned_at = instant(ready.last_transition_time or "")
    if ready.status == "True":
        return turned_at, None
    # Of a pod that nobody has seen: kubelet says that it is not ready when it takes it up, before
    # its containers run, and gives that another time only when it was ready in between.
    ran = initialized is not None and initialized.status == "True"
    ran_at = instant((initialized and initialized.last_transition_time) or "")
    was = known.was_ready if known else ran and turned_at > ran_at + TOGETHER_S
    return None, turned_at if was else None


def instant(text: str) -> WallTime:
    """An RFC 3339 time of the API; 0 for one that is empty or none."""
    try:
        return WallTime(datetime.datetime.fromisoformat(text).timestamp())
    except ValueError:
        return WallTime(0.0)


class PodIndex:
    """Pods by namespace and label, so that a pool's are found among ten thousand."""

    def __init__(self, pods: Iterable[PodFacts]) -> None:
        self._by_label: dict[tuple[str, str, str], list[PodFacts]] = {}
        self._by_namespace: dict[str, list[PodFacts]] = {}
        for pod in pods:
            self._by_namespace.setdefault(pod.namespace, []).append(pod)
            for label, value in pod.labels.items():
                self._by_label.setdefault((pod.namespace, label, value), []).append(pod)

    def find(self, namespace: str, selector: Selector) -> list[PodFacts]:
        """The pods that a selector means, in the order of their names."""
        handle = selector.handle()
        pods = (
            self._by_namespace.get(namespace, ())
            if handle is None
            else self._by_label.get((namespace, *handle), ())
        )
        found = (pod for pod in pods if selector.matches(pod.labels))
        return sorted(found, key=lambda pod: pod.name)


def pool_state(
    desired: int,
    pods: Sequence[PodFacts],
    draining: Mapping[str, EndpointId],
    now: WallTime,
) -> PoolState:
    """A scale target as decisions see it. Pods that are leaving are no supply any more.

    `draining` are the endpoints that drain, by pod.
    """
    staying = [pod for pod in pods if not pod.leaving]
    return PoolState(
        desired=desired,
        ready=sum(pod.ready_at is not None for pod in staying),
        pending=tuple(
            PendingReplica(pod.name, _pending_since(pod), pod.unschedulable)
            for pod in staying
            if pod.ready_at is None
        ),
        draining=tuple(draining[pod.name] for pod in staying if pod.name in draining),
        started_s=tuple(
            pod.first_ready_at - pod.created_at
            for pod in staying
            if pod.first_ready_at is not None
            if 0 <= now - pod.first_ready_at <= STARTED_LATELY_S
        ),
    )


def _pending_since(pod: PodFacts) -> WallTime:
    """Since when a pod is not ready: one that was is late from when it was so no more."""
    return pod.created_at if pod.unready_at is None else pod.unready_at


def endpoint_of(pod: PodFacts, *, with_namespace: bool) -> EndpointId:
    """The name under which gateways know the pod's engine."""
    return EndpointId(f"{pod.namespace}/{pod.name}" if with_namespace else pod.name)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
