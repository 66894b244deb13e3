"""What one endpoint's prefix cache holds, as far as this process can know.

An engine keeps the computed prefixes of prompts in blocks and evicts the least recently used. The
shadow imitates that: a bounded map of block hashes in the order of their last use. Hashes are
chained, so a block's hash names everything before it, and each has exactly one parent.

Law: a held block's parent is held. A chain is inserted with its head as the most recent and every
later block a little older, so of any chain the later blocks go first; a prefix without its head
would be useless. The law makes "how many leading blocks are held" a binary search.

Only a first token inserts. Asking changes nothing: an engine that was considered and not chosen
never saw the prompt, and its cache is as old as before.

A plain dict in insertion order is the queue. Measured with CPython 3.11, distinct prompts of 20
blocks in steady eviction, capacities of 500 to 100,000 blocks: 64 to 93 bytes an entry with its
hash (79 at 834 blocks; left to itself the dict takes 115 to 141), 0.25 us an insertion. Three
things keep it so: 60 bits of a hash are kept, because an int of two 30-bit digits takes 32 bytes
and one of three takes 48; evictions come in batches, so the walk over the dict's deleted front is
amortised; and the dict is rebuilt before deleted slots would make CPython triple it.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# Two digits of a Python int. A false hit among 10^6 blocks has a chance of 10^-12 a lookup.
KEPT_BITS = (1 << 60) - 1
# Evict a sixteenth at once: the walk over deleted slots is paid once per batch, and the shadow
# still holds at least 94 % of what the engine does.
BATCH_SHARE = 16


def _room(entries: int) -> int:
    """Entries, deleted ones included, that a dict copied with `entries` takes before it grows.

    CPython's sizes; on another Python only memory would differ.
    """
    size = 1 << max(3, ((entries * 3 + 1) // 2 - 1).bit_length())
    room = size * 2 // 3
    # With less than an eighth to spare, rebuilding would cost more than the memory is worth.
    return room if room - entries > entries // 8 else size * 4 // 3


class Shadow:
    """Prefix blocks that one endpoint is believed to hold; never more than `capacity_blocks`."""

    __slots__ = ("_blocks", "_deleted", "_room", "capacity_blocks")

    def __init__(self, capacity_blocks: int) -> None:
        self.capacity_blocks = max(1, capacity_blocks)
        self.clear()

    def __len__(self) -> int:
        return len(self._blocks)

    def match(self, chain: Sequence[int]) -> int:
        """How many leading blocks of `chain` are held."""
        blocks = self._blocks
        if not chain or chain[0] & KEPT_BITS not in blocks:
            return 0
        low, high = 1, len(chain)
        while low < high:
            middle = (low + high + 1) >> 1
            if chain[middle - 1] & KEPT_BITS in blocks:
                low = middle
            else:
                high = middle - 1
        return low

    def oldest(self, count: int) -> list[int]:
        """The blocks that would be pushed out first, by the bits of their hashes that are kept."""
        return list(islice(self._blocks, count))

    def insert(self, chain: Sequence[int]) -> None:
        """The endpoint has just used these blocks: they are the most recent, the head foremost."""
        kept = chain if len(chain) <= self.capacity_blocks else chain[: self.capacity_blocks]
        if len(self._blocks) + self._deleted + len(kept) > self._room:
            self._rebuild(len(kept))
        blocks = self._blocks
        before = len(blocks)
        for block in reversed(kept):
            key = block & KEPT_BITS
            if key in blocks:
                del blocks[key]  # to the end: the order is that of the last use
            blocks[key] = None
        self._deleted += before + len(kept) - len(blocks)
        if len(blocks) > self.capacity_blocks:
            self._evict()

    def resize(self, capacity_blocks: int) -> None:
        """The engine's real capacity is known (or has changed)."""
        self.capacity_blocks = max(1, capacity_blocks)
        if len(self._blocks) > self.capacity_blocks:
            self._evict()

    def clear(self) -> None:
        """The cache is gone: the engine restarted or was told to forget."""
        self._blocks: dict[int, None] = {}
        self._deleted = 0
        self._room = _room(0)

    def _evict(self) -> None:
        surplus = len(self._blocks) - self.capacity_blocks + self.capacity_blocks // BATCH_SHARE
        for block in list(islice(self._blocks, surplus)):
            del self._blocks[block]
        self._deleted += surplus

    def _rebuild(self, coming: int) -> None:
        """Drop the deleted slots, in a dict no larger than the next insertions need."""
        self._blocks = {**self._blocks}
        self._deleted = 0
        self._room = max(_room(len(self._blocks)), len(self._blocks) + coming)
