"""The fast model: prompts one after the other behind an LRU prefix cache, and no decoding.

The setting in which DualMap's authors and most routing papers compare (their engines run without
chunked prefill): a prompt takes `overhead_s` and `token_s` for each token that is not cached; its
first token is its last. The default figures are theirs for Qwen2.5-7B on an Ascend 910B4, with a
cache of a million tokens, 30 % of the trace's.

The cache keeps whole blocks of 512 tokens, the least recently used goes first, and of one prompt
the later block goes before the earlier: what is found is always a prefix.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.metrics import EngineMetrics

from cardan_sim.simulate.engines.base import Began, Finished, Tally

if TYPE_CHECKING:
    from cardan_sim.engine.stats import Histogram
    from cardan_sim.simulate.engines.base import BlocksHeard, Notice
    from cardan_sim.simulate.jobs import Job


class PrefillSpec(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="prefill", kw_only=True
):
    """An engine that only computes prompts."""

    token_s: Annotated[float, msgspec.Meta(gt=0)] = 1.6e-4
    overhead_s: Annotated[float, msgspec.Meta(ge=0)] = 0.02
    cache_tokens: Annotated[int, msgspec.Meta(ge=512)] = 1_000_000

    @property
    def label(self) -> str:
        """A few words for tables."""
        return f"prefill {1 / self.token_s:,.0f} tokens/s"

    @property
    def kv_tokens(self) -> int:
        """Tokens that the cache holds."""
        return self.cache_tokens

    def make(self, seed: int) -> PrefillEngine:
        """An idle engine with an empty cache."""
        del seed
        return PrefillEngine(self)


class BlockLru:
    """Ids of blocks in the order of their last use; a plain dict keeps it."""

    __slots__ = ("_blocks", "_capacity", "heard")

    def __init__(self, capacity: int) -> None:
        self._blocks: dict[int, None] = {}
        self._capacity = max(1, capacity)
        self.heard: BlocksHeard | None = None

    def clear(self) -> None:
        """Forget everything."""
        if self.heard is not None:
            self.heard((), list(self._blocks))
        self._blocks.clear()

    def __contains__(self, block: int) -> bool:
        return block in self._blocks

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, blocks: tuple[int, ...]) -> int:
        """How many leading blocks are held. A held block's predecessors are held, so: bisection."""
        held = self._blocks
        low, high = 0, len(blocks)
        while low < high:
            middle = (low + high + 1) >> 1
            if blocks[middle - 1] in held:
                low = middle
            else:
                high = middle - 1
        return low

    def use(self, blocks: tuple[int, ...]) -> None:
        """These were computed or found: the first is the most recent now."""
        held = self._blocks
        kept = blocks[: self._capacity]
        fresh = [] if self.heard is None else [block for block in kept if block not in held]
        for block in reversed(kept):
            held.pop(block, None)
            held[block] = None
        surplus = len(held) - self._capacity
        gone = list(islice(held, surplus)) if surplus > 0 else []
        for block in gone:
            del held[block]
        if self.heard is not None:
            self.heard(fresh, gone)


class _Work:
    """One prompt in the engine; `uncached` is what it was expected to need when it came."""

    __slots__ = ("blocks", "cached", "ends_at", "key", "tokens", "uncached")

    def __init__(self, key: int, tokens: int, blocks: tuple[int, ...], uncached: int) -> None:
        self.key = key
        self.tokens = tokens
        self.blocks = blocks
        self.uncached = uncached
        self.cached = 0
        self.ends_at = 0.0


