"""Cache-aware as SGLang's model gateway does it: the longest cached prefix while loads are even.

The rule, with its published defaults (sgl-model-gateway `cache_aware`, 2026; older releases and
vllm-router are set up with a `cache_threshold` of 0.5 as often as with 0.3):

1. Imbalance: if the busiest endpoint has over `balance_abs_threshold` requests more than the idlest
   *and* over `balance_rel_threshold` times as many, take the least busy one.
2. Otherwise, if the best match covers over `cache_threshold` of the prompt, take its owner.
3. Otherwise take the least busy one.

Whichever it is, the prompt is recorded as cached there at once, before it has even been sent.

What differs. The original keeps a radix tree of characters over all endpoints, bounded by 2^26
characters a model and swept every minute; ours is one bounded map of 2,048-byte block hashes for
each endpoint, least recently used first, so a match is counted in whole blocks. Among equal matches
the original takes an owner the tree happens to name; ours the least busy. An endpoint that leaves
takes its entries with it, where the original keeps them until they age.
"""

from __future__ import annotations

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


class CacheAware(PolicyBase, tag="cache-aware", frozen=True):
    """SGLang's rule: the best prefix match unless loads are uneven, else the least busy."""

    cache_threshold: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.3
    balance_abs_threshold: Annotated[int, msgspec.Meta(ge=0)] = 64
    balance_rel_threshold: Annotated[float, msgspec.Meta(ge=1.0)] = 1.5
    # 2^26 characters in blocks of 2,048.
    max_blocks: Annotated[int, msgspec.Meta(ge=64)] = 32_768

    def needs(self) -> Needs:
        """The prompt, to match it."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser with an empty index."""
        return _Chooser(self)


def _busyness(state: EndpointState) -> tuple[int, int, str]:
    """The original's order: load, then requests processed, then a fixed order."""
    return state.load.in_flight, state.load.dispatched_total, state.id


class _Chooser:
    __slots__ = ("_config", "_index")

    def __init__(self, config: CacheAware) -> None:
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
        state, reason = self._pick(chain, eligible)
        # The bound is the model's, shared evenly.
        self._index.record(state, chain, self._config.max_blocks // len(pool.members))
        chosen = estimate(state, request, now)
        return Decision(chosen, (chosen,), reason)

    def _pick(
        self, chain: Sequence[int], eligible: Sequence[EndpointState]
    ) -> tuple[EndpointState, Reason]:
        idlest = min(eligible, key=_busyness)
        if self._is_imbalanced(eligible, idlest.load.in_flight):
            return idlest, Reason.BALANCE
        best, owners = 0, []
        for state in eligible:
            matched = self._index.match(state, chain)
            if matched > best:
                best, owners = matched, [state]
            elif matched and matched == best:
                owners.append(state)
        if owners and best / len(chain) > self._config.cache_threshold:
            return min(owners, key=_busyness), Reason.AFFINITY
        return idlest, Reason.POLICY

    def _is_imbalanced(self, eligible: Sequence[EndpointState], fewest: int) -> bool:
        most = max(state.load.in_flight for state in eligible)
        return (
            most - fewest > self._config.balance_abs_threshold
            and most > self._config.balance_rel_threshold * fewest
        )
