"""Demand is foreseen from the first minute, never below what is asked now; skill is measured."""

from __future__ import annotations

from math import exp, pi, sin, sqrt
from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling.forecast import (
    HEADROOM,
    MOST_GROWTH,
    ForecastMemory,
    Foreseen,
    How,
    foresee,
    season_growth,
    update,
)
from cardan.scaling.spec import ForecastSpec
from hypothesis import given
from hypothesis import strategies as st

from tests.core.scaling.observed import T0
from tests.core.scaling.shown import demand

if TYPE_CHECKING:
    from collections.abc import Callable

SPEC = ForecastSpec()
CALM = ForecastSpec(burst_z=0.0)
HORIZON_S = 195.0
DAY_S = 86_400.0
TICK_S = 15.0


class Watch:
    """A forecast that sees a rate every so often."""

    def __init__(self, spec: ForecastSpec = SPEC, tick_s: float = TICK_S) -> None:
        self.memory, self.now, self.spec, self.tick_s = ForecastMemory(), T0, spec, tick_s
        self.rate = 0.0

    def see(self, rate: Callable[[float], float], seconds: float) -> Foreseen:
        """The rate of each moment, for so long; what is foreseen at the end."""
        for _ in range(int(seconds / self.tick_s)):
            self.now = WallTime(self.now + self.tick_s)
            self.rate = rate(self.now)
            self.memory = update(self.memory, demand(self.rate), self.now, self.spec, HORIZON_S)
        return self.foreseen()

    def foreseen(self) -> Foreseen:
        """What is foreseen now."""
        return foresee(self.memory, demand(self.rate), self.now, self.spec, HORIZON_S)


def test_without_any_memory_it_is_the_rate_and_a_tenth() -> None:
    seen = foresee(ForecastMemory(), demand(1000.0), T0, SPEC, HORIZON_S)
    assert (seen.how, seen.growth) == (How.REACTIVE, HEADROOM)
    assert seen.requests_per_s == pytest.approx(1100.0)
    assert seen.uncached_tokens_per_s == pytest.approx(2_200_000.0)
    assert seen.output_tokens_per_s == pytest.approx(220_000.0)


def test_few_requests_get_room_for_their_bursts() -> None:
    seen = foresee(ForecastMemory(), demand(0.5), T0, SPEC, HORIZON_S)
    assert seen.how is How.BURST
    assert seen.growth == pytest.approx(1 + sqrt(1 / (0.5 * HORIZON_S)))


def test_irregular_arrivals_get_more_room_than_regular_ones() -> None:
    rng = Random(1)
    bursty = Watch().see(lambda _: 10.0 * exp(rng.gauss(0.0, 0.5)), 3600)
    calm = Watch().see(lambda _: 10.0, 3600)
    assert calm.growth == HEADROOM
    assert bursty.how is How.BURST or bursty.growth > calm.growth


def test_disabled_it_is_reactive() -> None:
    watch = Watch(ForecastSpec(enabled=False))
    assert watch.see(lambda now: (now - T0) / 10, 1200).how is How.REACTIVE


def test_a_steady_rise_is_foreseen_from_its_trend() -> None:
    seen = Watch(CALM).see(lambda now: 10.0 + (now - T0) * 0.1, 1800)
    now, then = 10.0 + 180.0, 10.0 + 180.0 + 0.1 * HORIZON_S
    assert seen.requests_per_s is not None
    assert seen.requests_per_s == pytest.approx(max(then, now * HEADROOM), rel=0.05)


def test_a_steep_rise_is_foreseen_beyond_a_tenth() -> None:
    seen = Watch(CALM).see(lambda now: 10.0 + max(0.0, now - T0 - 900) * 0.5, 1200)
    assert seen.how is How.FORECAST
    assert seen.growth > 1.2


def test_a_fall_is_followed_by_the_rate_and_not_ahead_of_it() -> None:
    seen = Watch(CALM).see(lambda now: max(10.0, 500.0 - (now - T0) * 0.3), 1200)
    assert seen.growth == HEADROOM


def sine(now: float) -> float:
    """A day between 20 and 180."""
    return 100.0 + 80.0 * sin(2 * pi * now / DAY_S)


def nine(now: float) -> float:
    """A day whose work begins at nine, within ten minutes."""
    into = (now % DAY_S) - 9 * 3600
    return 20.0 + 80.0 * min(max(into / 600.0, 0.0), 1.0) * (into < 8 * 3600)


