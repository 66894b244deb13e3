"""The step-level model: the very engine behind `cardan engine`, told to be quiet.

Continuous batching, chunked prefill, paged KV cache with eviction, preemption; durations by the
cost table (`cardan_sim.engine.costs`) or by coefficients that `cardan simulate calibrate` fitted.
What it says of itself is exact at every scrape; the lag of SGLang's gauges is the HTTP shell's.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.metrics import EngineMetrics

from cardan_sim.engine import NamedPrompt, QuietEngine, Request, Token, make_spec
from cardan_sim.engine.costs import StepCost
from cardan_sim.engine.spec import Make
from cardan_sim.simulate.engines.base import Began, Finished, Refused, Tally

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.engine import EngineSpec
    from cardan_sim.engine.stats import Histogram
    from cardan_sim.simulate.engines.base import BlocksHeard, Notice
    from cardan_sim.simulate.jobs import Job

Count = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[float, msgspec.Meta(ge=0)]


class Coefficients(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Measured costs in place of the table's: what `cardan simulate calibrate` prints.

    A prompt of u new tokens that ends at L takes a0 + a1 u + a2 (L^2 - (L - u)^2), a step that
    decodes for B requests with C tokens of context d0 + d1 B + d2 C. Seconds.
    """

    a0_s: NotNegative = 0.0
    a1_s: NotNegative
    a2_s: NotNegative = 0.0
    d0_s: NotNegative
    d1_s: NotNegative = 0.0
    d2_s: NotNegative = 0.0

    @property
    def cost(self) -> StepCost:
        """As the engine takes it."""
        return StepCost(self.a0_s, self.a1_s, self.a2_s, self.d0_s, self.d1_s, self.d2_s)


class StepSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="steps", kw_only=True):
    """An engine by model and GPU; unset sizes follow them, as with `cardan engine`."""

    make_: Annotated[Make, msgspec.Meta(description="vllm or sglang")] = msgspec.field(
        default="vllm", name="make"
    )
    model: str = "llama-3.1-8b"
    gpu: str | None = None
    max_num_seqs: Count = 256
    max_num_batched_tokens: Count = 8192
    block_size: Count = 16
    kv_blocks: Count | None = None
    max_queued: Annotated[int, msgspec.Meta(ge=0)] | None = None
    costs: Coefficients | None = None

    @property
    def label(self) -> str:
        """A few words for tables."""
        return " ".join(filter(None, (self.make_, self.model, self.gpu)))

    @property
    def kv_tokens(self) -> int:
        """Tokens that the cache holds."""
        return self.spec().kv_tokens

    def spec(self) -> EngineSpec:
        """As the engine takes it. Raises EngineError for what no engine could be."""
        spec = make_spec(
            self.make_,
            self.model,
            gpu=self.gpu,
            max_num_seqs=self.max_num_seqs,
            max_num_batched_tokens=self.max_num_batched_tokens,
            block_size=self.block_size,
            kv_blocks=self.kv_blocks,
            max_queued=self.max_queued,
        )
        return spec if self.costs is None else replace(spec, cost=self.costs.cost)

    def make(self, seed: int) -> StepEngine:
        """An idle engine with an empty cache."""
        return StepEngine(self.spec(), seed)


