"""Bisection finds the last rate that is served well, and the first fleet that serves."""

from __future__ import annotations

from cardan_sim.simulate.search import highest_rate, smallest_fleet
from hypothesis import given
from hypothesis import strategies as st


@given(st.floats(0.5, 20.0), st.floats(1.0, 9.0), st.floats(1.1, 3.0))
def test_the_highest_rate_is_found_within_the_tolerance(
    knee: float, low: float, width: float
) -> None:
    found = highest_rate(lambda rate: rate <= knee, low, low * width, 0.01)
    assert found <= knee <= found * 1.02


def test_nothing_served_and_everything_served_are_answers_too() -> None:
    assert highest_rate(lambda rate: False, 1.0, 2.0, 0.01) == 0.0
    assert highest_rate(lambda rate: True, 1.0, 2.0, 0.01) > 20.0


@given(st.integers(1, 300), st.integers(1, 50))
def test_the_smallest_fleet_is_found(need: int, start: int) -> None:
    asked: list[int] = []

    def serves(engines: int) -> bool:
        asked.append(engines)
        return engines >= need

    assert smallest_fleet(serves, start, 256) == (need if need <= 256 else None)
    assert len(asked) <= 18
