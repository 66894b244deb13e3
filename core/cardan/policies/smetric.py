"""SMetric: sessions are placed by load when they begin, and stay while their deadline allows.

Wang et al., "SMetric: Rethink LLM Scheduling for Serving Agents with Balanced Session-centric
Scheduling" (arXiv 2607.08565), without its global KV tier. An agent's session asks again and again
with a prompt that grows, so where it begins decides where most of its work will be:

- First turn, or a session that was pushed out of every cache: argmin q_i + u_i, the uncached tokens
  that wait there and those of this prompt.
- Later turn: the endpoint with the highest overlap, if its time to first token fits slack * SLO
  less what was waited; else the least loaded (argmin q_i + u_i), if that one fits; if nobody does,
  the highest overlap, which wastes the least.

What differs. The paper is told sessions. Most requests name none, so a later turn is known by its
cache: somebody holds more of the prompt than the part that is hot because everybody shares it
(`cardan.depth`). A session pushed out looks like a first turn, as the paper wants. `slack` is 1
(its value is not known to us). The time to first token is `cardan.estimate`'s. Of equal overlaps
the least loaded is taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.depth import DepthConfig, DepthController
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least, unanswered_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class SMetric(PolicyBase, tag="smetric", frozen=True):
    """Sessions begin where there is least to compute, and leave only to keep their deadline."""

    slack: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 1.0
    depth: DepthConfig = DepthConfig()

    def needs(self) -> Needs:
        """The prompt, and the engines' word on what others have sent them."""
        return Needs.PROMPT | Needs.ENGINE_METRICS

    def bind(self) -> Chooser:
        """A chooser that has seen no prefix yet."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config", "_depth")

    def __init__(self, config: SMetric) -> None:
        self._config = config
        self._depth = DepthController(config.depth)

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chain = request.prompt.chain
        depth = self._depth.observe(chain, len(pool.routable), now) if chain else 1
        matched = [state.shadow.match(chain) for state in eligible]
        candidates = [
            estimate(state, request, now, held)
            for state, held in zip(eligible, matched, strict=True)
        ]
        highest = max(matched)
        if highest < depth:
            chosen = _least_loaded(candidates, now, rng)
            return Decision(chosen, (chosen,), Reason.POLICY)
        holders = [c for c, held in zip(candidates, matched, strict=True) if held == highest]
        warm = _least_loaded(holders, now, rng)
        budget_s = self._config.slack * request.slo_ttft_s - (now - request.arrived_at)
        if warm.ttft_s <= budget_s:
            return Decision(warm, (warm,), Reason.WARM)
        idlest = _least_loaded(candidates, now, rng)
        if idlest.ttft_s <= budget_s:
            return Decision(idlest, (warm, idlest), Reason.SWITCH)
        return Decision(warm, (warm, idlest), Reason.HOPELESS)


def _least_loaded(candidates: Sequence[Candidate], now: Monotonic, rng: Random) -> Candidate:
    return least(candidates, lambda candidate: _pending(candidate, now), rng)


def _pending(candidate: Candidate, now: Monotonic) -> float:
    return unanswered_tokens(candidate.endpoint, now) + candidate.uncached_tokens
