"""What a scaling policy is: a frozen value that recommends replicas of one role.

The entry of the fleet's specification decodes into it (`type` names it), so a typo is refused with
its path. Policies are asked each tick and the largest recommendation counts; adding one is one file
here and one word in the union of `cardan.scaling.policies`.

Each tick a policy first remembers (`remember`: memory in, memory out), then is asked (`recommend`,
which only reads). Two laws hold for all of them: what lacks an input says so in `lacking`, and more
demand is never answered with fewer replicas.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.endpoint import Role
from cardan.scaling.decision import ReasonCode, Recommendation, ScalingReason
from cardan.spelling import in_yaml

if TYPE_CHECKING:
    from cardan.instants import WallTime
    from cardan.scaling.view import RoleView
    from cardan.scaling.windows import PolicyMemory


class ScalingPolicyBase(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="type",
    kw_only=True,
    rename=in_yaml,
):
    """Base of every scaling policy's entry. `roles` are those it speaks for; empty: all."""

    roles: tuple[Role, ...] = ()

    def remember(self, role: Role, view: RoleView, now: WallTime) -> PolicyMemory:
        """This policy's memory for `role` after this tick; `view.memory` is the one before."""
        return view.memory

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """How many replicas of `role`'s reference pool this policy wants now."""
        raise NotImplementedError

    def speaks_for(self, role: Role) -> bool:
        """Whether this policy has anything to say of `role`."""
        return not self.roles or role in self.roles


def told(
    code: ReasonCode,
    message: str,
    replicas: float | None,
    lacking: tuple[str, ...] = (),
    at_most: float | None = None,
) -> Recommendation:
    """A recommendation with its reason."""
    return Recommendation(replicas, ScalingReason(code, message), lacking, at_most)


def silent(code: ReasonCode, role: Role) -> Recommendation:
    """What a policy says of a role that it does not speak for: no replicas for its sake."""
    return told(code, f"says nothing of role {role}", 0.0)


def lacks(code: ReasonCode, *names: str) -> Recommendation:
    """What a policy says that cannot tell."""
    return told(code, "lacks " + ", ".join(names), None, names)
