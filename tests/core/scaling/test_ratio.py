"""Prefill and decode in proportion: the model's examples, its correction, and the bounds."""

from __future__ import annotations

import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling import ratio
from cardan.scaling.decision import ReasonCode
from cardan.scaling.learned_mean import LearnedMean
from cardan.scaling.memory import RatioMemory
from cardan.scaling.ratio import BAND, Halves
from cardan.scaling.service import ItlLine, Learned
from cardan.scaling.spec import PoolSpec, RatioSpec, ScalingSpec, SloSpec

from tests.core.scaling.serving import START, demand

SPEC = ScalingSpec(
    pools=(PoolSpec(name="p", role=Role.PREFILL), PoolSpec(name="d", role=Role.DECODE)),
    slo=SloSpec(ttft_s=2.0, itl_s=0.03),
    ratio=RatioSpec(min=0.5, max=4.0),
)
PLENTY = Halves(100, 100)


def mean(value: float) -> LearnedMean:
    return LearnedMean(value, 100_000.0)


def seven_billion_on_h100(uncached: float, output: float, context: float) -> Learned:
    """Qwen2.5-7B: prefill as given in tokens a second, ITL 6.33 ms + (4.4 + 0.033 context) us B."""
    per_request_s = (4.4 + 0.033 * context) * 1e-6
    return Learned(
        prefill_s={"p": mean(1 / 30_400)},
        prompt_tokens=mean(context),
        uncached_tokens=mean(uncached),
        output_tokens=mean(output),
        itl=ItlLine(base_s=0.00633, per_request_s=per_request_s),
    )


def test_conversation_and_tool_workloads_come_to_the_ratios_of_the_model() -> None:
    # x* about 1.9 and 1.7, with KV for 63 and 72 requests. Ours counts a request's fixed 16 ms too.
    conversation = seven_billion_on_h100(6600, 343, 9600 + 172)
    assert ratio.model(conversation, SPEC) == pytest.approx(1.9, rel=0.15)
    tool = seven_billion_on_h100(2700, 182, 8500 + 91)
    assert ratio.model(tool, SPEC) == pytest.approx(1.7, rel=0.25)


def test_before_anything_was_learned_the_model_is_silent() -> None:
    assert ratio.model(Learned(), SPEC) is None


def test_the_cache_limits_the_batch_and_with_it_the_ratio() -> None:
    learned = seven_billion_on_h100(6600, 343, 9772)
    small = Learned(
        prefill_s=learned.prefill_s,
        uncached_tokens=learned.uncached_tokens,
        output_tokens=learned.output_tokens,
        itl=learned.itl,
        kv_share=mean(0.9 / 8),
    )
    full, cramped = ratio.model(learned, SPEC), ratio.model(small, SPEC)
    assert full is not None
    assert cramped is not None
    assert cramped < full / 2


def test_while_both_promises_are_kept_nothing_is_corrected() -> None:
    memory = RatioMemory(correction=1.3)
    asked = demand(10, ttft_s=0.1, itl_s=0.029)
    assert ratio.corrected(memory, SPEC, asked, 150.0, START) is memory


def test_late_first_tokens_ask_for_prefill_slow_ones_for_decode() -> None:
    late = ratio.corrected(RatioMemory(), SPEC, demand(10, ttft_s=6.0, itl_s=0.02), 150.0, START)
    assert late == RatioMemory(correction=round(1.25**0.5, 3), at=START)
    slow = ratio.corrected(RatioMemory(), SPEC, demand(10, ttft_s=1.0, itl_s=0.06), 150.0, START)
    assert slow == RatioMemory(correction=round(0.8**0.5, 3), at=START)


def test_the_next_step_waits_until_the_last_one_can_have_shown() -> None:
    asked = demand(10, ttft_s=6.0)
    memory = ratio.corrected(RatioMemory(), SPEC, asked, 150.0, START)
    assert ratio.corrected(memory, SPEC, asked, 150.0, WallTime(START + 149)) is memory
    assert ratio.corrected(memory, SPEC, asked, 150.0, WallTime(START + 150)) != memory
    assert ratio.corrected(memory, SPEC, asked, 1.0, WallTime(START + 44)) is memory


def test_corrections_end_at_twice_and_half() -> None:
    memory = RatioMemory()
    for step in range(100):
        now = WallTime(START + 1000 * step)
        memory = ratio.corrected(memory, SPEC, demand(10, ttft_s=60.0), 150.0, now)
    assert memory.correction == 2.0
    at = memory.at
    again = ratio.corrected(memory, SPEC, demand(10, ttft_s=60.0), 150.0, WallTime(START + 1e6))
    assert again.at == at


def test_without_fresh_latencies_or_a_promised_itl_nothing_is_corrected() -> None:
    plain = ScalingSpec(pools=SPEC.pools, ratio=SPEC.ratio)
    asked = demand(10, ttft_s=60.0)
    assert ratio.corrected(RatioMemory(), plain, asked, 150.0, START) == RatioMemory()


def balanced(needs: Halves, most: Halves = PLENTY, wanted: float | None = None) -> Halves:
    assert SPEC.ratio is not None
    return ratio.balanced(needs, most, wanted, SPEC.ratio)[0]


def test_within_the_band_nothing_is_touched() -> None:
    for quotient in (0.86, 1.0, 1.14):
        needs = Halves(10 * quotient, 10)
        assert balanced(needs, wanted=1.0) == needs


def test_the_deficient_side_is_raised_to_the_edge_of_the_band() -> None:
    assert balanced(Halves(5, 10), wanted=1.0) == Halves(10 * (1 - BAND), 10)
    assert balanced(Halves(10, 5), wanted=1.0) == Halves(10, 10 / (1 + BAND))


def test_what_is_wanted_stays_within_the_bounds() -> None:
    assert balanced(Halves(5, 10), wanted=9.0) == Halves(4.0 * (1 - BAND) * 10, 10)


def test_where_the_deficient_side_cannot_grow_the_other_is_cut_to_the_bounds() -> None:
    assert balanced(Halves(2, 20), Halves(2, 100)) == Halves(2, 4)
    assert balanced(Halves(80, 2), Halves(100, 2)) == Halves(8, 2)


def test_beyond_the_band_but_within_the_bounds_nobody_is_cut() -> None:
    assert balanced(Halves(8, 10), Halves(8, 100), wanted=3.0) == Halves(8, 10)


def test_the_reason_has_the_numbers() -> None:
    assert SPEC.ratio is not None
    after, reason = ratio.balanced(Halves(5, 10), PLENTY, 1.0, SPEC.ratio)
    assert reason is not None
    assert reason.code is ReasonCode.RATIO
    assert "5.00 prefill" in reason.message
    assert f"{after.prefill:.2f}" in reason.message


def test_a_role_may_not_shrink_until_a_whole_replica_is_missing() -> None:
    bounds = RatioSpec(min=0.5, max=2.0)
    assert ratio.shrinks_too_far(Halves(4, 8), bounds) is None
    assert ratio.shrinks_too_far(Halves(3.5, 8), bounds) is None
    assert ratio.shrinks_too_far(Halves(3, 8), bounds) is Role.PREFILL
    assert ratio.shrinks_too_far(Halves(8, 3), bounds) is Role.DECODE
    # one to one cannot be kept between one and two: it is let be
    assert ratio.shrinks_too_far(Halves(1, 1), RatioSpec(min=1.0, max=1.0)) is None
