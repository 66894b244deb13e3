"""Laws of the shadow: bounded, prefix-closed, and an exact LRU but for the size of its batches."""

from __future__ import annotations

from cardan.shadow import BATCH_SHARE, Shadow
from hypothesis import given
from hypothesis import strategies as st

# Prefixes are tuples over a small alphabet; a block stands for the whole path to it, as chained
# hashes do, so shared beginnings share blocks.
paths = st.lists(st.integers(0, 2), min_size=0, max_size=6).map(tuple)


def chained(path: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks of a path: each one a number that encodes everything before it."""
    blocks, value = [], 1
    for step in path:
        value = value * 4 + step
        blocks.append(value)
    return tuple(blocks)


class Model:
    """The plainest LRU: blocks in a list, the most recent last."""

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.blocks: list[int] = []

    def insert(self, chain: tuple[int, ...]) -> None:
        for block in reversed(chain[: self.capacity]):
            if block in self.blocks:
                self.blocks.remove(block)
            self.blocks.append(block)
        if len(self.blocks) > self.capacity:
            surplus = len(self.blocks) - self.capacity + self.capacity // BATCH_SHARE
            del self.blocks[:surplus]

    def match(self, chain: tuple[int, ...]) -> int:
        held = 0
        while held < len(chain) and chain[held] in self.blocks:
            held += 1
        return held


@given(st.integers(1, 40), st.lists(paths, max_size=60), paths)
def test_it_answers_as_the_plainest_lru_does(
    capacity: int, inserted: list[tuple[int, ...]], asked: tuple[int, ...]
) -> None:
    shadow, model = Shadow(capacity), Model(capacity)
    for path in inserted:
        shadow.insert(chained(path))
        model.insert(chained(path))
        assert len(shadow) == len(model.blocks) <= capacity
    assert shadow.match(chained(asked)) == model.match(chained(asked))


@given(st.integers(1, 40), st.lists(paths, max_size=60), st.lists(st.integers(1, 40), max_size=3))
def test_the_parent_of_a_held_block_is_held(
    capacity: int, inserted: list[tuple[int, ...]], sizes: list[int]
) -> None:
    shadow = Shadow(capacity)
    for number, path in enumerate(inserted):
        shadow.insert(chained(path))
        if sizes and number % 7 == 6:
            shadow.resize(sizes[number % len(sizes)])
    for path in inserted:
        chain = chained(path)
        held = [shadow.match(chain[: length + 1]) == length + 1 for length in range(len(chain))]
        assert held == sorted(held, reverse=True)
