"""What a forward pass costs, by model and GPU.

A transformer step reads every weight once and does arithmetic for every token in the batch. The
read takes the same time whatever the batch (`weights_s`); the arithmetic of a prompt grows with
the tokens computed and, through attention, with the context each of them looks back on:

    prefill(u tokens after c cached ones) = per_token_s * u + attention_s * ((c + u)^2 - c^2)
    decode(B sequences, T context tokens) = weights_s + per_sequence_s * B + per_context_s * T

The quadratic term telescopes, so a prompt costs the same in one chunk or in ten. In a mixed step
the weights are read while the prompt is computed: the step takes the longer of the two (a
roofline), plus what the decoding sequences add.

Sources. The GPU rows are rooflines of the published model shapes (2 FLOP a parameter and token,
attention 4 * layers * heads * head size; bf16, MFU 0.45 on H100 and 0.38 on A100), decode from
the coefficients trained by BLIS; on Llama-3.1-8B/H100 an independent fit (WVA) agrees on the base
step, 6.83 against 6.96 ms. The A100 rows are conservative. The `cpu` rows are our own fits of a
real vLLM on two cores (prompts to 30,000 tokens, batches to 32); absolute values are good to
about 30 %.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cardan_sim.engine.errors import UnknownModelError


@dataclass(frozen=True, slots=True)
class StepCost:
    """Coefficients of one model on one GPU; all in seconds (per the unit in the name)."""

    prefill_base_s: float
    prefill_per_token_s: float
    prefill_per_token2_s: float
    weights_s: float
    per_sequence_s: float
    per_context_s: float

    def prefill_s(self, new_tokens: int, context: int) -> float:
        """Seconds of arithmetic for `new_tokens` prompt tokens that end at `context` tokens."""
        before = context - new_tokens
        return self.prefill_per_token_s * new_tokens + self.prefill_per_token2_s * (
            context * context - before * before
        )

    def step_s(self, prefill_s: float, sequences: int, context_tokens: int) -> float:
        """Seconds of one step: its prefill arithmetic and its decoding sequences.

        `sequences` decode one token each over `context_tokens` tokens in all.
        """
        if prefill_s:
            prefill_s += self.prefill_base_s
        decoding = self.per_sequence_s * sequences + self.per_context_s * context_tokens
        return max(self.weights_s, prefill_s) + decoding


@dataclass(frozen=True, slots=True)
class Hardware:
    """One model as it runs on one GPU type: its costs and how much KV fits."""

    cost: StepCost
    kv_tokens: int


@dataclass(frozen=True, slots=True)
class Model:
    """What is the same on every GPU: context and vocabulary as in the model's config.json."""

    name: str
    max_model_len: int
    vocab_size: int
    gpus: dict[str, Hardware]


_US: Final = 1e-6


def _gpu(a1_us: float, a2_us: float, d0_s: float, d2_us: float, kv_tokens: int) -> Hardware:
    """A row of the table: prefill a1, a2; decode d0, d2; 4.4 us a sequence on every GPU."""
    cost = StepCost(0.0, a1_us * _US, a2_us * _US, d0_s, 4.4 * _US, d2_us * _US)
    return Hardware(cost, kv_tokens)


# 0.8 M parameters, 20 MiB of KV: a real engine small enough to evict and to queue in a test.
_TINY: Final = Hardware(StepCost(6.1e-3, 6.8e-6, 1.76e-9, 2.2e-3, 2.5e-5, 6.9e-8), 40_960)
# 19 M parameters, 256 MiB of KV: slow enough that a cached prefix shows in the TTFT.
_SMALL: Final = Hardware(StepCost(1.1e-2, 9.8e-5, 3.7e-8, 6.6e-3, 2.2e-4, 3.6e-7), 65_536)

MODELS: Final[dict[str, Model]] = {
    model.name: model
    for model in (
        Model(
            "llama-3.1-8b",
            131_072,
            128_256,
            {
                "h100": _gpu(31.3, 5.9e-4, 6.83e-3, 0.076, 427_000),
                "a100": _gpu(117.7, 2.2e-3, 10.5e-3, 0.125, 427_000),
            },
        ),
        Model(
            "qwen2.5-7b",
            32_768,
            152_064,
            {
                "h100": _gpu(29.3, 4.5e-4, 6.33e-3, 0.033, 990_000),
                "a100": _gpu(110.1, 1.7e-3, 9.75e-3, 0.055, 990_000),
            },
        ),
        Model(
            "qwen2.5-14b",
            32_768,
            152_064,
            {"h100": _gpu(59.3, 1.1e-3, 12.4e-3, 0.114, 216_000)},
        ),
        # Two H100 with tensor parallelism count as one engine.
        Model(
            "qwen3-32b",
            40_960,
            151_936,
            {"h100": _gpu(70.1, 1.2e-3, 14.9e-3, 0.076, 299_000)},
        ),
        Model("tiny", 32_768, 2_048, {"cpu": _TINY}),
        Model("small", 32_768, 2_048, {"cpu": _SMALL}),
    )
}


def find_model(name: str, gpu: str | None) -> tuple[Model, Hardware]:
    """The model called `name` on `gpu`; None takes the first GPU of its table.

    Raises UnknownModelError, naming what there is, for an unknown name or a GPU without a fit.
    """
    model = MODELS.get(name.lower())
    if model is None:
        raise UnknownModelError(f"no model {name!r}; there are {', '.join(sorted(MODELS))}")
    if gpu is None:
        return model, next(iter(model.gpus.values()))
    hardware = model.gpus.get(gpu.lower())
    if hardware is None:
        raise UnknownModelError(
            f"no fit of {model.name} on {gpu!r}; there is {', '.join(model.gpus)}"
        )
    return model, hardware
