"""A metric by name over a target, as HorizontalPodAutoscaler's external metrics are.

`AverageValue`: the metric is of the whole fleet and each replica is to have `target` of it, so n =
value / target. `Value`: the metric is to be at `target`, and is thought proportional to load per
replica, so n = ready value / target. From zero replicas the second cannot tell.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies.base import ScalingPolicyBase, lacks, silent, told

if TYPE_CHECKING:
    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.view import RoleView


class TargetType(enum.StrEnum):
    """How the target is meant, in Kubernetes' words."""

    AVERAGE_VALUE = "AverageValue"
    VALUE = "Value"


class External(ScalingPolicyBase, tag="external", frozen=True, kw_only=True):
    """Replicas by a metric that the observation carries under `metric`."""

    metric: str
    target: Annotated[float, msgspec.Meta(gt=0)]
    target_type: TargetType = TargetType.AVERAGE_VALUE

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """The metric over its target."""
        if not self.speaks_for(role):
            return silent(ReasonCode.EXTERNAL, role)
        datum = view.observation.external.get(self.metric)
        value = datum.known if datum else None
        if value is None:
            return lacks(ReasonCode.EXTERNAL, self.metric)
        replicas = max(0.0, value) / self.target
        if self.target_type is TargetType.VALUE:
            if view.ready <= 0:
                return lacks(ReasonCode.EXTERNAL, "ready")
            replicas *= view.ready
        message = f"{self.metric} is {value:.4g}, target {self.target:.4g} ({self.target_type})"
        return told(ReasonCode.EXTERNAL, message, replicas)
