"""The shadow holds what an LRU prefix cache of that size would, and never a block without its head.

The laws compare it with the plainest model: a list of blocks, the most recent last.
"""

from __future__ import annotations

import sys
from random import Random

import pytest
from cardan.shadow import BATCH_SHARE, Shadow


def chain(name: int, length: int) -> tuple[int, ...]:
    """A chain of distinct blocks; chains of different names share nothing."""
    return tuple(name * 1000 + block for block in range(length))


def test_an_empty_shadow_matches_nothing() -> None:
    assert Shadow(8).match((1, 2, 3)) == 0


def test_an_empty_chain_matches_nothing() -> None:
    shadow = Shadow(8)
    shadow.insert(())
    assert shadow.match(()) == 0
    assert len(shadow) == 0


def test_it_counts_leading_blocks_only() -> None:
    shadow = Shadow(8)
    shadow.insert((1, 2, 3))
    assert shadow.match((1, 2, 3, 4)) == 3
    assert shadow.match((1, 2, 9)) == 2
    assert shadow.match((9, 2, 3)) == 0


@pytest.mark.parametrize("held", range(65))
def test_every_length_of_a_long_chain_is_found(held: int) -> None:
    long = chain(1, 64)
    shadow = Shadow(100)
    shadow.insert(long[:held])
    assert shadow.match(long) == held


def test_the_least_recently_used_chain_goes_first() -> None:
    shadow = Shadow(6)
    shadow.insert(chain(1, 3))
    shadow.insert(chain(2, 3))
    shadow.insert(chain(1, 3))
    shadow.insert(chain(3, 3))
    assert [shadow.match(chain(name, 3)) for name in (1, 2, 3)] == [3, 0, 3]


def test_of_a_chain_the_later_blocks_go_first() -> None:
    shadow = Shadow(6)
    shadow.insert(chain(1, 4))
    shadow.insert(chain(2, 4))
    assert shadow.match(chain(1, 4)) == 2
    assert shadow.match(chain(2, 4)) == 4


def test_asking_refreshes_nothing() -> None:
    shadow = Shadow(4)
    shadow.insert(chain(1, 2))
    shadow.insert(chain(2, 2))
    shadow.match(chain(1, 2))
    shadow.insert(chain(3, 2))
    assert shadow.match(chain(1, 2)) == 0


def test_a_chain_longer_than_the_cache_keeps_its_head() -> None:
    shadow = Shadow(3)
    shadow.insert(chain(1, 10))
    assert shadow.match(chain(1, 10)) == 3


def test_a_smaller_capacity_evicts_at_once_and_a_larger_one_keeps_all() -> None:
    shadow = Shadow(8)
    shadow.insert(chain(1, 4))
    shadow.insert(chain(2, 4))
    shadow.resize(4)
    assert (len(shadow), shadow.match(chain(2, 4))) == (4, 4)
    shadow.resize(100)
    assert shadow.match(chain(2, 4)) == 4


def test_the_oldest_are_those_that_go_next() -> None:
    shadow = Shadow(6)
    shadow.insert(chain(1, 3))
    shadow.insert(chain(2, 3))
    shadow.insert(chain(1, 2))
    assert shadow.oldest(2) == [1002, 2002]
    assert shadow.oldest(99) == [1002, 2002, 2001, 2000, 1001, 1000]
    shadow.resize(4)
    assert shadow.oldest(1) == [2001]


def test_a_cleared_shadow_holds_nothing() -> None:
    shadow = Shadow(8)
    shadow.insert((1, 2))
    shadow.clear()
    assert (len(shadow), shadow.match((1, 2))) == (0, 0)


@pytest.mark.parametrize("capacity", [834, 2344, 26_000])
def test_an_entry_costs_at_most_90_bytes_in_steady_eviction(capacity: int) -> None:
    shadow, rng = Shadow(capacity), Random(1)
    for number in range(3 * capacity // 20):
        fresh = [rng.getrandbits(64) for _ in range(20)]
        shadow.insert(fresh)
        if number % 2:  # touched again, as warm prompts are
            shadow.insert(fresh)
    blocks = shadow._blocks
    size = sys.getsizeof(blocks) + sum(-(-sys.getsizeof(block) // 16) * 16 for block in blocks)
    assert capacity - capacity // BATCH_SHARE <= len(blocks) <= capacity
    assert size / len(blocks) <= 90


def test_touching_one_chain_forever_takes_no_more_memory() -> None:
    shadow = Shadow(834)
    for _ in range(10_000):
        shadow.insert(chain(1, 64))
    assert (len(shadow), shadow.match(chain(1, 64))) == (64, 64)
    assert sys.getsizeof(shadow._blocks) <= 64 * 90
