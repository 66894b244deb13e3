"""The cache-aware baseline follows SGLang's three rules, on cases computed by hand."""

from __future__ import annotations

from random import Random

from cardan.decision import Reason
from cardan.policies import CacheAware

from tests.core.policies.build import (
    NOW,
    choose,
    endpoint,
    fleet_of,
    load,
    pool_of,
    prompt_of,
    request_of,
)

LONG = prompt_of(*range(100, 110))


def test_the_first_prompt_goes_to_the_least_busy() -> None:
    pool = pool_of(fleet_of(3))
    load(pool.routable[0], 1)
    decision = choose(CacheAware().bind(), request_of(LONG), pool, Random(1))
    assert (decision.endpoint.id, decision.reason) == ("e01", Reason.POLICY)


def test_a_prompt_is_known_as_soon_as_it_was_routed() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), CacheAware().bind(), Random(1)
    first = choose(chooser, request_of(LONG), pool, rng)
    load(first.endpoint, 10)
    again = choose(chooser, request_of(LONG), pool, rng)
    assert (again.endpoint, again.reason) == (first.endpoint, Reason.AFFINITY)


def test_a_match_must_cover_more_than_the_threshold() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), CacheAware().bind(), Random(1)
    owner = choose(chooser, request_of(LONG), pool, rng).endpoint
    load(owner, 1)
    three_of_ten = prompt_of(*range(100, 103), *range(200, 207))
    four_of_ten = prompt_of(*range(100, 104), *range(300, 306))
    assert choose(chooser, request_of(three_of_ten), pool, rng).endpoint is not owner
    assert choose(chooser, request_of(four_of_ten), pool, rng).endpoint is owner


def test_imbalance_needs_both_thresholds() -> None:
    pool, chooser, rng = pool_of(fleet_of(2)), CacheAware().bind(), Random(1)
    owner = choose(chooser, request_of(LONG), pool, rng).endpoint
    (other,) = [state for state in pool.routable if state is not owner]
    load(owner, 64)
    assert choose(chooser, request_of(LONG), pool, rng).endpoint is owner  # 64 - 0 is not over 64
    load(owner, 1)
    decision = choose(chooser, request_of(LONG), pool, rng)
    assert (decision.endpoint, decision.reason) == (other, Reason.BALANCE)
    load(other, 200)
    load(owner, 200)  # 265 against 200: over 64 apart, but below 1.5 times
    assert choose(CacheAware().bind(), request_of(LONG), pool, rng).reason is Reason.POLICY


def test_a_prompt_moved_for_balance_is_known_at_its_new_home() -> None:
    pool, chooser, rng = pool_of(fleet_of(2)), CacheAware().bind(), Random(1)
    owner = choose(chooser, request_of(LONG), pool, rng).endpoint
    leases = load(owner, 100)
    moved = choose(chooser, request_of(LONG), pool, rng).endpoint
    assert moved is not owner
    load(moved, 90)
    # Both hold it now; the less busy of the owners serves it.
    assert choose(chooser, request_of(LONG), pool, rng).endpoint is moved
    assert len(leases) == 100


def test_an_owner_that_left_is_forgotten() -> None:
    fleet = fleet_of(3)
    chooser, rng = CacheAware().bind(), Random(1)
    owner = choose(chooser, request_of(LONG), pool_of(fleet), rng).endpoint
    rest = [state.endpoint for state in fleet.endpoints.values() if state is not owner]
    fleet.update(rest, NOW)
    decision = choose(chooser, request_of(LONG), pool_of(fleet), rng)
    assert (decision.endpoint is not owner, decision.reason) == (True, Reason.POLICY)
    fleet.update([*rest, owner.endpoint], NOW)
    load(decision.endpoint, 1)
    assert choose(chooser, request_of(LONG), pool_of(fleet), rng).endpoint is decision.endpoint


def test_a_prompt_that_is_not_known_goes_to_the_least_busy() -> None:
    pool = pool_of(fleet_of(2))
    load(pool.routable[0], 1)
    assert choose(CacheAware().bind(), request_of(), pool, Random(1)).endpoint.id == "e01"


def test_the_index_is_bounded() -> None:
    pool, chooser, rng = pool_of(fleet_of(1)), CacheAware(max_blocks=64).bind(), Random(1)
    for number in range(50):
        prompt = prompt_of(*range(number * 100, number * 100 + 10))
        choose(chooser, request_of(prompt), pool, rng)
    assert len(chooser._index) <= 64  # type: ignore[attr-defined]


def test_with_the_older_threshold_half_of_a_prompt_is_not_enough() -> None:
    pool, rng = pool_of(fleet_of(3)), Random(1)
    chooser = CacheAware(cache_threshold=0.5).bind()
    owner = choose(chooser, request_of(LONG), pool, rng).endpoint
    load(owner, 1)
    five_of_ten = prompt_of(*range(100, 105), *range(200, 205))
    six_of_ten = prompt_of(*range(100, 106), *range(300, 304))
    assert choose(chooser, request_of(five_of_ten), pool, rng).endpoint is not owner
    assert choose(chooser, request_of(six_of_ten), pool, rng).endpoint is owner


def test_the_index_shrinks_to_its_share_when_the_fleet_grows() -> None:
    fleet = fleet_of(1)
    chooser, rng = CacheAware(max_blocks=64).bind(), Random(1)
    choose(chooser, request_of(prompt_of(*range(60))), pool_of(fleet), rng)
    fleet.update([endpoint(number) for number in range(4)], NOW)
    load(pool_of(fleet).routable[1], 9)
    for number in range(2, 40):
        choose(chooser, request_of(prompt_of(number * 100)), pool_of(fleet), rng)
    assert len(chooser._index) <= 64  # type: ignore[attr-defined]
