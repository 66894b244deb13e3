"""How full replicas are, by the rule of HorizontalPodAutoscaler.

n = ready (mean use / target). Replicas whose use is not known are counted against the direction of
the change: as at the target where the others would shrink the fleet, as idle where they would grow
it; where that turns the direction, nothing is changed.

Use is of the KV cache, or saturation: the larger of KV use over 0.8 and waiting requests over five,
the marks at which llm-d calls a replica saturated. Mind what the field has measured: KV use of a
decode engine stays high when it has time to spare, and latency falls off a cliff behind it. The SLO
policy is the better one; this is for who wants what he knows.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies.base import ScalingPolicyBase, lacks, silent, told

if TYPE_CHECKING:
    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.observation import EndpointLoad
    from cardan.scaling.view import RoleView

# WVA's percentage analyser: saturated from these on.
SATURATED_KV: Final = 0.8
SATURATED_WAITING: Final = 5.0


class UtilisationOf(enum.StrEnum):
    """What is measured."""

    KV = "kv"
    SATURATION = "saturation"


class Utilisation(ScalingPolicyBase, tag="utilisation", frozen=True, kw_only=True):
    """Mean use of the replicas at `target`."""

    of: UtilisationOf = UtilisationOf.KV
    target: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.7

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """Ready replicas times mean use over target; the unknown counted against the direction."""
        if not self.speaks_for(role):
            return silent(ReasonCode.UTILISATION, role)
        uses = [self._use(load) for load in view.endpoints]
        known = [use for use in uses if use is not None]
        if not known:
            return lacks(ReasonCode.UTILISATION, str(self.of))
        missing = len(uses) - len(known)
        ratio = _against_direction(sum(known), len(known), missing, self.target)
        message = f"mean {self.of} {sum(known) / len(known):.2f}, target {self.target:.2f}"
        if missing:
            message += f", {missing} of {len(uses)} not known"
        lacking = (str(self.of),) if missing else ()
        return told(ReasonCode.UTILISATION, message, view.ready * ratio, lacking)

    def _use(self, load: EndpointLoad) -> float | None:
        kv = load.kv_used_ratio.known
        if self.of is UtilisationOf.KV:
            return kv
        waiting = load.waiting.known
        if kv is None or waiting is None:
            return None
        return max(kv / SATURATED_KV, waiting / SATURATED_WAITING)


def _against_direction(used: float, known: int, missing: int, target: float) -> float:
    """Use over target, with those that are missing as HorizontalPodAutoscaler counts them."""
    ratio = used / known / target
    if not missing or ratio == 1:
        return ratio
    assumed = target if ratio < 1 else 0.0
    corrected = (used + assumed * missing) / (known + missing) / target
    return 1.0 if (corrected > 1) != (ratio > 1) else corrected
