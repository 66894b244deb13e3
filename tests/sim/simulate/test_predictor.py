"""Predictions that are made wrong: by the factor asked for, and by nothing that is learned."""

from __future__ import annotations

import pytest
from cardan.instants import Monotonic
from cardan.policies import DualMap
from cardan.siblings import Line, Siblings
from cardan_sim.simulate.predictor import Misled, Predictor
from cardan_sim.simulate.world import World
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.simulate.worlds import conversations, play, rows, setup

observations = st.lists(
    st.tuples(st.sampled_from([0.0, 1.0]), st.floats(1, 50_000), st.floats(0.001, 30)), max_size=30
)


@given(observations, st.floats(0.1, 10))
def test_a_misled_line_learns_what_an_honest_one_does_and_tells_another_rate(
    seen: list[tuple[float, float, float]], factor: float
) -> None:
    honest, misled = Line(Siblings()), Misled(Siblings(), factor)
    for number, (z, x, y) in enumerate(seen):
        honest.observe(z, x, y, Monotonic(float(number)))
        misled.observe(z, x, y, Monotonic(float(number)))
    assert misled.rate * factor == pytest.approx(honest.rate)
    assert misled.overhead_s == honest.overhead_s


def test_a_factor_of_one_changes_nothing_and_another_one_does() -> None:
    jobs = conversations(300, 14.0)
    plain = rows(play(jobs))
    assert rows(play(jobs, predictor=Predictor(factor=1.0))) == plain
    assert rows(play(jobs, predictor=Predictor(factor=4.0))) != plain


def test_policies_are_told_rates_that_are_wrong_by_the_factor() -> None:
    """One engine teaches the same whatever is predicted: there is nothing to choose."""

    def told(factor: float) -> float:
        world = World(setup(engines=1, predictor=Predictor(factor=factor)), DualMap(), 1)
        world.play(conversations(100, 2.0))
        (scheduler,) = world.schedulers
        (state,) = scheduler.fleet.endpoints.values()
        return state.speed.rate

    assert told(1.0) == pytest.approx(2.0 * told(2.0))
