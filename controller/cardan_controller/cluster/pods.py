"""Pods as the operator sees them: whose they are, since when, and what keeps them.

Of each pod some 400 bytes are kept. An endpoint's name is the pod's, as the gateways' discovery
names it (`discovery.kubernetes.kind: pods`): with the namespace before it where gateways watch all.
Where a pod has several engines each of them is `pod:port` there, and all are the pod's here.
"""

from __future__ import annotations

import datetime
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.observation import PendingReplica, PoolState

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cardan_controller.cluster.selectors import Selector

DELETION_COST: Final = "controller.kubernetes.io/pod-deletion-cost"
# Cold starts are learned from pods that became ready within this time.
STARTED_LATELY_S: Final = 3600.0


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
    """All of a pod that the operator keeps. Equal facts are no news."""

    name: str
    namespace: str
    uid: str
    labels: dict[str, str]
    created_at: WallTime
    ready_at: WallTime | None  # since when it is ready; None while it is not
    unschedulable: str = ""
    leaving: bool = False
    deletion_cost: int | None = None
    address: str = ""


def read_pod(raw: msgspec.Raw) -> PodFacts | None:
    """The facts of a pod; None for one that has ended."""
    pod = _decode(raw)
    meta, status = pod.metadata, pod.status
    if status.phase in ("Succeeded", "Failed"):
        return None
    told = {condition.type: condition for condition in status.conditions or ()}
    ready, scheduled = told.get("Ready"), told.get("PodScheduled")
    created_at = instant(meta.creation_timestamp)
    is_ready = ready is not None and ready.status == "True"
    waits = scheduled is not None and scheduled.reason == "Unschedulable"
    return PodFacts(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        labels=meta.labels,
        created_at=created_at,
        ready_at=instant((ready and ready.last_transition_time) or "") if is_ready else None,
        unschedulable=(scheduled.message or scheduled.reason) if waits and scheduled else "",
        leaving=meta.deletion_timestamp is not None,
        deletion_cost=_number(meta.annotations.get(DELETION_COST)),
        address=status.pod_ip,
    )


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
            PendingReplica(pod.name, pod.created_at, pod.unschedulable)
            for pod in staying
            if pod.ready_at is None
        ),
        draining=tuple(draining[pod.name] for pod in staying if pod.name in draining),
        started_s=tuple(
            pod.ready_at - pod.created_at
            for pod in staying
            if pod.ready_at is not None and 0 <= now - pod.ready_at <= STARTED_LATELY_S
        ),
    )


def endpoint_of(pod: PodFacts, *, with_namespace: bool) -> EndpointId:
    """The name under which gateways know the pod's engine."""
    return EndpointId(f"{pod.namespace}/{pod.name}" if with_namespace else pod.name)


def _number(text: str | None) -> int | None:
    try:
        return None if text is None else int(text)
    except ValueError:
        return None
