"""The SLO policy: what the model asks for, in numbers, and how measured latency corrects it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode
from cardan.scaling.learned_mean import LearnedMean
from cardan.scaling.observation import KeyMass
from cardan.scaling.policies import Slo
from cardan.scaling.policies.slo import ROUNDING
from cardan.scaling.queueing import attained, least_replicas
from cardan.scaling.service import BASE_S, ItlLine
from cardan.scaling.windows import PolicyMemory

from tests.core.scaling.observed import T0
from tests.core.scaling.shown import KNOWN, demand, spec, view

if TYPE_CHECKING:
    from cardan.scaling.spec import ScalingSpec

POLICY = Slo()
# 2000 uncached tokens at 10,000 tokens/s, leaning on the prior for 15 of 527 s.
SERVICE_S = BASE_S + 2000 * (1e-4 * 512 + 15 / 8000) / 527


def test_prefill_replicas_are_those_of_the_queueing_model() -> None:
    told = POLICY.recommend(Role.PREFILL, view(demand(20.0), of=spec(Role.PREFILL)), T0)
    assert told.replicas == pytest.approx(least_replicas(20.0, SERVICE_S, 2.0, 0.95))
    assert attained(told.replicas or 0, 20.0, SERVICE_S, 2.0) >= 0.95
    assert told.reason.code is ReasonCode.SLO_PREFILL
    assert "20 requests/s of 2000 uncached tokens" in told.reason.message


def test_cached_tokens_are_not_work() -> None:
    cold = view(demand(20.0, uncached_tokens_per_s=80_000.0), of=spec(Role.PREFILL))
    warm = view(demand(20.0, uncached_tokens_per_s=20_000.0), of=spec(Role.PREFILL))
    more = POLICY.recommend(Role.PREFILL, cold, T0).replicas
    less = POLICY.recommend(Role.PREFILL, warm, T0).replicas
    assert more is not None
    assert less is not None
    assert more > 3 * less


def decode(of: ScalingSpec, **learned: object) -> tuple[float | None, str]:
    """What decode of 10 requests/s with 200 tokens each needs, and why."""
    known = msgspec.structs.replace(
        KNOWN, itl=ItlLine(base_s=0.01, per_request_s=0.0005), **learned
    )
    told = POLICY.recommend(Role.DECODE, view(demand(10.0), of=of, learned=known), T0)
    assert told.reason.code is ReasonCode.SLO_DECODE
    return told.replicas, told.reason.message


def test_decode_replicas_run_the_largest_batch_that_keeps_the_itl() -> None:
    replicas, message = decode(spec(Role.DECODE, itl_s=0.05))
    batch = (0.9 * 0.05 - 0.01) / 0.0005  # 70
    assert replicas == pytest.approx(2000 * 0.045 / batch)
    assert "70 streams a replica (ITL) at 45.0 ms" in message


def test_decode_replicas_keep_the_kv_cache_below_its_share() -> None:
    replicas, message = decode(spec(Role.DECODE, itl_s=0.05), kv_share=LearnedMean(0.05, 512.0))
    assert "17 streams a replica (KV cache)" in message
    assert replicas == pytest.approx(2000 * (0.01 + 17 * 0.0005) / 17)


def test_without_any_limit_the_engines_own_counts() -> None:
    replicas, message = decode(spec(Role.DECODE))
    assert "256 streams a replica (engine)" in message
    assert replicas == pytest.approx(2000 * (0.01 + 256 * 0.0005) / 256)


def test_a_promise_that_no_batch_keeps_is_met_as_well_as_one_by_one_can() -> None:
    replicas, _ = decode(spec(Role.DECODE, itl_s=0.005))
    assert replicas == pytest.approx(2000 * 0.0105)


def test_a_role_of_both_needs_the_larger_half() -> None:
    seen = view(demand(10.0, output_tokens_per_s=200_000.0))
    told = POLICY.recommend(Role.BOTH, seen, T0)
    assert told.reason.code is ReasonCode.SLO_DECODE
    assert POLICY.recommend(Role.BOTH, view(), T0).reason.code is ReasonCode.SLO_PREFILL


def test_half_of_what_must_be_known_answers_and_names_the_rest() -> None:
    told = POLICY.recommend(Role.BOTH, view(demand(10.0, uncached_tokens_per_s=None)), T0)
    assert told.reason.code is ReasonCode.SLO_DECODE
    assert told.lacking == ("uncached_tokens_per_s",)
    told = POLICY.recommend(Role.PREFILL, view(demand(None), of=spec(Role.PREFILL)), T0)
    assert told.replicas is None
    assert told.lacking == ("requests_per_s", "uncached_tokens_per_s")


def test_no_demand_needs_nothing() -> None:
    assert POLICY.recommend(Role.BOTH, view(demand(0.0)), T0).replicas == 0.0


def test_a_hot_key_needs_its_owners() -> None:
    seen = view(demand(10.0))
    keys = (KeyMass(key="0" * 16, share=0.9, hit_tokens=0.0),)
    hot = msgspec.structs.replace(
        seen, observation=msgspec.structs.replace(seen.observation, keys=keys)
    )
    told = POLICY.recommend(Role.BOTH, hot, T0)
    service_s = BASE_S + 4000 * (SERVICE_S - BASE_S) / 2000
    assert told.replicas == -(-9.0 * service_s // 0.7)
    assert "hottest key" in told.reason.message


def test_hits_that_would_be_lost_are_priced_in() -> None:
    """Half of the prompt is cached; losing half of the hits makes 3000 of 4000 tokens uncached."""
    before = POLICY.recommend(Role.BOTH, view(), T0).replicas
    after = POLICY.recommend(Role.BOTH, view(hit_loss=0.5), T0).replicas
    same = POLICY.recommend(Role.BOTH, view(demand(uncached_tokens_per_s=30_000.0)), T0).replicas
    assert before is not None
    assert after is not None
    assert after == pytest.approx(same)
    assert after > 1.3 * before


def test_replicas_that_went_are_priced_in_for_two_minutes_and_new_ones_are_not() -> None:
    memory = POLICY.remember(Role.BOTH, view(ready=4), T0)
    gone = POLICY.remember(Role.BOTH, view(ready=2, memory=memory), WallTime(T0 + 10))
    assert (gone.lost_at, gone.lost_share) == (T0 + 10, 0.5)
    calm = POLICY.recommend(Role.BOTH, view(), T0).replicas
    cold = POLICY.recommend(Role.BOTH, view(memory=gone), WallTime(T0 + 20)).replicas
    late = POLICY.recommend(Role.BOTH, view(memory=gone), WallTime(T0 + 131)).replicas
    assert late == calm
    assert cold == POLICY.recommend(Role.BOTH, view(hit_loss=0.5), T0).replicas
    grown = POLICY.remember(Role.BOTH, view(ready=6, memory=memory), WallTime(T0 + 10))
    assert grown.lost_at is None


class Guarded:
    """A fleet with as much as the model asks for, looked at every fifteen seconds."""

    def __init__(self, ready: int = 9) -> None:
        self.now, self.memory, self.ready = T0, PolicyMemory(), ready

    def see(self, minutes: float, ttft_p95_s: float | None, attained: float | None = None) -> float:
        """The trim after so many minutes of such latency."""
        for _ in range(int(minutes * 4)):
            self.now = WallTime(self.now + 15)
            asked = demand(ttft_p95_s=ttft_p95_s, attainment=attained)
            seen = view(asked, ready=self.ready, memory=self.memory)
            self.memory = POLICY.remember(Role.BOTH, seen, self.now)
        return self.memory.trim

    def restart(self) -> None:
        """A new leader reads what was persisted."""
        text = msgspec.json.encode(self.memory.kept())
        self.memory = msgspec.json.decode(text, type=PolicyMemory)


def test_latency_above_its_promise_adds_a_fifth_after_a_window_and_not_before() -> None:
    fleet = Guarded()
    assert fleet.see(5, 2.5) == 1.0
    assert fleet.see(1, 2.5) == 1.2
    assert fleet.see(4, 2.5) == 1.2
    assert fleet.see(1, 2.5) == 1.44


def test_latency_near_its_promise_is_the_promise_and_changes_nothing() -> None:
    assert Guarded().see(60, 1.7) == 1.0


def test_what_was_added_is_given_back_by_halves_once_latency_is_below_its_promise() -> None:
    fleet = Guarded()
    assert fleet.see(6, 2.5) == 1.2
    assert fleet.see(60, 1.7) == 1.2
    assert fleet.see(16, 1.2) == 1.1
    assert fleet.see(11, 1.2) == 1.0
    assert fleet.see(60, 1.2) == 1.0


def test_latency_in_the_middle_changes_nothing() -> None:
    assert Guarded().see(120, 1.2) == 1.0


def test_latency_far_below_takes_a_twentieth_each_ten_minutes_to_a_limit() -> None:
    fleet = Guarded()
    assert fleet.see(11, 0.5) == 0.95
    assert fleet.see(240, 0.5) == 0.8


def test_a_trim_that_had_to_be_taken_back_is_tried_again_only_after_twice_as_long() -> None:
    fleet = Guarded()
    fleet.see(11, 0.5)
    assert fleet.see(6, 2.5) == 1.14
    assert fleet.see(19, 0.5) == 1.14
    assert fleet.see(2, 0.5) < 1.14


def test_latency_while_too_few_are_ready_says_nothing_of_the_model() -> None:
    assert Guarded(ready=1).see(30, 10.0) == 1.0


def test_latency_that_is_not_known_says_nothing() -> None:
    assert Guarded().see(30, None) == 1.0


def test_the_trim_outlives_a_restart() -> None:
    fleet = Guarded()
    fleet.see(6, 2.5)
    fleet.restart()
    assert fleet.memory.trim == 1.2
    assert fleet.see(4, 2.5) == 1.2  # and needs a window again


def test_the_trim_is_a_factor_and_says_so() -> None:
    plain = POLICY.recommend(Role.BOTH, view(), T0).replicas
    told = POLICY.recommend(Role.BOTH, view(memory=PolicyMemory(trim=1.2)), T0)
    assert plain is not None
    assert told.replicas == pytest.approx(1.2 * plain)
    assert told.reason.code is ReasonCode.GUARD
    off = Slo(guard=False)
    assert off.recommend(Role.BOTH, view(memory=PolicyMemory(trim=1.2)), T0).replicas == plain


# The error budget


def test_what_is_late_within_three_times_the_allowed_is_the_budgets_to_answer() -> None:
    assert Guarded().see(60, 2.5, attained=0.90) == 1.0


def test_a_fast_burn_is_not_waited_out() -> None:
    fleet = Guarded()
    assert fleet.see(6, 2.5, attained=0.80) == 1.2
    assert fleet.see(30, 1.5, attained=0.97) == 1.0


def test_a_fleet_whose_late_requests_are_counted_is_not_cut_below_the_model_by_latency() -> None:
    assert Guarded().see(240, 0.5, attained=1.0) == 1.0


@pytest.mark.parametrize(
    ("credit", "factor"), [(1.0, 0.85), (0.4, 0.94), (-0.5, 1.15), (-1.0, 1.3)]
)
def test_credit_is_spent_and_debt_is_paid(credit: float, factor: float) -> None:
    plain = POLICY.recommend(Role.BOTH, view(), T0).replicas
    owing = msgspec.structs.replace(view(), credit=credit)
    told = POLICY.recommend(Role.BOTH, owing, T0)
    assert plain is not None
    assert told.replicas == pytest.approx(factor * plain)
    assert f"times {factor:.2f} by the error budget" in told.reason.message


BUSY_DECODE = {"output_tokens_per_s": 200_000.0}


def decode_with(role: Role, credit: float) -> float | None:
    """What decode asks for, where it is the larger half."""
    seen = msgspec.structs.replace(view(demand(10.0, **BUSY_DECODE)), credit=credit)
    return POLICY.recommend(role, seen, T0).replicas


@pytest.mark.parametrize("role", [Role.BOTH, Role.DECODE])
def test_that_first_tokens_were_in_time_gives_decode_no_room(role: Role) -> None:
    assert decode_with(role, 1.0) == decode_with(role, 0.0)


def test_what_first_tokens_owe_is_not_for_replicas_to_pay_that_only_decode() -> None:
    assert decode_with(Role.DECODE, -1.0) == decode_with(Role.DECODE, 0.0)


def test_a_large_debt_is_paid_by_decode_too_where_a_replica_does_both() -> None:
    plain = decode_with(Role.BOTH, 0.0)
    assert plain is not None
    assert decode_with(Role.BOTH, -0.5) == plain
    assert decode_with(Role.BOTH, -0.75) == pytest.approx(1.15 * plain)
    assert decode_with(Role.BOTH, -1.0) == pytest.approx(1.3 * plain)


# Half a replica for rounding up


@pytest.mark.parametrize("growth", [1.0, 1.01, 1.1, 1.5, 2.0])
@pytest.mark.parametrize("rate", [0.5, 5.0, 50.0, 500.0])
def test_rounding_is_spared_where_demand_was_raised_and_never_below_the_demand_of_now(
    rate: float, growth: float
) -> None:
    raised = view(demand(rate), growth=growth)
    told = POLICY.recommend(Role.BOTH, raised, T0).replicas
    at_growth = POLICY.recommend(Role.BOTH, view(demand(rate * growth)), T0).replicas
    assert told is not None
    assert at_growth is not None
    assert told == pytest.approx(max(at_growth / growth, at_growth - ROUNDING))
    assert told <= at_growth
