"""Mooncake's conductor: the least time to first token, with the best cache fetched where it pays.

Qin et al., "Mooncake" (FAST 2025, arXiv 2407.00079), algorithm 1. With best the longest prefix that
anybody holds and own what instance i holds, of a prompt of L tokens:

    best / own < balancing_threshold    ttft_i = queue_i + prefill(L, own)
    otherwise                           ttft_i = transfer(best - own) + queue_i + prefill(L, best)

The least wins. In the second case the instance fetches what it lacks, so a prefix that everybody
asks for is copied to whoever is idle: hot spots spread on their own.

`transfer_tokens_per_s` says how fast: 0, the default, is for engines that share no cache. They
cannot fetch, so the first case holds for all and the rule is that of `min-ttft`. With a shared
store over a 100 Gbit/s network it is about 95,000 for Llama-3.1-8B (131,072 B of KV cache a token).

What differs. The paper publishes no threshold: 2 is ours. Queue and prefill times are
`cardan.estimate`'s, where the paper fits them offline. It refuses a request whose best time misses
the SLO; a policy refuses nobody. A tie is random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least
from cardan.speed import work_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class Mooncake(PolicyBase, tag="mooncake", frozen=True):
    """The least time to first token of all, with the best cache at hand where it can be fetched."""

    balancing_threshold: Annotated[float, msgspec.Meta(ge=1.0, le=1000.0)] = 2.0
    transfer_tokens_per_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0

    def needs(self) -> Needs:
        """The prompt, and the engines' word on what others have sent them."""
        return Needs.PROMPT | Needs.ENGINE_METRICS

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config",)

    def __init__(self, config: Mooncake) -> None:
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
        best = max([candidate.hit_tokens for candidate in candidates])
        if self._config.transfer_tokens_per_s > 0 and best > 0:
            for candidate in candidates:
                self._balance(candidate, best)
        chosen = least(candidates, lambda candidate: candidate.ttft_s, rng)
        return Decision(chosen, (chosen,), Reason.POLICY)

    def _balance(self, candidate: Candidate, best: float) -> None:
        """Make the prediction what it is with the best prefix fetched, if too little is there."""
        own = candidate.hit_tokens
        if best <= own or best < self._config.balancing_threshold * own:
            return
        tokens = own + candidate.uncached_tokens
        saved = work_tokens(candidate.uncached_tokens, tokens) - work_tokens(tokens - best, tokens)
        saved_s = saved / candidate.endpoint.speed.rate_tokens_per_s()
        transfer_s = (best - own) / self._config.transfer_tokens_per_s
        candidate.hit_tokens, candidate.uncached_tokens = best, tokens - best
        candidate.ttft_s = max(0.0, candidate.ttft_s - saved_s + transfer_s)
