"""Least pending tokens: the endpoint with the fewest prompt tokens yet to be answered.

Least request with prompts weighed by their length, so that one of 100,000 tokens is not taken for
one of 100. The load-only baseline of DualMap's evaluation (arXiv 2602.06502, "Least Loaded") and
CacheRoute's (arXiv 2608.19677): it spreads evenly and knows no prefix, so every endpoint computes
everything once.

    pending_i = sum of the tokens of our prompts at i without a first token, cached or not
    choose argmin pending_i, ties at random

What differs. A prompt whose answer is not streamed shows no first token: it drains at the learned
rate of its endpoint.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least, unanswered_prompt_tokens

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
        idlest = least(eligible, lambda state: unanswered_prompt_tokens(state, now), rng)
        chosen = estimate(idlest, request, now)
        return Decision(chosen, (chosen,), Reason.POLICY)
