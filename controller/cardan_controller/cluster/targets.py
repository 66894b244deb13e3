"""Scale targets: what is scaled, what it asks for, and who has said so.

Deployments and StatefulSets are watched; any other kind that has a scale subresource is asked for
its `/scale` each tick, and for how far a rollout has come, if it says so in the words that most
kinds share. All become the same facts. `writers` are the field managers that own the number of
replicas, newest first: who changed it by hand is told by name.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.instants import WallTime

from cardan_controller.cluster.pods import instant
from cardan_controller.cluster.selectors import Operator, Requirement, Selector, parse

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

REPLICA_FAILURE: Final = "ReplicaFailure"
# These take the replicas with the highest ordinals when they shrink, in a rollout too.
BY_ORDINAL: Final = frozenset({"StatefulSet", "LeaderWorkerSet"})


class TargetRef(NamedTuple):
    """A target by its full name; `api_version` as manifests have it (`apps/v1`)."""

    namespace: str
    api_version: str
    kind: str
    name: str


class TargetFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What decisions need of a target. `version` is its resourceVersion.

    `refused` is why replicas that are asked for are not even made (a quota, an admission webhook),
    since `refused_at`; `rollout` how far a rollout of it has come, empty while there is none.
    """

    replicas: int
    selector: Selector
    version: str = ""
    uid: str = ""
    writers: tuple[str, ...] = ()
    refused: str = ""
    refused_at: WallTime = WallTime(0.0)
    leaving: bool = False
    rollout: str = ""


class _Expression(msgspec.Struct):
    key: str
    operator: str
    values: list[str] | None = None


class _LabelSelector(msgspec.Struct, rename="camel"):
    match_labels: dict[str, str] | None = None
    match_expressions: list[_Expression] | None = None


class _ManagedFields(msgspec.Struct, rename="camel"):
    manager: str = ""
    time: str | None = None
    fields_v1: msgspec.Raw = msgspec.field(name="fieldsV1", default=msgspec.Raw(b"{}"))


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    uid: str = ""
    generation: int = 0
    deletion_timestamp: str | None = None
    managed_fields: list[_ManagedFields] | None = None


class _Condition(msgspec.Struct, rename="camel"):
    type: str
    status: str
    message: str = ""
    last_transition_time: str | None = None


class _WorkloadSpec(msgspec.Struct):
    replicas: int = 1
    selector: msgspec.Raw = msgspec.Raw(b"{}")


