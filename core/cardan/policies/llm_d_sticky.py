"""Sticky until saturated, as llm-d does it: a filter for warm endpoints, then load scorers.

llm-d-router (0.10; "Sticky Until Saturated", llm-d.ai, August 2026). First the filter
`prefix-cache-affinity-filter`, with its published constants:

- An endpoint is sticky if it holds at least `affinity_threshold` (0.80) of the prompt's blocks.
- Only sticky ones go on, unless the least loaded of them lies further behind the least loaded other
  than `max_penalty_s` (18 s) at `peak_tokens_per_s` (15,928, measured for Qwen3-32B on two H100):
  about 286,700 uncached tokens in flight. Then, or with no sticky one, all go on. A penalty of 0
  always sticks.

Then scorers, each 0 to 1, weighted and summed; the greatest sum wins, ties at random:

    token load   1 - min(1, (uncached tokens in flight + this prompt's) / 4,194,304)
    prefix       matched blocks / blocks of the prompt
    queue        (longest - waiting) / (longest - shortest); all equal: 1
    kv cache     1 - used share of the KV cache

The default is the composition that the post recommends for load that prefills: the filter and token
load alone. The chart's default set is

    {affinity_threshold: 0, token_load_weight: 0, prefix_weight: 3, queue_weight: 2, kv_weight: 2}

A prompt is recorded as cached where it is sent, at once (`approx-prefix-cache-producer`), in a map
as large as the engine's cache. Tokens are in flight until the first token.

What differs. The original's blocks have 64 tokens or the engine's size, ours are the routing key's,
and only the key's blocks (64 at most) count. What waits at an engine and its cache's use come from
its metrics; without fresh ones from our own accounts, where the original scores it as empty.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.routed import RoutedPrefixes
from cardan.scoring import least, unanswered_tokens

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView

# `queueThresholdTokens`: 128 requests of 32k tokens.
FULL_LOAD_TOKENS = 4_194_304.0

Weight = Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)]


class LlmDSticky(PolicyBase, tag="llm-d-sticky", frozen=True):
    """llm-d's rule: warm endpoints until they are saturated, among them the least loaded."""

    affinity_threshold: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)] = 0.8
    max_penalty_s: Annotated[float, msgspec.Meta(ge=0.0, le=3600.0)] = 18.0
    peak_tokens_per_s: Annotated[float, msgspec.Meta(gt=0.0)] = 15_928.0
    token_load_weight: Weight = 1.0
    prefix_weight: Weight = 0.0
    queue_weight: Weight = 0.0
    kv_weight: Weight = 0.0

    def needs(self) -> Needs:
        """The prompt; the engines' metrics where a scorer with a weight reads them."""
        scraped = self.queue_weight > 0 or self.kv_weight > 0
        return Needs.PROMPT | (Needs.ENGINE_METRICS if scraped else Needs.NOTHING)

    def bind(self) -> Chooser:
        """A chooser with an empty index."""
        return _Chooser(self)


class _Option:
    """An endpoint with what the plugins read of it; tokens are uncached ones in flight."""

    __slots__ = ("kv_used", "matched", "state", "tokens", "waiting")

    def __init__(self, state: EndpointState, matched: float, now: Monotonic) -> None:
        self.state = state
        self.matched = matched
        self.tokens = unanswered_tokens(state, now)
        metrics = state.fresh_metrics(now)
        waiting = metrics.waiting if metrics is not None else None
        self.waiting = float(len(state.load.waiting)) if waiting is None else waiting
        used = metrics.kv_used_ratio if metrics is not None else None
        if used is None:
            used = state.load.context_tokens / (state.shadow.capacity_blocks * state.block_tokens)
        self.kv_used = min(1.0, used)


class _Chooser:
    __slots__ = ("_config", "_index")

    def __init__(self, config: LlmDSticky) -> None:
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
        blocks = max(1, len(chain))
        options = [
            _Option(state, self._index.match(state, chain) / blocks, now) for state in eligible
        ]
        kept, reason = self._filter(options)
        longest = max(option.waiting for option in kept)
        shortest = min(option.waiting for option in kept)
        best = least(
            kept,
            lambda option: -self._score(option, request.prompt.tokens, longest, shortest),
            rng,
        )
        self._index.record(best.state, chain, best.state.shadow.capacity_blocks)
        chosen = estimate(best.state, request, now)
        return Decision(chosen, (chosen,), reason)

    def _filter(self, options: list[_Option]) -> tuple[list[_Option], Reason]:
        """The sticky ones, while they are not saturated; else all."""
        threshold = self._config.affinity_threshold
        sticky = [option for option in options if option.matched >= threshold]
        if not sticky or threshold <= 0:
            return options, Reason.POLICY
        others = [option.tokens for option in options if option.matched < threshold]
        if others and self._config.max_penalty_s > 0:
            behind = min([option.tokens for option in sticky]) - min(others)
            if behind / self._config.peak_tokens_per_s > self._config.max_penalty_s:
                return options, Reason.BALANCE
        return sticky, Reason.AFFINITY

    def _score(self, option: _Option, tokens: float, longest: float, shortest: float) -> float:
        """Each scorer times its weight; the queue's is relative to who is left by the filter."""
        config = self._config
        load = option.tokens + tokens * (1.0 - option.matched)
        score = config.token_load_weight * (1.0 - min(1.0, load / FULL_LOAD_TOKENS))
        score += config.prefix_weight * option.matched
        spread = longest - shortest
        queue = (longest - option.waiting) / spread if spread > 0 else 1.0
        return score + config.queue_weight * queue + config.kv_weight * (1.0 - option.kv_used)
