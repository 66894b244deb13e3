"""Load-aware scores a cached share against relative load, on cases computed by hand."""

from __future__ import annotations

from random import Random

import pytest
from cardan.policies import LoadAware

from tests.core.policies.build import choose, fleet_of, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(11, 15))


@pytest.mark.parametrize(
    ("beta", "warm_load", "chosen"),
    [
        # Mean 2: the warm one's 4 are 100 % above, which costs beta; the cold one's 0 earn it.
        (0.5, 4, "e00"),  # 1 - 0.5 and 0 + 0.5 are equal but for the last token
        (0.49, 4, "e01"),
        (1.0, 4, "e00"),
        # Below a mean of one, loads are taken as they are: 0.5 and -0.5 for one request.
        (0.9, 1, "e01"),  # 1 - 0.45 and 0 + 0.45
        (1.1, 1, "e00"),  # 1 - 0.55 and 0 + 0.55
        (0.0, 1000, "e01"),
    ],
)
def test_beta_is_what_load_costs(beta: float, warm_load: int, chosen: str) -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain)
    warm.load.in_flight = warm_load
    decision = choose(LoadAware(beta=beta).bind(), request_of(PROMPT), pool, Random(1))
    assert decision.endpoint.id == chosen


def test_half_of_a_prompt_is_worth_half() -> None:
    pool = pool_of(fleet_of(2))
    warm = pool.routable[1]
    warm.shadow.insert(PROMPT.chain[:2])
    warm.load.in_flight, pool.routable[0].load.in_flight = 9, 6  # mean 7.5: 0.2 each way
    chooser = LoadAware().bind()
    assert choose(chooser, request_of(PROMPT), pool, Random(1)).endpoint is warm  # 0.3 and 0.2
    warm.load.in_flight = 12  # mean 9, a third each way: 0.17 and 0.33
    assert choose(chooser, request_of(PROMPT), pool, Random(1)).endpoint is not warm