class PrefillEngine:
    """See `cardan_sim.simulate.engines.base.EngineModel`."""

    def __init__(self, spec: PrefillSpec) -> None:
        self.spec = spec
        self.cache = BlockLru(spec.cache_tokens // 512)
        self.pending_tokens = 0
        self._factor = 1.0
        self._held_until = 0.0
        self._queue: deque[_Work] = deque()
        self._current: _Work | None = None
        self._prompt_tokens = self._cached_tokens = self._done = 0

    @property
    def tally(self) -> Tally:
        """See `EngineModel`; every answer is one token."""
        return Tally(self._prompt_tokens, self._cached_tokens, self._done, 0)

    def submit(self, key: int, job: Job, now: float) -> None:
        """See `EngineModel`."""
        whole = job.full_blocks
        step = 512 // job.block_tokens
        blocks = tuple(job.blocks[:whole] if step == 1 else job.blocks[step - 1 : whole : step])
        uncached = job.tokens - self._found(job.tokens, blocks)
        self.pending_tokens += uncached
        work = _Work(key, job.tokens, blocks, uncached)
        if self._current is None:
            self._begin(work, now)
        else:
            self._queue.append(work)

    def abort(self, key: int, now: float) -> None:
        """See `EngineModel`; a prompt that is being computed is computed to its end, untold."""
        del now
        if self._current is not None and self._current.key == key:
            self._current.key = -1
            return
        for work in self._queue:
            if work.key == key:
                self._queue.remove(work)
                self.pending_tokens -= work.uncached
                return

    def next_event_at(self) -> float | None:
        """See `EngineModel`."""
        return None if self._current is None else self._current.ends_at

    def advance(self, now: float) -> list[Notice]:
        """See `EngineModel`."""
        notices: list[Notice] = []
        while self._current is not None and self._current.ends_at <= now:
            work = self._current
            self._end(work, notices)
            self._current = None
            if self._queue:
                self._begin(self._queue.popleft(), work.ends_at)
        return notices

    def holds(self, block: int) -> bool:
        """See `EngineModel`."""
        return block in self.cache

    def listen(self, heard: BlocksHeard) -> None:
        """See `EngineModel`."""
        self.cache.heard = heard

    def count_gaps(self, gaps: Histogram) -> None:
        """See `EngineModel`; an answer of one token has none."""

    def metrics(self, now: float) -> EngineMetrics:
        """See `EngineModel`; in vLLM's words, which do not tell the tokens that wait."""
        return EngineMetrics(
            at=now,
            running=float(self._current is not None),
            waiting=float(len(self._queue)),
            kv_capacity_tokens=float(self.spec.cache_tokens),
            prefix_queries_tokens=float(self._prompt_tokens),
            prefix_hits_tokens=float(self._cached_tokens),
            prompt_tokens=float(self._prompt_tokens),
            generation_tokens=float(self._done),
        )

    def set_speed(self, factor: float) -> None:
        """See `EngineModel`."""
        self._factor = factor

    def hold(self, until: float, now: float) -> None:
        """See `EngineModel`."""
        del now
        self._held_until = until

    def forget(self) -> None:
        """See `EngineModel`."""
        self.cache.clear()

    def check_at_rest(self) -> str | None:
        """See `EngineModel`."""
        if self._current is not None or self._queue:
            return "there is work left"
        if self.pending_tokens:
            return f"{self.pending_tokens} tokens are pending in an idle engine"
        return None

    def _found(self, tokens: int, blocks: tuple[int, ...]) -> int:
        """Tokens that the cache has; the last one of a prompt is always computed."""
        return min(512 * self.cache.match(blocks), tokens - 1)

    def _begin(self, work: _Work, now: float) -> None:
        work.cached = self._found(work.tokens, work.blocks)
        spec = self.spec
        took_s = spec.overhead_s + spec.token_s * (work.tokens - work.cached)
        work.ends_at = max(now, self._held_until) + took_s * self._factor
        self._current = work

    def _end(self, work: _Work, notices: list[Notice]) -> None:
        self.cache.use(work.blocks)
        self.pending_tokens -= work.uncached
        if work.key < 0:
            return
        self._prompt_tokens += work.tokens
        self._cached_tokens += work.cached
        self._done += 1
        notices.append(Began(work.key, work.ends_at))
        notices.append(Finished(work.key, work.ends_at, work.cached, 1))
