"""So many tokens a second for each replica.

Tokens that arrive are counted, not those that are worked off: arrivals lead by one queue, and a
saturated engine's throughput says how fast it is and not how much is asked (TokenScale; HeteroScale
finds decode tokens the steadiest signal of production). The rate is the foreseen one. Tokens grow
as requests do: while the rate of requests is not known that growth may be missing from it.
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


class TokenKind(enum.StrEnum):
    """Which tokens are counted."""

    PROMPT = "prompt"
    UNCACHED = "uncached"  # of the prompt, those that no cache saves
    OUTPUT = "output"


class Throughput(ScalingPolicyBase, tag="throughput", frozen=True, kw_only=True):
    """`tokens_per_s` of a kind for each replica."""

    tokens_per_s: Annotated[float, msgspec.Meta(gt=0)]
    tokens: TokenKind = TokenKind.UNCACHED

    def recommend(self, role: Role, view: RoleView, now: WallTime) -> Recommendation:
        """The foreseen rate over a replica's."""
        if not self.speaks_for(role):
            return silent(ReasonCode.THROUGHPUT, role)
        name = f"{self.tokens}_tokens_per_s"
        rate = getattr(view.observation.demand, name).known
        if rate is None:
            return lacks(ReasonCode.THROUGHPUT, name)
        rate *= view.foreseen.growth
        message = f"{rate:.4g} {self.tokens} tokens/s foreseen, {self.tokens_per_s:.4g} a replica"
        lacking = ("requests_per_s",) if view.foreseen.requests_per_s is None else ()
        return told(ReasonCode.THROUGHPUT, message, max(0.0, rate) / self.tokens_per_s, lacking)
