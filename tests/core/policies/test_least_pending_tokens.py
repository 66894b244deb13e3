"""Least pending tokens counts what prompts cost, on cases computed by hand."""

from __future__ import annotations

from random import Random

from cardan.decision import Reason
from cardan.instants import Monotonic
from cardan.policies import LeastPendingTokens

from tests.core.policies.build import NOW, choose, fleet_of, load, pool_of, request_of


def test_many_short_prompts_weigh_less_than_a_long_one() -> None:
    pool = pool_of(fleet_of(2))
    load(pool.routable[0], 1, tokens_each=10_000.0)
    load(pool.routable[1], 9, tokens_each=1_000.0)
    decision = choose(LeastPendingTokens().bind(), request_of(), pool, Random(1))
    assert (decision.endpoint.id, decision.reason) == ("e01", Reason.POLICY)


def test_a_prompt_counts_until_its_first_token() -> None:
    pool = pool_of(fleet_of(2))
    (long,) = load(pool.routable[0], 1, tokens_each=10_000.0)
    load(pool.routable[1], 1, tokens_each=1_000.0)
    long.first_token(Monotonic(NOW + 1))
    assert choose(LeastPendingTokens().bind(), request_of(), pool, Random(1)).endpoint.id == "e00"


def test_an_answer_that_is_not_streamed_drains_at_the_rate_of_its_endpoint() -> None:
    pool, chooser = pool_of(fleet_of(2)), LeastPendingTokens().bind()
    load(pool.routable[0], 1, tokens_each=10_000.0, stream=False)  # a second's work
    load(pool.routable[1], 1, tokens_each=4_000.0)
    soon, later = Monotonic(NOW + 0.5), Monotonic(NOW + 0.7)  # 5,000 and 3,000 are left
    assert choose(chooser, request_of(), pool, Random(1), soon).endpoint.id == "e01"
    assert choose(chooser, request_of(), pool, Random(1), later).endpoint.id == "e00"


def test_equals_are_chosen_alike() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), LeastPendingTokens().bind(), Random(1)
    load(pool.routable[1], 1, tokens_each=1.0)
    chosen = [str(choose(chooser, request_of(), pool, rng).endpoint.id) for _ in range(400)]
    assert abs(chosen.count("e00") - 200) < 40  # 4 sigma
    assert "e01" not in chosen
