"""LMetric: prompt tokens to be computed times requests in the batch, the least of all endpoints.

Zhang et al., "LMetric: Simple is Better - Multiplication May Be All You Need for LLM Request
Scheduling" (OSDI 2026, arXiv 2603.15202). One indicator falls with a cached prefix, the other rises
with load; as a product their scales cancel, so there is nothing to tune:

    score_i = (queued_i + u_i) * (batch_i + 1)

queued_i are the uncached tokens that wait there, u_i those this prompt would add, batch_i the
requests in flight; plus one, because an idle endpoint would else score nothing whatever it must
compute (AIBrix's port of it, `l-metric-local`, does the same). The least, ties at random.

What differs. The authors read the indicators from the engines; these are this gateway's own
accounts, which know a dispatch at once but not what others have sent.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.policies.base import Chooser, LeastCost, Needs, PolicyBase
from cardan.scoring import unanswered_tokens

if TYPE_CHECKING:
    from cardan.decision import Candidate
    from cardan.instants import Monotonic


class LMetric(PolicyBase, tag="lmetric", frozen=True):
    """The least product of tokens to prefill and requests in flight."""

    def needs(self) -> Needs:
        """The prompt, to know what of it is cached."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return LeastCost(_score)


def _score(candidate: Candidate, now: Monotonic) -> float:
    state = candidate.endpoint
    prefill = unanswered_tokens(state, now) + candidate.uncached_tokens
    return prefill * (state.load.in_flight + 1)
