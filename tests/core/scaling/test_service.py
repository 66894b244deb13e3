"""What is learned of a fleet is true, leans on slow priors at first, and comes to rest."""

from __future__ import annotations

from random import Random

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.learned_mean import LearnedMean
from cardan.scaling.observation import MISSING, Demand, EndpointLoad, Observation, PoolState
from cardan.scaling.service import (
    PRIOR_ITL_PER_REQUEST_S,
    PRIOR_PREFILL_S,
    ItlLine,
    Learned,
    cold_start_s,
    hit_ratio,
    learn,
    prefill_s_per_token,
    service_s,
    speed,
)
from cardan.scaling.spec import PoolSpec, ScalingSpec

from tests.core.scaling.observed import T0, fresh, load
from tests.core.scaling.shown import demand

SPEC = ScalingSpec(pools=(PoolSpec(name="main"),))
TICK_S = 15.0


def learned_of(
    *endpoints: EndpointLoad,
    asked: Demand | None = None,
    started_s: tuple[float, ...] = (),
    ticks: int = 40,
    spec: ScalingSpec = SPEC,
    before: Learned | None = None,
) -> Learned:
    """What so many equal observations teach."""
    learned = before or Learned()
    begin = learned.at or T0
    for tick in range(1, ticks + 1):
        now = WallTime(begin + tick * TICK_S)
        seen = Observation(
            at=now,
            demand=asked or Demand(),
            pools={"main": PoolState(desired=2, ready=2, started_s=started_s)},
            endpoints=endpoints,
        )
        learned = learn(learned, spec, seen, now)
    return learned


def test_prefill_speed_leans_on_a_slow_prior_and_then_is_what_was_seen() -> None:
    fast = load("a", prefill_tokens_per_s=80_000.0)
    assert prefill_s_per_token(Learned(), SPEC, Role.BOTH) == PRIOR_PREFILL_S
    one = prefill_s_per_token(learned_of(fast, ticks=1), SPEC, Role.BOTH)
    assert one == pytest.approx((1 / 80_000 + PRIOR_PREFILL_S) / 2)
    many = prefill_s_per_token(learned_of(fast, ticks=400), SPEC, Role.BOTH)
    assert many == pytest.approx(1 / 80_000, rel=0.3)


def test_a_slow_engine_is_known_as_slow_from_its_first_word() -> None:
    slow = learned_of(load("a", prefill_tokens_per_s=800.0), ticks=1)
    assert prefill_s_per_token(slow, SPEC, Role.BOTH) > 0.5 / 800


def test_replicas_are_averaged_by_the_time_they_take() -> None:
    pair = load("a", prefill_tokens_per_s=10_000.0), load("b", prefill_tokens_per_s=30_000.0)
    learned = learned_of(*pair, ticks=1)
    assert learned.prefill_s["main"].value == pytest.approx((1e-4 + 1e-4 / 3) / 2, rel=1e-3)


def test_a_mean_request_is_learned_and_its_hits() -> None:
    learned = learned_of(asked=demand(10.0))
    assert learned.prompt_tokens.value == 4000.0
    assert learned.uncached_tokens.value == 2000.0
    assert hit_ratio(learned) == 0.5
    assert hit_ratio(Learned()) == 0.0
    assert service_s(learned, SPEC, Role.BOTH, 2000.0) > 2000 * PRIOR_PREFILL_S


def test_no_requests_teach_nothing_of_requests() -> None:
    assert learned_of(asked=demand(0.0)).prompt_tokens == LearnedMean()


def test_requests_that_are_shed_do_not_make_the_mean_request_smaller() -> None:
    served = demand(10.0)
    half = msgspec.structs.replace(served, requests_per_s=fresh(20.0), shed_per_s=fresh(10.0))
    broken = msgspec.structs.replace(served, requests_per_s=fresh(90.0), answered_per_s=fresh(10.0))
    unknown = msgspec.structs.replace(half, shed_per_s=MISSING)
    assert learned_of(asked=half).prompt_tokens.value == 4000.0
    assert learned_of(asked=broken).prompt_tokens.value == 4000.0
    assert learned_of(asked=unknown).prompt_tokens == LearnedMean()


def test_pools_are_compared_by_what_they_do_once_they_have_done_it() -> None:
    spec = ScalingSpec(pools=(PoolSpec(name="main", speed=1.0), PoolSpec(name="other", speed=5.0)))
    endpoints = (
        load("a", prefill_tokens_per_s=10_000.0),
        load("b", pool="other", prefill_tokens_per_s=25_000.0),
    )
    other = spec.pools[1]
    assert speed(Learned(), spec, other) == 5.0
    assert speed(learned_of(*endpoints, ticks=2, spec=spec), spec, other) == 5.0
    assert speed(learned_of(*endpoints, spec=spec), spec, other) == pytest.approx(2.5, rel=1e-3)
    assert speed(learned_of(*endpoints, spec=spec), spec, spec.pools[0]) == 1.0


def fleet_with(batch: float, base_s: float, per_request_s: float) -> tuple[EndpointLoad, Demand]:
    """One engine with a batch, and the ITL that follows."""
    itl_s = base_s + per_request_s * batch
    return load("a", running=batch), demand(10.0, itl_s=itl_s)


def test_the_itl_line_is_found_when_the_batch_has_varied() -> None:
    learned = Learned()
    for _ in range(6):
        for batch in (8.0, 24.0, 48.0):
            endpoint, asked = fleet_with(batch, 0.007, 0.0003)
            learned = learned_of(endpoint, asked=asked, ticks=60, before=learned)
    assert learned.itl.at(16) == pytest.approx(0.007 + 16 * 0.0003, rel=0.15)
    assert learned.itl.at(64) == pytest.approx(0.007 + 64 * 0.0003, rel=0.15)


