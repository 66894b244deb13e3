"""InferenceFleet: one model, served by pools of engines, and what it is promised to hold.

`FleetSpec` is a `ScalingSpec`: the core decides by the very object that the user wrote. What is
added here is where things are in the cluster: the targets whose `/scale` is written, the pods that
are theirs, the gateways that serve the model.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final

import msgspec
from cardan.endpoint import EngineKind
from cardan.scaling.spec import PoolSpec, ScalingSpec
from cardan.spelling import in_yaml
from msgspec import Meta

# What Kubernetes takes as names of objects, kinds, API versions and labels.
LABEL: Final = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
Name = Annotated[str, Meta(pattern=rf"^{LABEL}$", max_length=63)]
ObjectName = Annotated[str, Meta(pattern=rf"^{LABEL}(\.{LABEL})*$", max_length=253)]
Kind = Annotated[str, Meta(pattern=r"^[A-Z][A-Za-z0-9]*$", max_length=63)]
ApiVersion = Annotated[
    str, Meta(pattern=rf"^({LABEL}(\.{LABEL})*/)?v[0-9]+((alpha|beta)[0-9]+)?$", max_length=253)
]
LabelKey = Annotated[
    str, Meta(pattern=r"^([a-z0-9.-]+/)?[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$", max_length=317)
]
LabelValue = Annotated[
    str, Meta(pattern=r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$", max_length=63)
]
Namespace = Annotated[str, Meta(pattern=rf"^({LABEL})?$", max_length=63)]


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename=in_yaml):
    """Base of every part that the core does not know: strict, frozen."""


class TargetRef(Part, frozen=True, kw_only=True):
    """What is scaled: any object of the fleet's namespace that has a scale subresource."""

    api_version: ApiVersion = "apps/v1"
    kind: Kind
    name: ObjectName


class Operator(enum.StrEnum):
    """How a label is compared."""

    IN = "In"
    NOT_IN = "NotIn"
    EXISTS = "Exists"
    DOES_NOT_EXIST = "DoesNotExist"


class Requirement(Part, frozen=True, kw_only=True):
    """One condition on a label."""

    key: LabelKey
    operator: Operator
    values: tuple[LabelValue, ...] = ()


class Selector(Part, frozen=True, kw_only=True):
    """Pods by their labels, as Kubernetes selects them: all of it has to hold."""

    match_labels: dict[str, LabelValue] = msgspec.field(default_factory=dict)
    match_expressions: tuple[Requirement, ...] = ()

    def text(self) -> str:
        """The same as the API takes it in a query; empty selects everything."""
        return ",".join(
            [
                *(f"{key}={value}" for key, value in sorted(self.match_labels.items())),
                *map(_condition, self.match_expressions),
            ]
        )


def _condition(one: Requirement) -> str:
    if one.operator is Operator.EXISTS:
        return one.key
    if one.operator is Operator.DOES_NOT_EXIST:
        return f"!{one.key}"
    word = "in" if one.operator is Operator.IN else "notin"
    return f"{one.key} {word} ({','.join(one.values)})"


class FleetPool(PoolSpec, frozen=True, kw_only=True):
    """One scale target of a fleet: its bounds, and what a replica of it costs.

    `selector` says which pods are its replicas; without one, the selector that the target itself
    tells with its scale. `cost` is in whatever unit the user counts (dollars an hour, GPUs).
    """

    name: Name
    scale_target_ref: TargetRef
    selector: Selector | None = None


class Gateways(Part, frozen=True, kw_only=True):
    """Where the gateways are that serve the model: what they count is the fleet's demand.

    Without a namespace those of the fleet's own, without a selector those that the chart installs.
    The selector only finds them. Demand is counted by namespace and model: gateways of one
    namespace that serve a model under other labels count for every fleet of that model there.
    """

    namespace: Namespace = ""
    selector: Selector | None = None


class BudgetRef(Part, frozen=True, kw_only=True):
    """A budget of GPUs or watts that the operator's configuration names; fleets share it."""

    name: Name


class Mode(enum.StrEnum):
    """What is done about a decision."""

    APPLY = "Apply"
    RECOMMEND = "Recommend"


class FleetSpec(ScalingSpec, frozen=True, kw_only=True):
    """What is asked of a fleet.

    `replicas` hands the number to somebody else: a person with `kubectl scale`, a
    HorizontalPodAutoscaler or KEDA that scales the fleet. Policies are not asked then, and what it
    says is carried out as any decision is, with drains.
    """

    model: Annotated[str, Meta(min_length=1, max_length=253)]
    engine: EngineKind = EngineKind.AUTO
    pools: tuple[FleetPool, ...]
    mode: Mode = Mode.APPLY
    paused: bool = False
    replicas: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    budget_ref: BudgetRef | None = None
    gateways: Gateways = Gateways()

    def scaling(self) -> ScalingSpec:
        """What decisions are made by: this, with its one pool held where `replicas` wants it."""
        if self.replicas is None:
            return self
        (pool,) = self.pools
        held = msgspec.structs.replace(pool, min_replicas=self.replicas, max_replicas=self.replicas)
        return msgspec.structs.replace(self, pools=(held,), policies=())
