"""The cheapest mix of pools, by the solver, against counting them all."""

from __future__ import annotations

from itertools import product

import pytest
from cardan.scaling.mix import (
    EPSILON,
    GRAIN,
    Offer,
    Offers,
    cheapest,
    cost,
    fractional_cost,
    grained,
    mixed,
    speed,
)
from hypothesis import given, settings
from hypothesis import strategies as st


def offer(cost: float, speed: float, high: int = 10, low: int = 0, current: int = 0) -> Offer:
    return Offer(cost=cost, speed=speed, low=low, high=high, current=current)


def changes(offers: Offers, mix: tuple[int, ...]) -> int:
    return sum(abs(n - one.current) for one, n in zip(offers, mix, strict=True))


def by_counting(offers: Offers, need: float) -> tuple[float, int]:
    """The least cost, and the fewest changes at that cost, over all mixes there are."""
    ranges = [range(one.low, one.high + 1) for one in offers]
    every = [mix for mix in product(*ranges) if speed(offers, mix) >= need - EPSILON]
    least = min(cost(offers, mix) for mix in every)
    cheap = [mix for mix in every if cost(offers, mix) <= least + EPSILON]
    return least, min(changes(offers, mix) for mix in cheap)


def test_one_pool_is_what_covers_the_need() -> None:
    assert cheapest((offer(1, 1),), 4.2) == (5,)
    assert cheapest((offer(1, 2),), 4.2) == (3,)


def test_a_big_one_that_is_cheaper_for_its_speed_is_taken_but_not_for_a_rest() -> None:
    offers = (offer(1, 1), offer(2.5, 3))
    assert cheapest(offers, 6.0) == (0, 2)
    assert cheapest(offers, 7.0) == (1, 2)


def test_of_equally_cheap_mixes_the_one_with_the_fewest_changes() -> None:
    assert cheapest((offer(1, 1, current=4), offer(1, 1, current=2)), 5.0) in {(3, 2), (4, 1)}
    assert cheapest((offer(1, 1, current=0), offer(1, 1, current=5)), 5.0) == (0, 5)


def test_bounds_are_kept_and_what_they_do_not_cover_is_covered_as_far_as_they_go() -> None:
    offers = (offer(1, 1, high=2), offer(5, 1, low=1, high=3))
    assert cheapest(offers, 0.0) == (0, 1)
    assert cheapest(offers, 3.0) == (2, 1)
    assert cheapest(offers, 99.0) == (2, 3)


def test_what_is_settled_is_kept_unless_another_mix_saves_a_tenth() -> None:
    dear = (offer(1, 1, current=0), offer(1.05, 1, current=4))
    assert mixed(dear, 4.0, settled=True) == (0, 4)
    assert mixed(dear, 4.0, settled=False) == (4, 0)
    dearer = (offer(1, 1, current=0), offer(1.2, 1, current=4))
    assert mixed(dearer, 4.0, settled=True) == (4, 0)


def test_noise_below_a_twentieth_asks_no_new_question() -> None:
    offers = (offer(1, 1), offer(2.5, 3), offer(0.7, 0.6))
    before = cheapest.cache_info().misses
    for number in range(1, 11):
        mixed(offers, 7.0 + GRAIN * number / 10, settled=False)
    assert cheapest.cache_info().misses == before + 1


def test_needs_are_rounded_up_by_little() -> None:
    assert grained(0.0) == 0.0
    assert grained(3.0) == pytest.approx(3.0)
    assert grained(3.01) == pytest.approx(3.05)
    assert grained(100.1) == pytest.approx(100.8)


@given(st.floats(0, 1000), st.floats(0, 10))
def test_rounding_up_keeps_the_order_of_needs(need: float, more: float) -> None:
    assert need - 1e-6 <= grained(need) <= need * 1.0126 + GRAIN
    assert grained(need) <= grained(need + more) + 1e-6


def test_parts_of_replicas_are_never_dearer_than_whole_ones() -> None:
    offers = (offer(1, 1), offer(2.5, 3))
    assert fractional_cost(offers, 7.0) == pytest.approx(2.5 * 7 / 3)
    assert fractional_cost(offers, 7.0) <= cost(offers, cheapest(offers, 7.0))


quarters = st.integers(1, 16).map(lambda n: n / 4)
offers_of = st.lists(
    st.builds(
        lambda cost, speed, low, more, current: offer(cost, speed, low + more, low, current),
        quarters,
        quarters,
        st.integers(0, 2),
        st.integers(0, 4),
        st.integers(0, 6),
    ),
    min_size=2,
    max_size=3,
).map(tuple)


@settings(max_examples=60, deadline=None)
@given(offers_of, st.integers(0, 120).map(lambda n: n / 4))
def test_no_mix_is_cheaper_and_none_as_cheap_changes_less(offers: Offers, need: float) -> None:
    mix = cheapest(offers, need)
    assert all(one.low <= n <= one.high for one, n in zip(offers, mix, strict=True))
    if speed(offers, tuple(one.high for one in offers)) < need - EPSILON:
        assert mix == tuple(one.high for one in offers)
        return
    assert speed(offers, mix) >= need - EPSILON
    least, fewest = by_counting(offers, need)
    assert abs(cost(offers, mix) - least) <= EPSILON
    assert changes(offers, mix) == fewest
    assert fractional_cost(offers, need) <= least + EPSILON
