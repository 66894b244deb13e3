"""Who else has a say in how many replicas there are: autoscalers and disruption budgets."""

from __future__ import annotations

import msgspec

from cardan_controller.cluster.selectors import Selector
from cardan_controller.cluster.targets import TargetRef, selector_of


class _Ref(msgspec.Struct, rename="camel"):
    kind: str
    name: str
    api_version: str = ""


class _Meta(msgspec.Struct):
    name: str = ""
    namespace: str = ""


class _AutoscalerSpec(msgspec.Struct, rename="camel"):
    scale_target_ref: _Ref


class _Autoscaler(msgspec.Struct):
    metadata: _Meta
    spec: _AutoscalerSpec


class Autoscaler(msgspec.Struct, frozen=True):
    """A HorizontalPodAutoscaler (KEDA makes one too) and what it scales."""

    name: str
    target: TargetRef


_decode_autoscaler = msgspec.json.Decoder(_Autoscaler).decode


def read_autoscaler(raw: msgspec.Raw) -> Autoscaler:
    """An `autoscaling/v2` HorizontalPodAutoscaler."""
    found = _decode_autoscaler(raw)
    ref = found.spec.scale_target_ref
    target = TargetRef(found.metadata.namespace, ref.api_version, ref.kind, ref.name)
    return Autoscaler(found.metadata.name, target)


def same_target(one: TargetRef, other: TargetRef) -> bool:
    """Are these the same object? Versions of a group's API are views of one."""
    groups = [ref.api_version.rpartition("/")[0] for ref in (one, other)]
    return groups[0] == groups[1] and one._replace(api_version="") == other._replace(api_version="")


class _BudgetStatus(msgspec.Struct, rename="camel"):
    disruptions_allowed: int = 0


class _BudgetSpec(msgspec.Struct):
    selector: msgspec.Raw = msgspec.Raw(b"null")


class _Budget(msgspec.Struct):
    metadata: _Meta
    spec: _BudgetSpec = msgspec.field(default_factory=_BudgetSpec)
    status: _BudgetStatus = msgspec.field(default_factory=_BudgetStatus)


class DisruptionBudget(msgspec.Struct, frozen=True):
    """A PodDisruptionBudget: how many of its pods may be taken now."""

    name: str
    namespace: str
    selector: Selector
    allowed: int


_decode_budget = msgspec.json.Decoder(_Budget).decode


def read_budget(raw: msgspec.Raw) -> DisruptionBudget:
    """A `policy/v1` PodDisruptionBudget."""
    found = _decode_budget(raw)
    return DisruptionBudget(
        found.metadata.name,
        found.metadata.namespace,
        _covered(found.spec.selector),
        found.status.disruptions_allowed,
    )


def _covered(selector: msgspec.Raw) -> Selector:
    """The pods of a budget: without a selector none, with an empty one all of its namespace."""
    if bytes(selector) == b"null":
        return Selector(())
    told = selector_of(selector)
    return told._replace(everything=not told.requirements)
