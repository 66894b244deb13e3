"""Min-TTFT: of all endpoints the one whose first token is predicted soonest.

The global greedy of DualMap's evaluation (arXiv 2602.06502, "Min TTFT") and, without a shared
cache, what Mooncake's conductor does. Nothing beats it for the request at hand; it scatters a
prefix over as many endpoints as are idle, and each of them computes it again.

    choose argmin of overhead + (backlog_i + work(L - hit_i)) / rate_i, ties at random

The prediction is `cardan.estimate`, which also `dualmap` decides by: whatever differs between the
two is the policy and not what it knows. DualMap's release multiplies tokens by one constant rate.
"""

from __future__ import annotations

from cardan.policies.base import Chooser, LeastCost, Needs, PolicyBase


class MinTtft(PolicyBase, tag="min-ttft", frozen=True):
    """The least predicted time to first token of all endpoints."""

    def needs(self) -> Needs:
        """The prompt, and the engines' word on what others have sent them."""
        return Needs.PROMPT | Needs.ENGINE_METRICS

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return LeastCost(lambda candidate, _now: candidate.ttft_s)
