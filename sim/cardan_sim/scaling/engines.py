"""What one engine of the plant does with its share of the load: service times from step costs.

Aggregated engines mix prompts and decoding in one step (chunked prefill), so each slows the other:
a prompt of u uncached tokens takes its arithmetic plus, for every chunk, the decoding of the batch
that rides along; a token takes a plain decode step while no prompt is there, and a step with a
chunk in it while one is. Costs are the engine model's own (`cardan_sim.engine.costs`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_sim.engine.costs import find_model

if TYPE_CHECKING:
    from cardan_sim.engine.costs import Hardware
    from cardan_sim.scaling.offered import Mix

# vLLM's default token budget of a step on data-centre GPUs, and its default bound on sequences.
CHUNK_TOKENS: Final = 2048
MAX_SEQUENCES: Final = 256
# Engines keep a little of the KV cache free, or they preempt what runs.
KV_FULL: Final = 0.95


class Pace(NamedTuple):
    """How fast an engine is: seconds per prompt, seconds per token, and the KV cache in use."""

    prefill_s: float
    itl_s: float
    kv_ratio: float


class EngineModel(NamedTuple):
    """One engine: a model on a GPU."""

    hardware: Hardware

    def pace(self, mix: Mix, hit_ratio: float, running: float, prefilling: float) -> Pace:
        """With `running` sequences in decode and a prompt in work `prefilling` of the time."""
        cost = self.hardware.cost
        context = mix.prompt_tokens + mix.output_tokens / 2
        decoding_s = cost.per_sequence_s * running + cost.per_context_s * running * context
        uncached = mix.prompt_tokens * (1.0 - hit_ratio)
        compute_s = cost.prefill_s(int(uncached), int(mix.prompt_tokens))
        chunks = math.ceil(uncached / CHUNK_TOKENS) or 1
        mixed_s = max(cost.weights_s, compute_s / chunks) + decoding_s
        plain_s = cost.weights_s + decoding_s
        itl_s = 1.0 / (prefilling / mixed_s + (1.0 - prefilling) / plain_s)
        return Pace(chunks * mixed_s, itl_s, running * context / self.hardware.kv_tokens)

    def room(self, mix: Mix) -> float:
        """Sequences that fit at once, by KV cache and by the bound on sequences."""
        context = mix.prompt_tokens + mix.output_tokens / 2
        return min(MAX_SEQUENCES, KV_FULL * self.hardware.kv_tokens / context)


def engine_model(model: str = "llama-3.1-8b", gpu: str = "h100") -> EngineModel:
    """An engine of the table of costs."""
    return EngineModel(find_model(model, gpu)[1])
