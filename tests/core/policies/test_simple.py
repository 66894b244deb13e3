"""The baselines that look at no prompt do what their names say, on cases computed by hand."""

from __future__ import annotations

from collections import Counter
from random import Random

from cardan.decision import Reason
from cardan.policies import LeastRequest, PowerOfTwo, RoundRobin
from cardan.policies import Random as RandomPolicy

from tests.core.policies.build import NOW, choose, fleet_of, load, pool_of, prompt_of, request_of


def test_round_robin_visits_every_endpoint_in_turn() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), RoundRobin().bind(), Random(1)
    visited = [choose(chooser, request_of(), pool, rng).endpoint.id for _ in range(7)]
    assert visited == ["e00", "e01", "e02", "e00", "e01", "e02", "e00"]


def test_round_robin_takes_its_turn_among_those_that_may_be_asked() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), RoundRobin().bind(), Random(1)
    some = pool.routable[1:]
    visited = [chooser.choose(request_of(), pool, some, NOW, rng).endpoint.id for _ in range(4)]
    assert visited == ["e01", "e02", "e01", "e02"]


def test_random_is_uniform() -> None:
    pool, chooser, rng = pool_of(fleet_of(4)), RandomPolicy().bind(), Random(1)
    visits = Counter(str(choose(chooser, request_of(), pool, rng).endpoint.id) for _ in range(4000))
    assert len(visits) == 4
    assert all(abs(count - 1000) < 110 for count in visits.values())  # 4 sigma


def test_least_request_takes_the_endpoint_with_the_fewest_in_flight() -> None:
    pool, chooser = pool_of(fleet_of(3)), LeastRequest().bind()
    load(pool.routable[0], 2)
    load(pool.routable[1], 1)
    load(pool.routable[2], 3)
    assert choose(chooser, request_of(), pool, Random(1)).endpoint.id == "e01"


def test_least_request_breaks_ties_at_random() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), LeastRequest().bind(), Random(1)
    load(pool.routable[1], 1)
    visits = Counter(str(choose(chooser, request_of(), pool, rng).endpoint.id) for _ in range(1000))
    assert set(visits) == {"e00", "e02"}
    assert abs(visits["e00"] - 500) < 64  # 4 sigma


def test_power_of_two_takes_the_lesser_of_two() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), PowerOfTwo().bind(), Random(1)
    for state, requests in zip(pool.routable, (5, 1, 3), strict=True):
        load(state, requests)
    visits = Counter(str(choose(chooser, request_of(), pool, rng).endpoint.id) for _ in range(3000))
    # Of the three pairs, e01 wins two and e02 one; the busiest wins none.
    assert visits["e00"] == 0
    assert abs(visits["e01"] - 2000) < 104
    assert visits["e01"] + visits["e02"] == 3000


def test_power_of_two_of_one_is_that_one() -> None:
    pool = pool_of(fleet_of(1))
    assert choose(PowerOfTwo().bind(), request_of(), pool, Random(1)).endpoint.id == "e00"


def test_a_baseline_still_predicts_what_it_chose() -> None:
    pool = pool_of(fleet_of(1))
    pool.routable[0].shadow.insert((1, 2))
    decision = choose(RoundRobin().bind(), request_of(prompt_of(1, 2, 3)), pool, Random(1))
    assert decision.reason is Reason.POLICY
    assert decision.chosen.hit_tokens == 1024
    assert decision.chosen.uncached_tokens == 512
