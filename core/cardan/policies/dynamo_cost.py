"""Dynamo's cost: KV blocks to compute plus KV blocks in use, the least or a draw among the cheap.

NVIDIA Dynamo's KV router (ai-dynamo/dynamo, `lib/kv-router`, 1.4 and 1.5; the published defaults):

    prefill_i = max(0, (pending_i + L) - overlap_credit * hit_i) / B
    decode_i  = (context_i + L) / B
    cost_i    = prefill_load_scale * prefill_i + decode_i + active_request_weight * requests_i

pending_i are uncached tokens at i without a first token, context_i the tokens of all prompts in
flight there, L this prompt's, hit_i what of it i holds, B the tokens of a block. With the defaults
(credit 1, scale 1) this equals the first published form, overlap weight times prefill blocks plus
decode blocks at weight 1. At `temperature` 0, the default, the least cost wins, ties at random;
above it the endpoint is drawn by a softmax of -cost, scaled so that the costs span 0 to 1:

    p_i ~ exp(-(cost_i - min) / ((max - min) * temperature))

What differs. Dynamo counts a block that two requests in flight share once; here each prompt counts
whole. Its index is fed by KV events where ours is the shadow that first tokens fill, and there is
no host, disk or shared tier, no credit decay (0 by default) and no taint. B is this gateway's block
and matters only beside `active_request_weight`, which is 0 by default.
"""

from __future__ import annotations

from math import exp
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
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


class DynamoCost(PolicyBase, tag="dynamo-cost", frozen=True):
    """Dynamo's cost of blocks to compute and blocks in use."""

    overlap_credit: Annotated[float, msgspec.Meta(ge=0.0, le=10.0)] = 1.0
    prefill_load_scale: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0
    active_request_weight: Annotated[float, msgspec.Meta(ge=0.0, le=1e6)] = 0.0
    temperature: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 0.0

    def needs(self) -> Needs:
        """The prompt, to match it."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config",)

    def __init__(self, config: DynamoCost) -> None:
        self._config = config

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        candidates = [estimate(state, request, now) for state in eligible]
        costs = {
            candidate: self._cost(candidate, request.prompt.block_tokens, now)
            for candidate in candidates
        }
        if self._config.temperature > 0:
            chosen = _draw(costs, self._config.temperature, rng)
        else:
            chosen = least(candidates, costs.__getitem__, rng)
        return Decision(chosen, (chosen,), Reason.POLICY)

    def _cost(self, candidate: Candidate, block_tokens: int, now: Monotonic) -> float:
        config, state = self._config, candidate.endpoint
        tokens = candidate.hit_tokens + candidate.uncached_tokens
        pending = unanswered_tokens(state, now)
        prefill = max(0.0, pending + tokens - config.overlap_credit * candidate.hit_tokens)
        decode = state.load.context_tokens + tokens
        blocks = (config.prefill_load_scale * prefill + decode) / block_tokens
        return blocks + config.active_request_weight * state.load.in_flight


def _draw(costs: dict[Candidate, float], temperature: float, rng: Random) -> Candidate:
    """One of them by softmax of the negated costs, scaled to a span of one."""
    low = min(costs.values())
    span = max(costs.values()) - low
    if span <= 0:
        return rng.choice(list(costs))
    weights = [exp(-(cost - low) / span / temperature) for cost in costs.values()]
    return rng.choices(list(costs), weights)[0]
