"""Min-TTFT takes the least prediction of all, on cases computed by hand.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens.
"""

from __future__ import annotations

from random import Random

from cardan.instants import Monotonic
from cardan.policies import MinTtft

from tests.core.policies.build import NOW, choose, fleet_of, load, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(11, 15))  # 2,048 tokens: 0.21 s with attention


def test_a_warm_endpoint_is_left_when_its_queue_is_longer_than_the_prompt() -> None:
    pool, chooser = pool_of(fleet_of(3)), MinTtft().bind()
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    load(warm, 1, tokens_each=2_000.0)
    load(pool.routable[2], 1, tokens_each=1.0)
    decision = choose(chooser, request_of(PROMPT), pool, Random(1))
    assert decision.endpoint is warm  # 0.22 s, where the idle one takes 0.23
    load(warm, 1, tokens_each=200.0)
    assert choose(chooser, request_of(PROMPT), pool, Random(1)).endpoint.id == "e00"


def test_it_looks_at_every_endpoint() -> None:
    pool, chooser = pool_of(fleet_of(40)), MinTtft().bind()
    for state in pool.routable:
        load(state, 1, tokens_each=100.0 if state.id == "e33" else 200.0)
    assert choose(chooser, request_of(PROMPT), pool, Random(1)).endpoint.id == "e33"


def test_a_slower_endpoint_takes_longer_for_the_same_queue() -> None:
    pool, chooser = pool_of(fleet_of(2)), MinTtft().bind()
    for number in range(30):
        pool.routable[0].speed.line.observe(0.0, 1_000.0, 0.2, pool_now(number))
    assert choose(chooser, request_of(PROMPT), pool, Random(1)).endpoint.id == "e01"


def pool_now(number: int) -> Monotonic:
    """A second after the other."""
    return Monotonic(NOW + number)
