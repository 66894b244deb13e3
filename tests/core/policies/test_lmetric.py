"""LMetric multiplies tokens to prefill with requests in flight, on cases computed by hand."""

from __future__ import annotations

from random import Random

from cardan.policies import LMetric

from tests.core.policies.build import choose, fleet_of, load, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(11, 15))  # 2,048 tokens, of which the last is never cached


def test_a_cached_prefix_outweighs_a_larger_batch() -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    load(warm, 1, tokens_each=500.0)
    # cold: 2,048 x 1; warm: (500 + 1) x 2
    assert choose(LMetric().bind(), request_of(PROMPT), pool, Random(1)).endpoint is warm


def test_tokens_that_wait_there_count_like_those_of_the_prompt() -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    load(warm, 1, tokens_each=1_100.0)
    # cold: 2,048 x 1; warm: (1,100 + 1) x 2
    assert choose(LMetric().bind(), request_of(PROMPT), pool, Random(1)).endpoint.id == "e00"


def test_requests_that_have_answered_count_as_batch_alone() -> None:
    pool = pool_of(fleet_of(2))
    pool.routable[1].load.in_flight = 2
    pool.routable[1].shadow.insert(PROMPT.chain[:3])  # 512 left
    # cold: 2,048 x 1; warm: 512 x 3, then 512 x 5
    assert choose(LMetric().bind(), request_of(PROMPT), pool, Random(1)).endpoint.id == "e01"
    pool.routable[1].load.in_flight = 4
    assert choose(LMetric().bind(), request_of(PROMPT), pool, Random(1)).endpoint.id == "e00"
