"""Mooncake's algorithm 1, on cases computed by hand.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens; the prompt has 4,096, 0.44 s with attention.
"""

from __future__ import annotations

from random import Random

import pytest
from cardan.policies import MinTtft, Mooncake

from tests.core.policies.build import choose, fleet_of, load, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(11, 19))
FAST = Mooncake(transfer_tokens_per_s=95_000.0)


def test_without_a_shared_store_it_is_min_ttft() -> None:
    for queue in (0.0, 2_000.0, 4_000.0, 5_000.0):
        chosen = []
        for policy in (Mooncake(), MinTtft()):
            pool = pool_of(fleet_of(2))
            pool.routable[1].shadow.insert(PROMPT.chain)
            load(pool.routable[1], 1, tokens_each=queue)
            decision = choose(policy.bind(), request_of(PROMPT), pool, Random(1))
            chosen.append((decision.endpoint.id, decision.chosen.ttft_s))
        assert chosen[0] == chosen[1]


def test_an_idle_endpoint_fetches_what_a_busy_one_holds() -> None:
    pool = pool_of(fleet_of(2))
    holder = pool.routable[1]
    holder.shadow.insert(PROMPT.chain)
    load(holder, 1, tokens_each=1_000.0)
    assert choose(Mooncake().bind(), request_of(PROMPT), pool, Random(1)).endpoint is holder
    decision = choose(FAST.bind(), request_of(PROMPT), pool, Random(1))
    assert decision.endpoint.id == "e00"
    assert decision.chosen.hit_tokens == 4_095
    assert decision.chosen.ttft_s == pytest.approx(0.02 + 4_095 / 95_000, abs=1e-3)


@pytest.mark.parametrize(("held", "hit"), [(4, 2_048.0), (3, 4_095.0)])
def test_it_fetches_only_if_the_best_is_longer_by_the_threshold(held: int, hit: float) -> None:
    pool = pool_of(fleet_of(2))
    holder = pool.routable[1]
    holder.shadow.insert(PROMPT.chain)
    load(holder, 1, tokens_each=50_000.0)
    pool.routable[0].shadow.insert(PROMPT.chain[:held])  # 4,095 is below 2 x 2,048, above 2 x 1,536
    decision = choose(FAST.bind(), request_of(PROMPT), pool, Random(1))
    assert (decision.endpoint.id, decision.chosen.hit_tokens) == ("e00", hit)


def test_a_slow_store_sends_the_prompt_to_its_holder() -> None:
    pool = pool_of(fleet_of(2))
    holder = pool.routable[1]
    holder.shadow.insert(PROMPT.chain)
    load(holder, 1, tokens_each=10_000.0)
    slow = Mooncake(transfer_tokens_per_s=1_000.0)  # 4.1 s
    assert choose(slow.bind(), request_of(PROMPT), pool, Random(1)).endpoint is holder
