"""The description of one engine: its hardware, its limits, and the habits of its make.

vLLM and SGLang schedule alike in the large (continuous batching, chunked prefill, paged prefix
cache) and differ in the habits kept here, each of which a router can notice.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from cardan_sim.engine.costs import StepCost, find_model
from cardan_sim.engine.errors import BadSpecError

Make = Literal["vllm", "sglang"]


@dataclass(frozen=True, slots=True)
class Habits:
    """How one make of engine schedules.

    mixed_batches: prompts and decodes share a step (vLLM); or a step with prompt work holds
        nothing else and decoding waits for it (SGLang without mixed chunks).
    keeps_decoded_live: generated blocks enter the prefix cache as they fill (vLLM), or when the
        request ends (SGLang's radix tree).
    larger_is_sooner: the direction of the priority number.
    full_queue_evicts: with priorities, a better newcomer throws out the worst queued request.
    gauge_steps: decode steps between two refreshes of the exported gauges; 0 is always true.
    load_steps: the same for the cheap load endpoint.
    """

    mixed_batches: bool
    keeps_decoded_live: bool
    larger_is_sooner: bool
    full_queue_evicts: bool
    gauge_steps: int
    load_steps: int


HABITS: Final[dict[Make, Habits]] = {
    "vllm": Habits(
        mixed_batches=True,
        keeps_decoded_live=True,
        larger_is_sooner=False,
        full_queue_evicts=False,
        gauge_steps=0,  # no stale value was seen
        load_steps=0,
    ),
    "sglang": Habits(
        mixed_batches=False,
        keeps_decoded_live=False,
        larger_is_sooner=True,
        full_queue_evicts=True,
        gauge_steps=40,  # --decode-log-interval
        load_steps=15,  # seen on the load stream
    ),
}


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Everything that decides how an engine behaves; durations are scaled by `time_scale`."""

    make: Make
    model: str
    cost: StepCost
    vocab_size: int
    max_model_len: int
    max_num_seqs: int
    max_num_batched_tokens: int
    block_size: int
    kv_blocks: int
    max_queued: int | None
    time_scale: float
    priority_scheduling: bool

    @property
    def habits(self) -> Habits:
        """How this make schedules."""
        return HABITS[self.make]

    @property
    def kv_tokens(self) -> int:
        """Tokens of KV that fit."""
        return self.kv_blocks * self.block_size

    @property
    def room(self) -> int:
        """Tokens one request may have, prompt and output: what the model and the KV allow."""
        return min(self.max_model_len, self.kv_tokens)


def make_spec(
    make: Make = "vllm",
    model: str = "tiny",
    *,
    gpu: str | None = None,
    max_num_seqs: int = 256,
    max_num_batched_tokens: int = 8192,
    block_size: int = 16,
    kv_blocks: int | None = None,
    max_queued: int | None = None,
    time_scale: float = 1.0,
    priority_scheduling: bool = False,
) -> EngineSpec:
    """A checked spec; unset sizes follow the model and the GPU.

    Raises UnknownModelError or BadSpecError. `time_scale` 0.1 is an engine ten times as fast; 0 is
    refused, since a step without duration would make a stream one instant.
    """
    known, hardware = find_model(model, gpu)
    sizes = {
        "max-num-seqs": max_num_seqs,
        "max-num-batched-tokens": max_num_batched_tokens,
        "block-size": block_size,
        "kv-blocks": 1 if kv_blocks is None else kv_blocks,
    }
    for name, size in sizes.items():
        if size < 1:
            raise BadSpecError(f"{name} must be at least 1, got {size}")
    if max_queued is not None and max_queued < 0:
        raise BadSpecError(f"max-queued must not be negative, got {max_queued}")
    if not 0.0 < time_scale < float("inf"):
        raise BadSpecError(f"time-scale must be a positive number, got {time_scale}")
    blocks = hardware.kv_tokens // block_size if kv_blocks is None else kv_blocks
    if blocks * block_size < 2:
        raise BadSpecError("the KV cache must hold at least 2 tokens")
    return EngineSpec(
        make=make,
        model=known.name,
        cost=hardware.cost,
        vocab_size=known.vocab_size,
        # vLLM will not start with a context that its KV cache cannot hold; SGLang will.
        max_model_len=min(known.max_model_len, blocks * block_size)
        if make == "vllm"
        else known.max_model_len,
        max_num_seqs=max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens,
        block_size=block_size,
        kv_blocks=blocks,
        max_queued=max_queued,
        time_scale=time_scale,
        priority_scheduling=priority_scheduling,
    )
