"""What a role needs: the policies are asked, and the largest answer counts.

What they lack decides how it may be used. A number that is missing, stale or failed keeps a role
from shrinking; it may still grow by what is known. Where nobody can tell, it stays as it is. So it
does while anybody is turned away: whatever the numbers say, it is not too much that is there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.decision import ReasonCode, Recommendation, ScalingReason
from cardan.scaling.observation import MISSING, Datum, Freshness
from cardan.scaling.windows import PolicyMemory

if TYPE_CHECKING:
    from cardan.endpoint import Role
    from cardan.instants import WallTime
    from cardan.scaling.observation import Observation
    from cardan.scaling.policies import AnyScalingPolicy
    from cardan.scaling.view import RoleView

# A fleet that is not asleep has a replica of every role, whatever the policies say of no demand.
LEAST: Final = 0.05
# These are wishes, not measurements: they may wake a fleet, and keep it awake.
WISHES: Final = frozenset({ReasonCode.SCHEDULE, ReasonCode.EXTERNAL})

_CODES: Final = {
    Freshness.FRESH: ReasonCode.METRICS_MISSING,
    Freshness.MISSING: ReasonCode.METRICS_MISSING,
    Freshness.STALE: ReasonCode.METRICS_STALE,
    Freshness.FAILED: ReasonCode.METRICS_FAILED,
}

PolicyMemories = dict[str, PolicyMemory]


class Need(msgspec.Struct, frozen=True, kw_only=True):
    """What one role needs, in units of its reference replica (speed 1).

    `hold`: it must not shrink, for something is not known. `wished` is what schedules and external
    metrics ask for, whether or not anybody uses the fleet.
    """

    replicas: float
    reasons: tuple[ScalingReason, ...] = ()
    hold: bool = False
    wished: float = 0.0


def memory_key(role: Role, index: int, policy: AnyScalingPolicy) -> str:
    """Where a policy's memory for a role is kept: it is lost when the policies are reordered."""
    return f"{role}/{index}/{policy.__struct_config__.tag}"


def remembered(view: RoleView, memories: PolicyMemories, now: WallTime) -> PolicyMemories:
    """The memories of the role's policies after this tick."""
    return {
        key: policy.remember(view.role, _shown(view, memories, key), now)
        for key, policy in _keyed(view)
    }


def need(view: RoleView, memories: PolicyMemories, now: WallTime) -> Need:
    """What the role needs now."""
    asked = [
        policy.recommend(view.role, _shown(view, memories, key), now)
        for key, policy in _keyed(view)
    ]
    reasons = list(_lacking(asked, view.observation))
    shed = view.observation.demand.shed_per_s.known or 0.0
    if shed > 0:
        words = f"not lowered while {shed:.3g} requests a second are turned away"
        reasons.append(ScalingReason(ReasonCode.SHEDDING, words))
    hold = shed > 0 or any(one.replicas is None or one.lacking for one in asked)
    known = [one for one in asked if one.replicas is not None]
    replicas = view.current
    if known:
        most = max(known, key=lambda one: one.replicas or 0.0)
        replicas = most.replicas or 0.0
        reasons.insert(0, most.reason)
    capping = min(
        (one for one in asked if one.at_most is not None),
        key=lambda one: one.at_most or 0.0,
        default=None,
    )
    if capping is not None and capping.at_most is not None and replicas > capping.at_most:
        replicas = capping.at_most
        reasons.append(capping.reason)
    wished = max((one.replicas or 0.0 for one in asked if one.reason.code in WISHES), default=0.0)
    return Need(replicas=replicas, reasons=tuple(reasons), hold=hold, wished=wished)


def _keyed(view: RoleView) -> list[tuple[str, AnyScalingPolicy]]:
    """The fleet's policies with where their memories are kept."""
    return [
        (memory_key(view.role, index, policy), policy)
        for index, policy in enumerate(view.spec.policies)
    ]


def _shown(view: RoleView, memories: PolicyMemories, key: str) -> RoleView:
    """The view with one policy's own memory."""
    return msgspec.structs.replace(view, memory=memories.get(key, PolicyMemory()))


def _lacking(asked: list[Recommendation], observation: Observation) -> list[ScalingReason]:
    """What is not known, by how it is not known."""
    names = dict.fromkeys(name for one in asked for name in one.lacking)
    by_code: dict[ReasonCode, list[str]] = {}
    for name in names:
        datum = _datum(observation, name)
        words = f"{name} ({datum.why})" if datum.why else name
        by_code.setdefault(_CODES[datum.freshness], []).append(words)
    return [
        ScalingReason(code, "not lowered without " + ", ".join(words))
        for code, words in by_code.items()
    ]


def _datum(observation: Observation, name: str) -> Datum:
    """The datum of that name; what is not a datum of the fleet (a window of samples) is missing."""
    found = observation.external.get(name, getattr(observation.demand, name, MISSING))
    return found if isinstance(found, Datum) else MISSING
