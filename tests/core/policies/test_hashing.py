"""Session hash and bounded load give every key an owner, and only the latter ever passes it on."""

from __future__ import annotations

from collections import Counter
from math import ceil
from random import Random

import pytest
from cardan.decision import Reason
from cardan.policies import BoundedLoad, SessionHash

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


def test_a_session_keeps_its_endpoint_whatever_the_load() -> None:
    pool, chooser, rng = pool_of(fleet_of(8)), SessionHash().bind(), Random(1)
    first = choose(chooser, request_of(session="alice"), pool, rng)
    load(first.endpoint, 50)
    again = choose(chooser, request_of(prompt_of(5), session="alice"), pool, rng)
    assert again.endpoint is first.endpoint
    assert again.reason is Reason.AFFINITY


def test_sessions_spread_over_the_fleet() -> None:
    pool, chooser, rng = pool_of(fleet_of(8)), SessionHash().bind(), Random(1)
    homes = Counter(
        choose(chooser, request_of(session=f"user-{number}"), pool, rng).endpoint.id
        for number in range(1600)
    )
    assert len(homes) == 8
    assert all(abs(count - 200) < 55 for count in homes.values())  # 4 sigma


def test_without_a_session_the_first_block_is_the_key() -> None:
    pool, chooser, rng = pool_of(fleet_of(8)), SessionHash().bind(), Random(1)
    homes = {
        choose(chooser, request_of(prompt_of(77, tail)), pool, rng).endpoint.id
        for tail in range(20)
    }
    assert len(homes) == 1


def test_a_session_name_need_not_be_unicode() -> None:
    pool = pool_of(fleet_of(2))
    choose(SessionHash().bind(), request_of(session="m\udce9l"), pool, Random(1))


def test_few_sessions_move_when_an_endpoint_joins() -> None:
    fleet, chooser, rng = fleet_of(8), SessionHash().bind(), Random(1)

    def homes() -> list[str]:
        return [
            choose(chooser, request_of(session=f"s{number}"), pool_of(fleet), rng).endpoint.id
            for number in range(900)
        ]

    before = homes()
    fleet.update([endpoint(number) for number in range(9)], NOW)
    fleet.endpoints[endpoint(8).id].weight = 1.0  # as if its ramp were over
    after = homes()
    moved = sum(one != other for one, other in zip(before, after, strict=True))
    assert abs(moved - 100) < 40  # 1/9 of them, 4 sigma
    assert all(new == "e08" for old, new in zip(before, after, strict=True) if old != new)


def test_bounded_load_keeps_the_owner_below_the_bound() -> None:
    pool, chooser, rng = pool_of(fleet_of(4)), BoundedLoad().bind(), Random(1)
    request = request_of(prompt_of(5, 6))
    owner = choose(chooser, request, pool, rng).endpoint
    for state in pool.routable:
        load(state, 4)
    # 16 in flight: the bound is ceil(1.25 * 17 / 4) = 6.
    assert choose(chooser, request, pool, rng).endpoint is owner
    load(owner, 2)
    # 18 in flight: ceil(1.25 * 19 / 4) = 6, which the owner has reached.
    decision = choose(chooser, request, pool, rng)
    assert decision.endpoint is not owner
    assert decision.reason is Reason.BALANCE


@pytest.mark.parametrize("epsilon", [0.0, 0.25, 1.0])
def test_nobody_ever_exceeds_the_bound(epsilon: float) -> None:
    pool, chooser, rng = pool_of(fleet_of(5)), BoundedLoad(epsilon=epsilon).bind(), Random(2)
    for placed in range(1, 200):
        request = request_of(prompt_of(rng.choice([1, 1, 1, 2, 3])))
        load(choose(chooser, request, pool, rng).endpoint, 1)
        most = max(state.load.in_flight for state in pool.routable)
        assert most <= ceil((1 + epsilon) * placed / 5)


def test_the_same_endpoint_takes_what_an_owner_passes_on() -> None:
    pool, chooser, rng = pool_of(fleet_of(6)), BoundedLoad().bind(), Random(1)
    request = request_of(prompt_of(5, 6))
    load(choose(chooser, request, pool, rng).endpoint, 3)
    assert len({choose(chooser, request, pool, rng).endpoint.id for _ in range(10)}) == 1


def test_more_blocks_in_the_key_spread_a_shared_beginning() -> None:
    pool, rng = pool_of(fleet_of(8)), Random(1)
    shallow, deep = BoundedLoad().bind(), BoundedLoad(blocks=2).bind()
    requests = [request_of(prompt_of(1, rng.getrandbits(64))) for _ in range(60)]
    assert len({choose(shallow, request, pool, rng).endpoint.id for request in requests}) == 1
    assert len({choose(deep, request, pool, rng).endpoint.id for request in requests}) == 8


def test_without_a_key_bounded_load_takes_the_least_busy() -> None:
    pool = pool_of(fleet_of(2))
    load(pool.routable[0], 1)
    decision = choose(BoundedLoad().bind(), request_of(), pool, Random(1))
    assert (decision.endpoint.id, decision.reason) == ("e01", Reason.POLICY)


def test_a_ring_shares_keys_about_evenly() -> None:
    pool, chooser, rng = pool_of(fleet_of(4)), BoundedLoad(epsilon=100.0).bind(), Random(3)
    homes = Counter(
        choose(chooser, request_of(prompt_of(rng.getrandbits(64))), pool, rng).endpoint.id
        for _ in range(2000)
    )
    assert all(350 < count < 650 for count in homes.values())
