"""The reasons of a fleet whose number somebody gives (`spec.replicas`): pure.

Its one pool is held between two equal bounds, and that decides: all that is to be said of needs and
bounds there is the number itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.scaling.decision import ReasonCode, ScalingReason
from msgspec.structs import replace

if TYPE_CHECKING:
    from cardan.scaling.decision import PoolDecision, ScalingDecision

    from cardan_controller.crds.fleet import FleetSpec

_OF_THE_BOUNDS: Final = frozenset(
    {ReasonCode.WITHIN_TOLERANCE, ReasonCode.TOO_FEW, ReasonCode.TOO_MANY}
)


def in_its_words(spec: FleetSpec, decision: ScalingDecision) -> ScalingDecision:
    """The decision with the number as its reason, where one is given."""
    if spec.replicas is None:
        return decision
    given = ScalingReason(ReasonCode.GIVEN, f"spec.replicas: {spec.replicas}")
    return replace(decision, pools=tuple(_explained(pool, given) for pool in decision.pools))


def _explained(pool: PoolDecision, given: ScalingReason) -> PoolDecision:
    """First where it is what was decided; why nothing can be done stands before it."""
    others = tuple(reason for reason in pool.reasons if reason.code not in _OF_THE_BOUNDS)
    return replace(pool, reasons=(given, *others) if pool.valid else (*others, given))
