"""What is done about a fleet while the cluster is not heard.

What was seen last stays in force, and may be wrong by now in either direction. A replica too many
costs money for a while; one that is taken because another seemed to be ready costs requests. So
pools grow by what is asked of them, nothing shrinks, and who drains stays where it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.scaling.decision import ReasonCode, ScalingReason

if TYPE_CHECKING:
    from cardan.scaling.decision import PoolDecision, ScalingDecision


def growing_only(decision: ScalingDecision, why: str) -> ScalingDecision:
    """The decision as far as it makes pools grow; of the others nothing is valid, and why."""
    reason = ScalingReason(ReasonCode.CLUSTER_STALE, f"nothing shrinks: {why}")

    def held(pool: PoolDecision) -> PoolDecision:
        if pool.desired > pool.current or not pool.valid:
            return pool
        reasons = (reason, *pool.reasons)
        return msgspec.structs.replace(pool, desired=pool.current, valid=False, reasons=reasons)

    return msgspec.structs.replace(decision, pools=tuple(map(held, decision.pools)))
