"""Prefill over decode replicas.

The model (algorithms of flow balance): a prefill replica does mu_P = 0.75 / E[S] requests a
second, a decode replica mu_D = 0.9 B / (O ITL(B) + t) at its largest batch B, so x* = mu_D / mu_P
of the one for each of the other. Latencies correct what the model does not know: with one of them
out of its promise, x is moved by the root of how much worse the one is than the other, a step at
most of 0.8 or 1.25 under the root, and not again before the last step can have shown (a cold
start). While both keep their promises nothing moves, so it comes to rest.

Each role's need covers its own work already. Where their quotient leaves the dead band about x,
the deficient side is raised to its edge; where it leaves the bounds that the specification sets
and the deficient side cannot grow, the other is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.endpoint import Role
from cardan.scaling import service
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.memory import RatioMemory

if TYPE_CHECKING:
    from cardan.instants import WallTime
    from cardan.scaling.observation import Demand
    from cardan.scaling.service import Learned
    from cardan.scaling.spec import RatioSpec, ScalingSpec

# Loads at which each half is planned: prefill waits grow early, decode only at its last batch.
PREFILL_LOAD: Final = 0.75
DECODE_LOAD: Final = 0.9
# Of the promised ITL, and of the KV cache, what a batch may use.
BATCH_SHARE: Final = 0.9
# Engines' own limit of requests in a batch (vLLM's `max_num_seqs`).
MOST_BATCH: Final = 256.0
# Moving a prompt's KV from prefill to decode: 10k tokens of an 8B model at 25 GB/s take 50 ms.
TRANSFER_S: Final = 0.05
# A quotient within 15 % of x* is left alone.
BAND: Final = 0.15
STEP: Final = (0.8, 1.25)
MOST_CORRECTION: Final = 2.0
# Not more often than in three ticks of 15 s.
LEAST_PAUSE_S: Final = 45.0
EPSILON: Final = 1e-6


class Halves(NamedTuple):
    """Prefill and decode replicas, needed or at most."""

    prefill: float
    decode: float

    @property
    def quotient(self) -> float:
        """Prefill over decode."""
        return self.prefill / self.decode if self.decode > 0 else float("inf")


def model(learned: Learned, spec: ScalingSpec) -> float | None:
    """x*, or None before there is anything to tell it from."""
    prompt, output = learned.uncached_tokens.value, learned.output_tokens.value
    if prompt <= 0 or output <= 0:
        return None
    prefill_per_s = PREFILL_LOAD / service.service_s(learned, spec, Role.PREFILL, prompt)
    batch = _largest_batch(learned, spec)
    decode_s = output * learned.itl.at(batch) + TRANSFER_S
    return DECODE_LOAD * batch / decode_s / prefill_per_s


def corrected(
    memory: RatioMemory, spec: ScalingSpec, demand: Demand, pause_s: float, now: WallTime
) -> RatioMemory:
    """With what the latencies of now say, if they are known and one is out of its promise."""
    ttft_s, itl_s, promised_s = demand.ttft_p95_s.known, demand.itl_s.known, spec.slo.itl_s
    if ttft_s is None or itl_s is None or promised_s is None or itl_s <= 0 or ttft_s <= 0:
        return memory
    late, slow = ttft_s / spec.slo.ttft_s, itl_s / promised_s
    early = memory.at is not None and now - memory.at < max(LEAST_PAUSE_S, pause_s)
    if early or max(late, slow) <= 1.0:
        return memory
    step = min(max(late / slow, STEP[0]), STEP[1]) ** 0.5
    correction = min(max(memory.correction * step, 1 / MOST_CORRECTION), MOST_CORRECTION)
    rounded = round(correction, 3)
    return memory if rounded == memory.correction else RatioMemory(correction=rounded, at=now)


def balanced(
    needs: Halves, most: Halves, wanted: float | None, bounds: RatioSpec
) -> tuple[Halves, ScalingReason | None]:
    """The needs in balance: `wanted` is x, `most` what the pools can give."""
    if min(needs) <= 0 or min(most) <= 0:
        return needs, None
    x = needs.quotient if wanted is None else wanted
    x = min(max(x, bounds.min), bounds.max)
    raised = _raised(needs, most, x)
    cut = _cut(raised, most, bounds)
    if cut == needs:
        return needs, None
    words = (
        f"{needs.prefill:.2f} prefill and {needs.decode:.2f} decode are needed, "
        f"at {x:.2f} to one: {cut.prefill:.2f} and {cut.decode:.2f}"
    )
    return cut, ScalingReason(ReasonCode.RATIO, words)


def shrinks_too_far(after: Halves, bounds: RatioSpec) -> Role | None:
    """The role that has become too small for the other, by a whole replica, if one has.

    Whole replicas cannot always keep the bounds: what one more would bring back is let be.
    """
    if after.prefill + 1 <= bounds.min * after.decode + EPSILON:
        return Role.PREFILL
    if after.decode + 1 <= after.prefill / bounds.max + EPSILON:
        return Role.DECODE
    return None


def _largest_batch(learned: Learned, spec: ScalingSpec) -> float:
    """Requests at once in a decode replica that keep the promised ITL and fit its cache."""
    batch = MOST_BATCH
    if learned.kv_share.value > 0:
        batch = min(batch, BATCH_SHARE / learned.kv_share.value)
    if spec.slo.itl_s is not None:
        batch = min(batch, learned.itl.batch_within(BATCH_SHARE * spec.slo.itl_s))
    return max(1.0, batch)


def _raised(needs: Halves, most: Halves, x: float) -> Halves:
    """The deficient side raised to the edge of the band about x, as far as it goes.

    To the edge, not to x: so a need that moves across the edge moves nothing by a jump.
    """
    prefill = min(x * (1 - BAND) * needs.decode, most.prefill)
    decode = min(needs.prefill / (x * (1 + BAND)), most.decode)
    return Halves(max(needs.prefill, prefill), max(needs.decode, decode))


def _cut(needs: Halves, most: Halves, bounds: RatioSpec) -> Halves:
    """Within the bounds by cutting the larger side, where the smaller one is all there can be."""
    if needs.quotient < bounds.min and needs.prefill >= most.prefill - EPSILON:
        return Halves(needs.prefill, needs.prefill / bounds.min)
    if needs.quotient > bounds.max and needs.decode >= most.decode - EPSILON:
        return Halves(needs.decode * bounds.max, needs.decode)
    return needs
