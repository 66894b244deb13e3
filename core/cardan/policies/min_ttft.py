"""Min-TTFT: of all endpoints the one whose first token is predicted soonest.

The global greedy of DualMap's evaluation (arXiv 2602.06502, "Min TTFT") and, without a shared
cache, what Mooncake's conductor does. Nothing beats it for the request at hand; it scatters a
prefix over as many endpoints as are idle, and each of them computes it again.

    choose argmin of overhead + (backlog_i + work(L - hit_i)) / rate_i, ties at random

The prediction is `cardan.estimate`, which also `dualmap` decides by: whatever differs between the
two is the policy and not what it knows. DualMap's release multiplies tokens by one constant rate.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class MinTtft(PolicyBase, tag="min-ttft", frozen=True):
    """The least predicted time to first token of all endpoints."""

    def needs(self) -> Needs:
        """The prompt, and the engines' word on what others have sent them."""
        return Needs.PROMPT | Needs.ENGINE_METRICS

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
        candidates = [estimate(state, request, now) for state in eligible]
        chosen = least(candidates, lambda candidate: candidate.ttft_s, rng)
        return Decision(chosen, (chosen,), Reason.POLICY)