class _WorkloadStatus(msgspec.Struct, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    conditions: list[_Condition] | None = None


class _Workload(msgspec.Struct):
    metadata: _Meta
    spec: _WorkloadSpec = msgspec.field(default_factory=_WorkloadSpec)
    status: _WorkloadStatus = msgspec.field(default_factory=_WorkloadStatus)


class _RolledStatus(msgspec.Struct, rename="camel"):
    observed_generation: int | str | None = None  # Argo's Rollouts have it as text
    replicas: int | None = None
    updated_replicas: int | None = None


class _Rolled(msgspec.Struct):
    metadata: _Meta
    status: _RolledStatus = msgspec.field(default_factory=_RolledStatus)


class _ScaleSpec(msgspec.Struct):
    replicas: int = 0


class _ScaleStatus(msgspec.Struct):
    selector: str = ""


class _Scale(msgspec.Struct):
    metadata: _Meta
    spec: _ScaleSpec = msgspec.field(default_factory=_ScaleSpec)
    status: _ScaleStatus = msgspec.field(default_factory=_ScaleStatus)


class _ReplicasField(msgspec.Struct):
    replicas: msgspec.Raw | msgspec.UnsetType = msgspec.field(
        name="f:replicas", default=msgspec.UNSET
    )


class _Fields(msgspec.Struct):
    spec: _ReplicasField = msgspec.field(name="f:spec", default_factory=_ReplicasField)


_decode_workload = msgspec.json.Decoder(_Workload).decode
_decode_rolled = msgspec.json.Decoder(_Rolled).decode
_decode_scale = msgspec.json.Decoder(_Scale).decode
_decode_selector = msgspec.json.Decoder(_LabelSelector).decode
_decode_fields = msgspec.json.Decoder(_Fields).decode
_WORDS: Final = {
    "In": Operator.IN,
    "NotIn": Operator.NOT_IN,
    "Exists": Operator.EXISTS,
    "DoesNotExist": Operator.ABSENT,
}


def read_stateful_set(raw: msgspec.Raw) -> TargetFacts:
    """A StatefulSet; `ValueError` for a selector that nobody knows."""
    return _workload(_decode_workload(raw))


def read_deployment(raw: msgspec.Raw) -> TargetFacts:
    """A Deployment; `ValueError` for a selector that nobody knows.

    While replicas of two templates are there a lower scale is shared between their ReplicaSets, in
    proportion to their sizes. A StatefulSet takes the highest ordinals at any time.
    """
    found = _decode_workload(raw)
    status = found.status
    behind = 0 < status.observed_generation < found.metadata.generation
    rollout = _rollout(status.updated_replicas, status.replicas, behind=behind)
    return msgspec.structs.replace(_workload(found), rollout=rollout)


def read_rollout(body: bytes) -> str:
    """How far a rollout of an object of any kind has come; empty where it does not tell.

    `status.observedGeneration`, `replicas` and `updatedReplicas` are what Kubernetes' own kinds
    call it. A controller that says nothing of these, or something else by them, is not understood.
    """
    try:
        found = _decode_rolled(body)
    except msgspec.DecodeError:
        return ""
    seen, status = str(found.status.observed_generation or ""), found.status
    behind = seen.isdecimal() and 0 < int(seen) < found.metadata.generation
    if status.replicas is None or status.updated_replicas is None:
        return _rollout(0, 0, behind=behind)
    return _rollout(status.updated_replicas, status.replicas, behind=behind)


def _rollout(updated: int, replicas: int, *, behind: bool) -> str:
    """How far it has come; empty if all replicas are of the newest template."""
    if behind:
        return "what has changed of it has not been looked at"
    if updated < replicas:
        return f"{updated} of {replicas} replicas are of its newest template"
    return ""


def _workload(found: _Workload) -> TargetFacts:
    refused = next((c for c in found.status.conditions or () if c.type == REPLICA_FAILURE), None)
    failing = refused is not None and refused.status == "True"
    return TargetFacts(
        replicas=found.spec.replicas,
        selector=selector_of(found.spec.selector),
        version=found.metadata.resource_version,
        uid=found.metadata.uid,
        writers=_writers(found.metadata),
        refused=(refused.message or REPLICA_FAILURE) if failing and refused else "",
        refused_at=instant((refused and refused.last_transition_time) or ""),
        leaving=found.metadata.deletion_timestamp is not None,
    )


def read_scale(body: bytes) -> TargetFacts:
    """A `/scale` of `autoscaling/v1`; `ValueError` if it cannot be understood."""
    found = _decode_scale(body)
    return TargetFacts(
        replicas=found.spec.replicas,
        selector=parse(found.status.selector),
        version=found.metadata.resource_version,
        uid=found.metadata.uid,
        writers=_writers(found.metadata),
    )


def selector_of(raw: msgspec.Raw) -> Selector:
    """A `LabelSelector` of the API; `ValueError` for an operator that nobody knows."""
    return Selector(tuple(_requirements(_decode_selector(raw))))


def _requirements(selector: _LabelSelector) -> Iterator[Requirement]:
    for label, value in sorted((selector.match_labels or {}).items()):
        yield Requirement(label, Operator.IN, frozenset({value}))
    for key, operator, values in map(_parts, selector.match_expressions or ()):
        if operator not in _WORDS:
            raise ValueError(f"{operator!r} is no operator of a label selector")
        yield Requirement(key, _WORDS[operator], frozenset(values))


def _parts(expression: _Expression) -> tuple[str, str, Iterable[str]]:
    return expression.key, expression.operator, expression.values or ()


def _writers(meta: _Meta) -> tuple[str, ...]:
    """Who owns `spec.replicas`, the latest first."""
    owners = [
        (entry.time or "", entry.manager)
        for entry in meta.managed_fields or ()
        if _decode_fields(entry.fields_v1).spec.replicas is not msgspec.UNSET
    ]
    return tuple(dict.fromkeys(manager for _, manager in sorted(owners, reverse=True)))
