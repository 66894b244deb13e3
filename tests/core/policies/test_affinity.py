"""Affinity: a key has one owner, whatever its load; the key is as long as its prefix is hot."""

from __future__ import annotations

from random import Random

import pytest
from cardan.candidates import AnyMapping, Rendezvous, Rings
from cardan.decision import Reason
from cardan.policies import Affinity, DualMap

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


def test_the_owner_keeps_its_prefix_however_busy_it_is() -> None:
    pool, chooser, rng = pool_of(fleet_of(4)), Affinity().bind(), Random(1)
    first = choose(chooser, request_of(prompt_of(7, 8)), pool, rng)
    load(first.endpoint, 100, tokens_each=10_000.0)
    again = choose(chooser, request_of(prompt_of(7, 9)), pool, rng)
    assert again.endpoint is first.endpoint
    assert (again.reason, again.key, again.depth) == (Reason.AFFINITY, 7, 1)


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings()])
def test_the_owner_is_the_first_candidate_of_dualmap(mapping: AnyMapping) -> None:
    pool, rng = pool_of(fleet_of(9)), Random(1)
    one, two = Affinity(mapping=mapping).bind(), DualMap(mapping=mapping).bind()
    for number in range(50):
        request = request_of(prompt_of(number, number + 1))
        first = choose(two, request, pool, rng).candidates[0]
        assert choose(one, request, pool, rng).endpoint is first.endpoint


def test_a_prefix_that_everybody_shares_is_spread_by_what_follows() -> None:
    pool, chooser, rng = pool_of(fleet_of(8)), Affinity().bind(), Random(1)
    decisions = [
        choose(chooser, request_of(prompt_of(1, 2, 1000 + number)), pool, rng)
        for number in range(800)
    ]
    assert len({decision.endpoint.id for decision in decisions}) == 8
    assert decisions[-1].depth == 3


def test_an_owner_that_leaves_gives_up_its_own_keys_alone() -> None:
    fleet = fleet_of(8)
    rng, before = Random(1), {}
    chooser = Affinity().bind()
    for key in range(100):
        request = request_of(prompt_of(key))
        before[key] = choose(chooser, request, pool_of(fleet), rng).endpoint.id
    fleet.update([endpoint(number) for number in range(7)], NOW)
    for key in range(100):
        after = choose(chooser, request_of(prompt_of(key)), pool_of(fleet), rng).endpoint.id
        assert after == before[key] or before[key] == "e07"


def test_a_request_without_a_prompt_goes_anywhere() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), Affinity().bind(), Random(1)
    chosen = {choose(chooser, request_of(), pool, rng).endpoint.id for _ in range(60)}
    assert len(chosen) == 3