def test_without_spread_the_line_passes_through_what_is_seen_with_the_slope_of_before() -> None:
    endpoint, asked = fleet_with(20.0, 0.007, 0.0003)
    line = learned_of(endpoint, asked=asked).itl
    assert line.per_request_s == pytest.approx(PRIOR_ITL_PER_REQUEST_S)
    assert line.at(20.0) == pytest.approx(0.013, rel=0.05)


def test_an_engine_faster_than_the_prior_slope_allows_still_has_a_base() -> None:
    endpoint, asked = fleet_with(100.0, 0.004, 0.00001)
    line = learned_of(endpoint, asked=asked).itl
    assert line.base_s > 0
    assert line.at(100.0) == pytest.approx(0.005, rel=0.05)


def test_a_batch_for_an_itl_is_at_least_one() -> None:
    line = ItlLine(base_s=0.01, per_request_s=0.001)
    assert line.batch_within(0.05) == pytest.approx(40.0)
    assert line.batch_within(0.001) == 1.0
    assert ItlLine(base_s=0.01, per_request_s=0.0).batch_within(0.05) == float("inf")


def test_the_cache_share_of_a_request_is_learned_where_many_run() -> None:
    busy = load("a", kv_used_ratio=0.6, running=12.0), load("b", kv_used_ratio=0.2, running=4.0)
    assert learned_of(*busy).kv_share.value == pytest.approx(0.05)
    assert learned_of(load("a", kv_used_ratio=0.3, running=2.0)).kv_share == LearnedMean()


def test_cold_starts_lean_on_the_specification_and_then_speak_for_themselves() -> None:
    assert cold_start_s(Learned(), SPEC, "main") == 150.0
    assert cold_start_s(learned_of(started_s=(40.0,)), SPEC, "main") == 150.0
    assert cold_start_s(learned_of(started_s=(40.0, 42.0, 300.0)), SPEC, "main") == 300.0
    assert cold_start_s(learned_of(started_s=(40.0,) * 9 + (90.0,)), SPEC, "main") == 40.0


def test_starts_that_are_reported_again_are_counted_once_and_kept_when_they_are_no_longer() -> None:
    learned = learned_of(started_s=(40.0, 50.0), ticks=10)
    assert learned.starts_s == {"main": (40.0, 50.0)}
    learned = learned_of(started_s=(), before=learned)
    assert learned.starts_s == {"main": (40.0, 50.0)}
    learned = learned_of(started_s=(60.0,), before=learned)
    assert learned.starts_s == {"main": (40.0, 50.0, 60.0)}
    many = tuple(float(number) for number in range(1, 31))
    learned = learned_of(started_s=many, ticks=3, before=learned)
    assert learned.starts_s == {"main": many[-16:]}


def test_what_is_not_fresh_teaches_nothing() -> None:
    learned = learned_of(load("a"), asked=Demand())
    assert msgspec.structs.replace(learned, at=None) == Learned()


def test_time_that_stands_still_teaches_nothing() -> None:
    learned = learned_of(load("a", prefill_tokens_per_s=8000.0), ticks=1)
    seen = Observation(at=T0, endpoints=(load("a", prefill_tokens_per_s=1.0),))
    assert learned.at is not None
    assert learn(learned, SPEC, seen, learned.at) is learned


def test_noise_about_a_mean_is_not_written_down() -> None:
    rng, learned, texts = Random(1), Learned(), set()
    for tick in range(1000):
        noise = 1.0 + rng.uniform(-0.1, 0.1)
        endpoint, asked = fleet_with(20.0 * noise, 0.007, 0.0003)
        busy = msgspec.structs.replace(
            endpoint, prefill_tokens_per_s=fresh(10_000.0 * noise), kv_used_ratio=fresh(0.4 * noise)
        )
        learned = learned_of(busy, asked=asked, ticks=1, before=learned)
        if tick >= 500:
            texts.add(msgspec.json.encode(learned.kept()))
    assert len(texts) == 1


def test_what_is_persisted_is_short_and_is_read_back() -> None:
    endpoint, asked = fleet_with(20.0, 0.007, 0.0003)
    learned = learned_of(endpoint, asked=asked, started_s=(40.0, 50.0, 60.0))
    text = msgspec.json.encode(learned.kept())
    assert len(text) < 800
    assert msgspec.json.decode(text, type=Learned) == learned.kept()
    resumed = msgspec.json.decode(text, type=Learned)
    assert service_s(resumed, SPEC, Role.BOTH, 1000.0) == pytest.approx(
        service_s(learned, SPEC, Role.BOTH, 1000.0), rel=0.05
    )


@pytest.mark.parametrize("speed", [0.0, 5e-324, 2.3e-308, 0.01])
def test_a_speed_that_is_none_is_not_learned(speed: float) -> None:
    nothing = learned_of(load("a"), ticks=1)
    assert learned_of(load("a", prefill_tokens_per_s=speed), ticks=1).prefill_s == nothing.prefill_s


def test_nonsense_is_not_learned() -> None:
    mean = LearnedMean(5.0, 100.0)
    assert mean.fold(float("nan"), 15.0) == mean
    assert mean.fold(float("inf"), 15.0) == mean
    assert mean.fold(-1.0, 15.0) == mean
    assert LearnedMean().fold(5.0, 0.0) == LearnedMean()