class StepEngine:
    """See `cardan_sim.simulate.engines.base.EngineModel`."""

    def __init__(self, spec: EngineSpec, seed: int) -> None:
        self.engine = QuietEngine(spec, seed)
        self.pending_tokens = 0
        self._uncached: dict[str, int] = {}
        self._parts = 1

    @property
    def tally(self) -> Tally:
        """See `EngineModel`."""
        stats = self.engine.stats
        return Tally(stats.prompt_queried, stats.prompt_cached, stats.generated, stats.preemptions)

    def submit(self, key: int, job: Job, now: float) -> None:
        """See `EngineModel`; an answer has one token at least."""
        prompt = NamedPrompt(job.blocks, job.block_tokens, job.tokens)
        self._parts = job.block_tokens // self.engine.spec.block_size
        name = str(key)
        uncached = job.tokens - job.block_tokens * self._held(job)
        self._uncached[name] = uncached
        self.pending_tokens += uncached
        self.engine.submit(Request(name, prompt, max(1, job.output_tokens), streamed=True), now)

    def abort(self, key: int, now: float) -> None:
        """See `EngineModel`."""
        self.engine.abort(str(key), now)

    def next_event_at(self) -> float | None:
        """See `EngineModel`."""
        return self.engine.next_event_at()

    def advance(self, now: float) -> list[Notice]:
        """See `EngineModel`."""
        notices: list[Notice] = []
        for event in self.engine.advance(now):
            key = int(event.id)
            if isinstance(event, Token):
                self.pending_tokens -= self._uncached.pop(event.id, 0)
                notices.append(Began(key, event.at))
                continue
            self.pending_tokens -= self._uncached.pop(event.id, 0)
            if event.reason == "refused":
                notices.append(Refused(key, event.at, event.refusal == "too long"))
            elif event.reason != "abort":
                notices.append(Finished(key, event.at, event.cached, event.generated))
        return notices

    def holds(self, block: int) -> bool:
        """See `EngineModel`: the last of its parts, since the first goes last."""
        return block * self._parts + self._parts - 1 in self.engine.cache

    def listen(self, heard: BlocksHeard) -> None:
        """See `EngineModel`: a trace's block is there when the last of its parts is."""

        def told(stored: Sequence[int], gone: Sequence[int]) -> None:
            heard(_last_parts(stored, self._parts), _last_parts(gone, self._parts))

        self.engine.cache.heard = told

    def count_gaps(self, gaps: Histogram) -> None:
        """See `EngineModel`: in place of the histogram that `/metrics` would show."""
        self.engine.stats.histograms["itl_s", True] = gaps

    def metrics(self, now: float) -> EngineMetrics:
        """See `EngineModel`; SGLang also tells the tokens that wait."""
        engine = self.engine
        stats, cache = engine.stats, engine.cache
        sglang = engine.spec.make == "sglang"
        return EngineMetrics(
            at=now,
            running=float(engine.running),
            waiting=float(engine.waiting),
            kv_used_ratio=cache.used / cache.total,
            waiting_uncached_tokens=float(self.pending_tokens) if sglang else None,
            kv_capacity_tokens=float(engine.spec.kv_tokens),
            prefix_queries_tokens=float(stats.prompt_queried),
            prefix_hits_tokens=float(stats.prompt_cached),
            prompt_tokens=float(stats.prompt_queried),
            generation_tokens=float(stats.generated),
            preemptions=float(stats.preemptions),
        )

    def set_speed(self, factor: float) -> None:
        """See `EngineModel`."""
        self.engine.slowness = factor

    def hold(self, until: float, now: float) -> None:
        """See `EngineModel`."""
        self.engine.hold(until, now)

    def forget(self) -> None:
        """See `EngineModel`."""
        self.engine.reset_cache()

    def check_at_rest(self) -> str | None:
        """See `EngineModel`."""
        engine, cache = self.engine, self.engine.cache
        if not engine.idle:
            return f"{engine.running} requests run, {engine.waiting} wait"
        if cache.used or cache.free + cache.idle != cache.total:
            return f"{cache.used} blocks are used, {cache.free} free, of {cache.total}"
        if self.pending_tokens:
            return f"{self.pending_tokens} tokens are pending in an idle engine"
        return None

    def _held(self, job: Job) -> int:
        """How many of a prompt's leading blocks the cache has."""
        whole = job.full_blocks
        low, high = 0, whole
        while low < high:
            middle = (low + high + 1) >> 1
            if self.holds(job.blocks[middle - 1]):
                low = middle
            else:
                high = middle - 1
        return low


def _last_parts(names: Sequence[int], parts: int) -> list[int]:
    """The trace's blocks whose last parts are among these names."""
    return [name // parts for name in names if name % parts == parts - 1]
