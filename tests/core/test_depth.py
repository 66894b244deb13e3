"""The depth controller: a hot prefix's key grows until nothing it names is hot, and shrinks late.

Chains here are paths of small integers: the block hashes of a real chain are as unique.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.depth import DepthConfig, DepthController
from cardan.instants import Monotonic
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from collections.abc import Iterator

NOW = Monotonic(1000.0)
N = 8


def unique() -> Iterator[int]:
    """Blocks that no other prompt has."""
    return itertools.count(1_000_000)


def path(name: int, blocks: int) -> tuple[int, ...]:
    """The blocks of one system prompt."""
    return tuple(range(name * 1000, name * 1000 + blocks))


def test_prompts_that_share_nothing_stay_at_the_first_block() -> None:
    depth, fresh = DepthController(), unique()
    assert {depth.observe((next(fresh), next(fresh)), N, NOW) for _ in range(3000)} == {1}


def test_a_block_common_to_all_moves_the_key_behind_it() -> None:
    depth, fresh = DepthController(), unique()
    depths = [depth.observe((7, next(fresh), next(fresh)), N, NOW) for _ in range(100)]
    assert depths == [1] * 19 + [2] * 81


def test_a_long_system_prompt_is_passed_in_one_step() -> None:
    depth, fresh = DepthController(), unique()
    prompt = path(1, 6)
    depths = [depth.observe((*prompt, next(fresh), next(fresh)), N, NOW) for _ in range(100)]
    assert depths == [1] * 19 + [7] * 81


def test_two_system_prompts_behind_one_block_get_their_own_depths() -> None:
    """The published tool trace: very hot prompts of 6 and of 13 blocks (arXiv 2602.06502)."""
    depth, fresh = DepthController(), unique()
    prompts = (0, *path(1, 5)), (0, *path(2, 12))
    seen = [
        (which, depth.observe((*prompts[which], next(fresh)), N, NOW))
        for which in random.Random(1).choices((0, 1), k=400)
    ]
    assert set(seen[200:]) == {(0, 7), (1, 14)}


def test_one_stranger_does_not_stop_the_step_for_all_the_others() -> None:
    depth, fresh = DepthController(), unique()
    for _ in range(20):
        for _ in range(14):
            depth.observe((*path(1, 6), next(fresh)), N, NOW)
        depth.observe((1000, next(fresh)), N, NOW)
    assert depth.observe((*path(1, 6), next(fresh)), N, NOW) == 7


def test_a_share_between_both_bounds_keeps_the_depth_it_has() -> None:
    """On ten endpoints: 30 % is hot, 15 % is neither, 5 % is cold."""
    rng = random.Random(1)
    depth, fresh = DepthController(), unique()

    def run(share: float) -> int:
        last = 0
        for _ in range(3000):
            if rng.random() < share:
                last = depth.observe((7, next(fresh)), 10, NOW)
            else:
                depth.observe((next(fresh), next(fresh)), 10, NOW)
        return last

    assert [run(share) for share in (0.15, 0.30, 0.15, 0.05, 0.15)] == [1, 2, 2, 1, 1]


@pytest.mark.parametrize("n", [1, 2])
def test_a_fleet_of_one_or_two_shares_every_key(n: int) -> None:
    depth, fresh = DepthController(), unique()
    assert {depth.observe((7, next(fresh)), n, NOW) for _ in range(500)} == {1}


def test_a_fleet_that_grows_spreads_what_was_fine_before() -> None:
    depth, fresh = DepthController(), unique()
    small = [depth.observe((7, next(fresh)), 2, NOW) for _ in range(100)]
    grown = [depth.observe((7, next(fresh)), 8, NOW) for _ in range(100)]
    assert (small[-1], grown[0]) == (1, 2)


def test_a_prompt_that_ends_in_its_hot_part_has_its_last_block_as_key() -> None:
    depth = DepthController()
    prompt = path(1, 3)
    assert [depth.observe(prompt, N, NOW) for _ in range(30)][-1] == 3
    assert depth.observe(prompt[:2], N, NOW) == 2


def test_an_unknown_prompt_has_no_depth() -> None:
    assert DepthController().observe((), N, NOW) == 0


def test_few_arrivals_prove_nothing() -> None:
    depth = DepthController(DepthConfig(min_count=50))
    assert {depth.observe((7, 8), N, NOW) for _ in range(49)} == {1}
    assert depth.observe((7, 8), N, NOW) == 2


def test_what_was_hot_long_ago_is_forgotten() -> None:
    depth, fresh = DepthController(), unique()
    for _ in range(100):
        depth.observe((7, next(fresh)), N, NOW)
    assert depth.observe((7, next(fresh)), N, NOW) == 2
    for later_s in (601.0, 1202.0):
        depth.observe((next(fresh),), N, Monotonic(NOW + later_s))
    assert depth.observe((7, next(fresh)), N, Monotonic(NOW + 1203.0)) == 1


def test_memory_is_bounded_by_the_window() -> None:
    config = DepthConfig()
    depth, fresh = DepthController(config), unique()
    for arrival in range(20_000):
        shared = path(arrival % 3, 20)
        depth.observe((*shared, *(next(fresh) for _ in range(40))), N, NOW)
        assert len(depth) <= config.min_window + 2 * 3 * 21
        assert len(depth._paths) <= N


def test_the_window_grows_with_the_fleet() -> None:
    """At n = 100 a node of 3 % is hot; 6,000 arrivals tell it from one of 1 %."""
    rng = random.Random(1)
    depth, fresh = DepthController(), unique()
    last: dict[int, int] = {}
    for _ in range(12_000):
        name = rng.choices((3, 1, 0), (0.03, 0.01, 0.96))[0] or next(fresh)
        last[name if name < 10 else 0] = depth.observe((name, next(fresh)), 100, NOW)
    assert last == {3: 2, 1: 1, 0: 1}


def test_no_key_is_left_with_much_more_than_two_nths_of_the_traffic() -> None:
    """Zipf-like system prompts of several lengths, each with many users."""
    rng = random.Random(2)
    depth, fresh = DepthController(), unique()
    weights = [1 / (rank + 1) for rank in range(40)]
    keys: Counter[int] = Counter()
    for arrival in range(6000):
        name = rng.choices(range(1, 41), weights)[0]
        chain = (0, *path(name, 1 + name % 7), next(fresh))
        reached = depth.observe(chain, N, NOW)
        if arrival >= 2000:
            keys[chain[reached - 1]] += 1
    assert max(keys.values()) / keys.total() < 2 / N * 1.1


def test_replicas_that_see_samples_of_one_traffic_agree() -> None:
    rng = random.Random(3)
    replicas = [DepthController(), DepthController()]
    fresh = unique()
    agreements = []
    for arrival in range(6000):
        name = rng.choices((1, 2, 3, 4), (0.45, 0.35, 0.05, 0.15))[0]  # hot above 0.25
        chain = (0, *path(name, 4), next(fresh))
        one, other = rng.sample(replicas, 2)
        reached = one.observe(chain, N, NOW)
        if arrival >= 3000 and arrival % 10 == 0:
            agreements.append(other.observe(chain, N, NOW) == reached)
    assert agreements.count(True) / len(agreements) > 0.97


# Not even chained: blocks that collide must do no harm.
chains = st.lists(st.integers(0, 3), max_size=6).map(tuple)
arrivals = st.lists(st.tuples(chains, st.integers(1, 20), st.floats(0, 1e4)), max_size=120)


@given(arrivals)
def test_the_same_arrivals_give_the_same_depths_and_none_beyond_the_chain(
    arrivals: list[tuple[tuple[int, ...], int, float]],
) -> None:
    config = DepthConfig(min_window=20, window_per_endpoint=0, min_count=2)
    one, other = DepthController(config), DepthController(config)
    for chain, n, later_s in arrivals:
        reached = one.observe(chain, n, Monotonic(NOW + later_s))
        assert reached == other.observe(chain, n, Monotonic(NOW + later_s))
        assert min(1, len(chain)) <= reached <= len(chain)


def test_it_says_what_it_holds() -> None:
    depth = DepthController()
    depth.observe((1, 2), N, NOW)
    assert repr(depth) == "<DepthController hot=0 counted=1>"


@pytest.mark.parametrize(
    "wrong", [{"hot_share": 0}, {"min_window": 1}, {"max_age_s": 0}, {"hot": 2}], ids=str
)
def test_a_wrong_configuration_fails_at_start(wrong: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, DepthConfig)
