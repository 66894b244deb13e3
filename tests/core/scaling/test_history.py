"""A week of demand is remembered in a short string, truly enough; rest is not written."""

from __future__ import annotations

from math import pi, sin

import pytest
from cardan.scaling.history import KEPT_SLOTS, SLOT_S, mean_before, rate_at, record
from hypothesis import given
from hypothesis import strategies as st

DAY = 86_400 // SLOT_S


def remembered(rates: list[float], start: int = 2_000_000) -> tuple[int, str]:
    """History of these slots' means."""
    origin, points = 0, ""
    for number, rate in enumerate(rates):
        origin, points = record(origin, points, start + number, rate)
    return origin, points


def middle(slot: int) -> float:
    """The time in the middle of a slot."""
    return (slot + 0.5) * SLOT_S


def test_a_constant_rate_is_one_point_however_long_it_lasts() -> None:
    origin, points = remembered([12.0] * 2000)
    assert len(points) == 4
    assert rate_at(origin, points, middle(2_000_100)) == pytest.approx(12.0, rel=0.02)


def test_a_step_is_a_step() -> None:
    origin, points = remembered([10.0] * 50 + [100.0] * 50)
    assert rate_at(origin, points, middle(2_000_049)) == pytest.approx(10.0, rel=0.02)
    assert rate_at(origin, points, middle(2_000_050)) == pytest.approx(100.0, rel=0.02)


def test_a_day_is_known_the_day_after_and_not_before() -> None:
    day = [50.0 + 40.0 * sin(2 * pi * slot / DAY) for slot in range(DAY + 10)]
    origin, points = remembered(day)
    at = middle(2_000_000 + DAY + 5)
    assert mean_before(origin, points, at, 86_400.0) == pytest.approx(day[5], rel=0.12)
    assert mean_before(origin, points, at, 604_800.0) is None
    assert rate_at(origin, points, middle(2_000_000) - SLOT_S) is None
    assert rate_at(0, "", 0.0) is None


def test_earlier_days_count_alike_up_to_three() -> None:
    days = [10.0] * DAY + [20.0] * DAY + [30.0] * DAY + [60.0] * DAY
    origin, points = remembered(days)
    at = middle(2_000_000 + 4 * DAY + 20)
    assert mean_before(origin, points, at, 86_400.0) == pytest.approx(110 / 3, rel=0.02)


def test_what_is_older_than_eight_days_is_forgotten_and_the_string_stays_short() -> None:
    restless = [1.0 + (slot % 2) * 10 for slot in range(60 * DAY)]
    origin, points = remembered(restless)
    assert len(points) <= 4 * (KEPT_SLOTS + 2)
    last = 2_000_000 + 60 * DAY - 1
    assert rate_at(origin, points, middle(last - 5)) == pytest.approx(restless[-6], rel=0.02)
    assert rate_at(origin, points, middle(last - KEPT_SLOTS - 5)) is None


def test_a_long_silence_between_two_points_does_not_break_it() -> None:
    origin, points = remembered([10.0])
    origin, points = record(origin, points, 2_000_000 + 100 * DAY, 20.0)
    assert rate_at(origin, points, middle(2_000_000 + 100 * DAY)) == pytest.approx(20.0, rel=0.02)
    assert rate_at(origin, points, middle(2_000_000 + 100 * DAY - 50)) == pytest.approx(
        10.0, rel=0.02
    )


@given(st.lists(st.floats(0.0, 1e6), min_size=1, max_size=60))
def test_every_slot_is_remembered_within_its_dead_band(rates: list[float]) -> None:
    origin, points = remembered(rates)
    for number, rate in enumerate(rates):
        known = rate_at(origin, points, middle(2_000_000 + number))
        assert known is not None
        assert abs(known - rate) <= 0.14 * max(rate, known) + 2e-4
