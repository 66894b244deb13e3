"""The queueing model is as good as it says: by published figures and a simulation of ours."""

from __future__ import annotations

from collections import deque
from math import exp, inf
from random import Random

import pytest
from cardan.scaling.queueing import (
    LEAST_RHO,
    MOST_RHO,
    attained,
    in_time,
    least_replicas,
    owners_needed,
)
from hypothesis import given
from hypothesis import strategies as st

# Conversations on eight engines: utilisation, the mean field's word, and the simulated share.
# The promise was 4.7 mean services.
TABLE = [
    (0.54, 0.975, 0.991),
    (0.67, 0.960, 0.974),
    (0.74, 0.947, 0.954),
    (0.81, 0.929, 0.929),
    (0.87, 0.889, 0.883),
    (0.93, 0.810, 0.731),
]
BUDGET = 4.7

rhos = st.floats(0.01, 0.99)
budgets = st.floats(0.5, 50.0)
counts = st.floats(1.0, 100.0)


@pytest.mark.parametrize(("rho", "model", "_simulated"), TABLE)
def test_the_mean_field_says_what_was_published_of_it(
    rho: float, model: float, _simulated: float
) -> None:
    assert in_time(rho, BUDGET) == pytest.approx(model, abs=0.004)


@pytest.mark.parametrize(("rho", "_model", "simulated"), TABLE)
def test_eight_engines_are_within_four_points_of_what_was_simulated_of_them(
    rho: float, _model: float, simulated: float
) -> None:
    assert in_time(rho, BUDGET, n=8) == pytest.approx(simulated, abs=0.04)


def test_four_choices_are_better_than_two_and_these_than_one() -> None:
    assert in_time(0.82, BUDGET, d=4.0) == pytest.approx(0.966, abs=0.005)
    assert in_time(0.82, BUDGET, d=2.0) < in_time(0.82, BUDGET, d=4.0)
    assert in_time(0.82, BUDGET, d=1.0) < in_time(0.82, BUDGET, d=2.0)


def test_one_replica_is_the_exact_queue_with_one_server() -> None:
    """The time in an M/M/1 is exponential with rate (1 - rho) / S."""
    for rho in (0.3, 0.6, 0.9):
        exact = 1.0 - exp(-(1.0 - rho) * BUDGET)
        assert in_time(rho, BUDGET, n=1.0) == pytest.approx(exact, abs=1e-6)


@pytest.mark.parametrize(
    ("n", "rho", "budget"), [(2, 0.5, 4.7), (2, 0.79, 8.7), (4, 0.7, 6.0), (12, 0.8, 6.0)]
)
def test_small_fleets_are_within_three_points_of_a_simulation(
    n: int, rho: float, budget: float
) -> None:
    assert in_time(rho, budget, n) == pytest.approx(simulated_share(n, rho, budget), abs=0.03)


def test_a_pair_is_not_believed_to_do_what_an_endless_fleet_can() -> None:
    assert in_time(0.73, BUDGET, n=inf) > 0.94
    assert in_time(0.73, BUDGET, n=2) < 0.88


def simulated_share(n: int, rho: float, budget: float, arrivals: int = 30_000) -> float:
    """Share in time in a simulated fleet: Poisson arrivals, exponential services, two choices."""
    rng, now, early = Random(1), 0.0, 0
    free, ends = [0.0] * n, [deque[float]() for _ in range(n)]
    for _ in range(arrivals):
        now += rng.expovariate(rho * n)
        pair = rng.sample(range(n), 2)
        for one in pair:
            while ends[one] and ends[one][0] <= now:
                ends[one].popleft()
        shorter = min(pair, key=lambda one: len(ends[one]))
        free[shorter] = max(now, free[shorter]) + rng.expovariate(1.0)
        ends[shorter].append(free[shorter])
        early += free[shorter] - now <= budget
    return early / arrivals


@given(rho=rhos, budget=budgets, n=counts)
def test_a_chance_is_a_chance(rho: float, budget: float, n: float) -> None:
    assert 0.0 <= in_time(rho, budget, n) <= 1.0


@given(rho=rhos, budget=budgets, n=counts, more=st.floats(1.0, 3.0))
def test_more_replicas_for_the_same_demand_never_do_worse(
    rho: float, budget: float, n: float, more: float
) -> None:
    rate = rho * n
    before = attained(n, rate, 1.0, budget)
    assert attained(n * more, rate, 1.0, budget) >= before - 1e-9


@given(rho=rhos, budget=budgets, n=counts, more=st.floats(1.0, 3.0))
def test_more_demand_slower_engines_or_a_harder_promise_never_do_better(
    rho: float, budget: float, n: float, more: float
) -> None:
    rate = rho * n
    before = attained(n, rate, 1.0, budget) + 1e-9
    assert attained(n, rate * more, 1.0, budget) <= before
    assert attained(n, rate, more, budget) <= before
    assert attained(n, rate, 1.0, budget / more) <= before


@given(
    rate=st.floats(0.01, 1000.0),
    service_s=st.floats(0.001, 5.0),
    ttft_s=st.floats(0.1, 20.0),
    target=st.floats(0.5, 0.99),
)
def test_the_least_that_holds_the_promise_holds_it_or_nothing_does(
    rate: float, service_s: float, ttft_s: float, target: float
) -> None:
    n = least_replicas(rate, service_s, ttft_s, target)
    rho = rate * service_s / n
    assert LEAST_RHO - 1e-9 <= rho <= MOST_RHO + 1e-9
    if rho > LEAST_RHO + 1e-6:
        assert attained(n, rate, service_s, ttft_s) >= target


@given(
    rate=st.floats(0.01, 1000.0),
    service_s=st.floats(0.001, 5.0),
    ttft_s=st.floats(0.1, 20.0),
    more=st.floats(1.0, 3.0),
)
def test_more_demand_never_needs_fewer(
    rate: float, service_s: float, ttft_s: float, more: float
) -> None:
    least = least_replicas(rate, service_s, ttft_s, 0.95) * (1 - 2e-4)  # the bisection's grain
    assert least_replicas(rate * more, service_s, ttft_s, 0.95) >= least
    assert least_replicas(rate, service_s * more, ttft_s, 0.95) >= least


def test_nothing_is_needed_for_nothing() -> None:
    assert least_replicas(0.0, 1.0, 2.0, 0.95) == 0.0
    assert least_replicas(10.0, 0.0, 2.0, 0.95) == 0.0
    assert attained(3, 10.0, 0.0, 2.0) == 1.0
    assert attained(0, 10.0, 1.0, 2.0) == 0.0
    assert attained(3, 3.0, 1.0, 2.0) == 0.0  # saturated


def test_a_hot_key_needs_as_many_owners_as_its_work_fills() -> None:
    assert owners_needed(rate=10.0, service_s=0.1) == 2  # 1.0 busy replicas at 0.7 each
    assert owners_needed(rate=0.1, service_s=0.1) == 1
