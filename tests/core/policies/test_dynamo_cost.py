"""Dynamo's cost in KV blocks, on cases computed by hand; and its softmax."""

from __future__ import annotations

from math import exp
from random import Random

import pytest
from cardan.policies import DynamoCost

from tests.core.policies.build import choose, fleet_of, load, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(11, 15))  # four blocks of 512 tokens


@pytest.mark.parametrize(
    ("policy", "context_blocks", "pending_blocks", "chosen"),
    [
        # The cold and idle one costs 4 blocks to compute and 4 in use.
        (DynamoCost(), 3, 0, "e01"),  # 0 + 7
        (DynamoCost(), 5, 0, "e00"),  # 0 + 9
        (DynamoCost(), 0, 3, "e01"),  # 3 + 4
        (DynamoCost(), 0, 5, "e00"),  # 5 + 4
        (DynamoCost(), 2, 1, "e01"),  # 1 + 6
        (DynamoCost(), 2, 3, "e00"),  # 3 + 6
        (DynamoCost(overlap_credit=0.5), 1, 0, "e01"),  # 2 + 5
        (DynamoCost(overlap_credit=0.5), 3, 0, "e00"),  # 2 + 7
        (DynamoCost(prefill_load_scale=2.0), 7, 0, "e01"),  # 0 + 11 against 8 + 4
        (DynamoCost(active_request_weight=9.0), 0, 1, "e00"),  # 1 + 4 + 9
    ],
)
def test_the_least_cost_is_chosen(
    policy: DynamoCost, context_blocks: int, pending_blocks: int, chosen: str
) -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    warm.load.context_tokens = context_blocks * 512.0
    if pending_blocks:
        load(warm, 1, tokens_each=pending_blocks * 512.0)
    assert choose(policy.bind(), request_of(PROMPT), pool, Random(1)).endpoint.id == chosen


def test_credit_is_never_worth_more_than_there_is_to_compute() -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    warm.load.context_tokens = 5 * 512.0
    policy = DynamoCost(overlap_credit=3.0)
    # 0 + 9 and not -8 + 9, against 4 + 4
    assert choose(policy.bind(), request_of(PROMPT), pool, Random(1)).endpoint.id == "e00"


@pytest.mark.parametrize("temperature", [0.3, 1.0, 3.0])
def test_above_zero_the_cheapest_is_likelier_by_a_softmax(temperature: float) -> None:
    pool, rng = pool_of(fleet_of(3)), Random(1)
    for blocks, state in enumerate(pool.routable):
        state.load.context_tokens = blocks * 512.0  # costs 8, 9 and 10: scaled to 0, 0.5 and 1
    chooser = DynamoCost(temperature=temperature).bind()
    chosen = [str(choose(chooser, request_of(PROMPT), pool, rng).endpoint.id) for _ in range(3000)]
    weights = [exp(-cost / temperature) for cost in (0.0, 0.5, 1.0)]
    for number, weight in enumerate(weights):
        expected = 3000 * weight / sum(weights)
        assert abs(chosen.count(f"e0{number}") - expected) < 110  # 4 sigma


def test_equal_costs_are_chosen_alike_at_any_temperature() -> None:
    pool, rng = pool_of(fleet_of(2)), Random(1)
    for policy in (DynamoCost(), DynamoCost(temperature=1e-9)):
        chooser = policy.bind()
        chosen = [
            str(choose(chooser, request_of(PROMPT), pool, rng).endpoint.id) for _ in range(400)
        ]
        assert abs(chosen.count("e00") - 200) < 40  # 4 sigma