def test_what_comes_every_day_is_foreseen_on_the_second() -> None:
    watch = Watch(CALM, tick_s=60.0)
    into = T0 % DAY_S
    watch.see(nine, DAY_S - into + DAY_S + 9 * 3600 - 120)  # two minutes before nine, second day
    growth = season_growth(watch.memory, watch.now, CALM, HORIZON_S)
    assert growth is not None
    assert growth > 1.15
    assert watch.foreseen().how is How.FORECAST


def test_a_season_is_not_known_before_it_has_passed() -> None:
    watch = Watch(CALM, tick_s=60.0)
    watch.see(sine, DAY_S * 0.9)
    assert season_growth(watch.memory, watch.now, CALM, HORIZON_S) is None


def test_a_season_that_was_wrong_is_no_longer_believed() -> None:
    """Three days of a peak at nine teach it; a week without any teaches that it is gone."""
    watch = Watch(CALM, tick_s=60.0)
    watch.see(nine, 3 * DAY_S)
    wrong = 0
    for _ in range(5):
        watch.see(lambda _: 20.0, DAY_S)
    into = (9 * 3600 - 120 - watch.now) % DAY_S
    seen = watch.see(lambda _: 20.0, into)
    wrong += seen.growth > HEADROOM
    assert wrong == 0


def test_skill_is_measured_against_saying_nothing() -> None:
    watch = Watch(CALM)
    watch.see(lambda now: 10.0 * exp((now - T0) / 3600), 7200)
    assert 0 < watch.memory.trend_error.value < watch.memory.naive_error.value


def test_a_trend_that_misleads_is_not_believed() -> None:
    """A saw tooth goes on for ever as it just went, but for where it breaks off."""
    watch = Watch(CALM)
    seen = watch.see(lambda now: 10.0 + ((now - T0) % 300) * 0.5, 4 * 3600)
    assert watch.memory.trend_error.value > watch.memory.naive_error.value
    assert seen.growth == HEADROOM


def test_what_is_not_known_is_named_and_not_remembered() -> None:
    asked = demand(None)
    memory = ForecastMemory()
    assert update(memory, asked, T0, SPEC, HORIZON_S) is memory
    seen = foresee(memory, asked, T0, SPEC, HORIZON_S)
    assert seen.requests_per_s is None
    assert seen.lacking == (
        "requests_per_s",
        "uncached_tokens_per_s",
        "output_tokens_per_s",
    )


def test_a_fleet_at_rest_is_written_once() -> None:
    watch, texts = Watch(tick_s=15.0), set()
    watch.see(lambda _: 10.0, 3600)
    for _ in range(240):
        watch.see(lambda _: 10.0, 15)
        texts.add(msgspec.json.encode(watch.memory.kept()))
    assert len(texts) == 1
    assert len(texts.pop()) < 300


def test_a_restless_week_stays_below_four_kilobytes_and_survives_a_restart() -> None:
    rng = Random(2)
    watch = Watch(tick_s=300.0)
    watch.see(lambda now: sine(now) * exp(rng.gauss(0.0, 0.3)), 9 * DAY_S)
    text = msgspec.json.encode(watch.memory.kept())
    assert len(text) < 4096
    resumed = msgspec.json.decode(text, type=ForecastMemory)
    assert season_growth(resumed, watch.now, SPEC, HORIZON_S) == season_growth(
        watch.memory, watch.now, SPEC, HORIZON_S
    )


def test_an_outage_is_no_slope() -> None:
    watch = Watch(CALM)
    watch.see(lambda _: 10.0, 600)
    watch.now = WallTime(watch.now + 7200)
    assert watch.see(lambda _: 100.0, 15).growth == HEADROOM


@given(
    rates=st.lists(st.floats(0.0, 1e5), min_size=1, max_size=30),
    horizon_s=st.floats(1.0, 3600.0),
    z=st.floats(0.0, 3.0),
)
def test_it_lies_between_the_rate_and_twice_that(
    rates: list[float], horizon_s: float, z: float
) -> None:
    memory, spec = ForecastMemory(), ForecastSpec(burst_z=z)
    for number, rate in enumerate(rates):
        now = WallTime(T0 + number * 15.0)
        memory = update(memory, demand(rate), now, spec, horizon_s)
        seen = foresee(memory, demand(rate), now, spec, horizon_s)
        assert 1.0 <= seen.growth <= MOST_GROWTH
        assert seen.requests_per_s is not None
        assert rate <= seen.requests_per_s <= MOST_GROWTH * rate
        assert seen.error >= 0


def test_a_spike_is_not_taken_for_the_beginning_of_a_rise() -> None:
    watch = Watch(CALM)
    watch.see(lambda _: 40.0, 1800)
    for _ in range(2):
        assert watch.see(lambda _: 110.0, 15).growth == HEADROOM
