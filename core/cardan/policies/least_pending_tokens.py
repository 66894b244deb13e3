"""Least pending tokens: the endpoint with the fewest uncached prompt tokens yet to be answered.

Least request with prompts weighed by what they cost, so that one of 100,000 tokens is not taken for
one of 100. The load-only baseline of DualMap's evaluation ("Least Loaded", arXiv 2602.06502) and
CacheRoute's (arXiv 2608.19677): it spreads evenly and knows no prefix, so every endpoint computes
everything once.

    pending_i = sum of u_r over our requests r at i without a first token
    choose argmin pending_i, ties at random

What differs. DualMap's release counts whole prompts; here u_r is what is predicted to be computed.
The two are the same where nothing is cached, which under this policy is nearly so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least, unanswered_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class LeastPendingTokens(PolicyBase, tag="least-pending-tokens", frozen=True):
    """The endpoint with the fewest prompt tokens in flight."""

    def needs(self) -> Needs:
        """The prompt, for its size."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return _Chooser()


class _Chooser:
    __slots__ = ()

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        idlest = least(eligible, lambda state: unanswered_tokens(state, now), rng)
        chosen = estimate(idlest, request, now)
        return Decision(chosen, (chosen,), Reason.POLICY)
