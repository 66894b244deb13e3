"""Prefix-cache as AIBrix does it: the best match that is not busier than a standard deviation.

AIBrix's `prefix-cache` (vllm-project/aibrix 0.7, `pkg/plugins/gateway/algorithms`, 2026), by
requests in flight, with its published constants:

1. Imbalance: if the busiest has over `imbalance_gap` (8; its chart says 16) more than the idlest,
   one of the idlest.
2. Else of those that hold any of the prompt, the longest match first and the least busy first among
   equals, the first whose requests do not exceed mean + `deviations` (1; its chart says 2) times
   the standard deviation over all endpoints.
3. If there is none, the least busy of all. Ties are random.

The prompt is recorded as cached where it goes, at once.

Since then its main branch asks the busiest to have over 2 (mean + 1) requests, too, and then still
prefers a match among the idlest: `{imbalance_factor: 2, imbalance_gap: 7}`. Where everybody shares
a system prompt, rule 2 then starves an endpoint that never got it, until a gap of the mean's size
opens; so the release's rule is the default here.

What differs. The original hashes blocks of 128 characters or 16 tokens, ours are the routing key's;
its table is bounded by age and by entries of all models, ours by `max_blocks` a model. It counts
the requests of one gateway, and so do we.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.routed import RoutedPrefixes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class AibrixPrefixCache(PolicyBase, tag="aibrix-prefix-cache", frozen=True):
    """AIBrix's rule: the longest match within a standard deviation of the mean load."""

    imbalance_gap: Annotated[int, msgspec.Meta(ge=0)] = 8
    imbalance_factor: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    deviations: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 1.0
    # As many as `cache-aware` keeps: the original's bound is a matter of its host's memory.
    max_blocks: Annotated[int, msgspec.Meta(ge=64)] = 32_768

    def needs(self) -> Needs:
        """The prompt, to match it."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser with an empty index."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config", "_index")

    def __init__(self, config: AibrixPrefixCache) -> None:
        self._config = config
        self._index = RoutedPrefixes()

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chain = request.prompt.chain
        self._index.settle(pool)
        state, reason = self._pick(chain, eligible, rng)
        self._index.record(state, chain, self._config.max_blocks // len(pool.members))
        chosen = estimate(state, request, now)
        return Decision(chosen, (chosen,), reason)

    def _pick(
        self, chain: Sequence[int], eligible: Sequence[EndpointState], rng: Random
    ) -> tuple[EndpointState, Reason]:
        requests = [state.load.in_flight for state in eligible]
        mean = sum(requests) / len(requests)
        limit = mean + self._config.deviations * _deviation(requests, mean)
        fewest = min(requests)
        gated = self._is_imbalanced(requests, mean)
        idlest = [state for state in eligible if state.load.in_flight == fewest]
        preferred: Sequence[EndpointState] = eligible
        if gated:
            preferred = idlest if self._config.imbalance_factor > 0 else ()
        matches = [
            (-matched, state.load.in_flight, state)
            for state in preferred
            if state.load.in_flight <= limit and (matched := self._index.match(state, chain))
        ]
        if matches:
            return _first(matches, rng), Reason.AFFINITY
        return rng.choice(idlest), Reason.BALANCE if gated else Reason.POLICY

    def _is_imbalanced(self, requests: list[int], mean: float) -> bool:
        most = max(requests)
        return (
            most > self._config.imbalance_factor * (mean + 1)
            and most - min(requests) > self._config.imbalance_gap
        )


def _deviation(requests: list[int], mean: float) -> float:
    """The sample's standard deviation; 0 of one."""
    squares = sum([(count - mean) ** 2 for count in requests])
    return sqrt(squares / max(1, len(requests) - 1))


def _first(matches: list[tuple[int, int, EndpointState]], rng: Random) -> EndpointState:
    """The longest match, then the least busy, then chance."""
    first = min([match[:2] for match in matches])
    return rng.choice([state for *key, state in matches if tuple(key) == first])
