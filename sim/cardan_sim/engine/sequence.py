"""One request inside the engine: its context, its blocks, its times."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_sim.engine.blocks import BlockCache, name_blocks
from cardan_sim.engine.prompts import NamedPrompt, generated_name, names_of

if TYPE_CHECKING:
    from array import array

    from cardan_sim.engine.request import Request
    from cardan_sim.engine.spec import EngineSpec
    from cardan_sim.engine.stats import Stats

# Knuth's MMIX generator: one multiplication a token, and the high bits are good enough for words.
_LCG_FACTOR: Final = 6_364_136_223_846_793_005
_LCG_STEP: Final = 1_442_695_040_888_963_407
_LCG_MASK: Final = (1 << 64) - 1


class Sequence:
    """A request's state.

    prompt, generated, total, computed, cached: tokens. `total` is the context so far, prompt and
    generated; `computed` of it have their KV in blocks. `names` are those of the context's full
    blocks as far as they are known, `held` the named blocks it holds, `private` how many others.
    """

    __slots__ = (
        "_block_size",
        "_named",
        "_rank",
        "_state",
        "_tail",
        "aborted",
        "arrived_at",
        "cached",
        "computed",
        "first_scheduled_at",
        "first_token_at",
        "generated",
        "held",
        "last_token_at",
        "names",
        "preemptions",
        "private",
        "prompt",
        "request",
        "scheduled",
        "wanted",
    )

    def __init__(
        self, request: Request, spec: EngineSpec, serial: int, now: float, seed: int
    ) -> None:
        """A request as it enters the queue; `serial` orders equals."""
        self.request = request
        self.prompt = len(request.prompt)
        self.wanted = min(request.max_output, spec.room - self.prompt)
        self.generated = 0
        self.computed = 0
        self.cached = 0
        self.names = names_of(request.prompt, spec.block_size, request.cache_seed)
        self.held: list[int] = []
        self.private = 0
        self.scheduled = False
        self.aborted = False
        self.preemptions = 0
        self.arrived_at = now
        self.first_scheduled_at: float | None = None
        self.first_token_at: float | None = None
        self.last_token_at: float | None = None
        self._block_size = spec.block_size
        self._named = 0
        self._tail: array[int] | None = None  # tokens behind the last name
        if not isinstance(request.prompt, NamedPrompt):
            self._tail = request.prompt[len(self.names) * spec.block_size :]
        rank = request.priority if spec.priority_scheduling else 0
        self._rank = (-rank if spec.habits.larger_is_sooner else rank, serial)
        self._state = (request.sampling_seed ^ seed * _LCG_STEP) * _LCG_FACTOR & _LCG_MASK

    def __lt__(self, other: Sequence) -> bool:
        return self._rank < other._rank

    @property
    def total(self) -> int:
        """Tokens of context."""
        return self.prompt + self.generated

    @property
    def pending(self) -> int:
        """Tokens of context without KV."""
        return self.total - self.computed

    @property
    def decoding(self) -> bool:
        """It has tokens and needs the KV of the last one only."""
        return self.generated > 0 and self.pending == 1

    def blocks_for(self, tokens: int) -> int:
        """Blocks that `tokens` tokens fill or begin."""
        return -(-tokens // self._block_size)

    def missing_blocks(self, tokens: int) -> int:
        """Blocks to take before computing `tokens` more."""
        return max(0, self.blocks_for(self.computed + tokens) - len(self.held) - self.private)

    def admit(self, found: list[int], private: int, now: float) -> None:
        """It gets a slot, the cached blocks `found` and `private` empty ones."""
        self.scheduled = True
        self.held = list(found)
        self.private = private
        self.computed = len(found) * self._block_size
        self._named = len(found)
        if self.first_scheduled_at is None:
            self.first_scheduled_at = now

    def restart(self) -> None:
        """It loses its slot and its blocks; what it has said stays said."""
        self.scheduled = False
        self.held = []
        self.private = 0
        self.computed = 0
        self._named = 0
        self.preemptions += 1

    def name_blocks(self, cache: BlockCache, *, live: bool) -> None:
        """Name the blocks that are full: those of the prompt, and if `live` the generated ones."""
        full = self.computed // self._block_size
        if not live:
            full = min(full, self.prompt // self._block_size)
        if full <= self._named:
            return
        while len(self.names) < full:
            self._extend_names()
        named = cache.name(self.names[self._named : full])
        self.held += named
        self.private -= len(named)
        self._named = full

    def _extend_names(self) -> None:
        """Name one more block of the context; its tokens are at the head of the tail."""
        if self._tail is None:
            self.names.append(generated_name(self._rank[1], len(self.names)))
            return
        parent = self.names[-1] if self.names else self.request.cache_seed
        block = self._tail[: self._block_size]
        self.names += name_blocks(block, self._block_size, parent=parent)
        del self._tail[: self._block_size]

    def sample(self, words: tuple[int, ...]) -> int:
        """The next token id: any of `words`, the same for the same seeds."""
        self._state = (self._state * _LCG_FACTOR + _LCG_STEP) & _LCG_MASK
        token_id = words[(self._state >> 33) % len(words)]
        if self._tail is not None:
            self._tail.append(token_id)
        self.generated += 1
        return token_id

    def observe(self, stats: Stats, now: float) -> None:
        """Count a request that ended well."""
        streamed = self.request.streamed
        stats.finished_by_stream[streamed] += 1
        stats.prompt_by_stream[streamed] += self.prompt
        stats.generated_by_stream[streamed] += self.generated
        scheduled = self.arrived_at if self.first_scheduled_at is None else self.first_scheduled_at
        first = now if self.first_token_at is None else self.first_token_at
        values = {
            "e2e_s": now - self.arrived_at,
            "prefill_s": first - scheduled,
            "decode_s": now - first,
            "inference_s": now - scheduled,
            "prompt_tokens": self.prompt,
            "uncached_tokens": self.prompt - self.cached,
            "generated_tokens": self.generated,
            "max_tokens": self.request.max_output,
            "preemptions": self.preemptions,
            "choices": 1,
        }
        for name, value in values.items():
            stats.observe(name, value, streamed=streamed)
        if self.generated > 1:
            stats.observe("tpot_s", (now - first) / (self.generated - 1), streamed=streamed)
