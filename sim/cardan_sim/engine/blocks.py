"""The paged KV cache and its prefix index.

KV memory is cut in blocks of `block_size` tokens. A block that is full has a name: the hash of
its tokens and of the block before it, so one name stands for the whole prefix up to it, and equal
prefixes have equal names whoever computed them. Named blocks are shared by counting references.
When the last holder lets go, the block stays where it is, idle, and can be found again until
memory is short: then the idle block that was let go longest ago is evicted first. A request's own
blocks are let go from its last to its first, so a prefix outlives its continuations.

Every block is in exactly one state:

    free      nothing in it
    private   held by one request, not full, or full with a name that another block has already
    shared    named and held by at least one request
    idle      named and held by none: cached, and the next to go when memory is short
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import xxhash

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable, Sequence


def name_blocks(ids: array[int], block_size: int, *, parent: int = 0, start: int = 0) -> list[int]:
    """Chained 64-bit names of the full blocks of `ids` from token `start` on.

    `parent` is the name of the block before `start`, or the seed that keeps tenants apart.
    """
    raw = memoryview(ids).cast("B")
    width = block_size * ids.itemsize
    names = []
    for end in range(start * ids.itemsize + width, len(raw) + 1, width):
        parent = xxhash.xxh3_64_intdigest(raw[end - width : end], parent)
        names.append(parent)
    return names


class BlockCache:
    """Blocks by state; all counts are in blocks.

    `heard`, if there is one, is told of names that are stored and of names that are gone, as an
    engine publishes its KV events.
    """

    def __init__(self, total: int) -> None:
        """An empty cache of `total` blocks."""
        self.total: Final = total
        self.private = 0
        self.evicted = 0
        self.heard: Callable[[Sequence[int], Sequence[int]], object] | None = None
        self._holders: dict[int, int] = {}
        self._idle: OrderedDict[int, None] = OrderedDict()

    @property
    def named(self) -> int:
        """Blocks that a later request could find: shared and idle."""
        return len(self._holders)

    @property
    def idle(self) -> int:
        """Named blocks without a holder."""
        return len(self._idle)

    @property
    def free(self) -> int:
        """Blocks with nothing in them."""
        return self.total - self.named - self.private

    @property
    def used(self) -> int:
        """Blocks held by requests: private and shared."""
        return self.private + self.named - self.idle

    @property
    def available(self) -> int:
        """Blocks that `take` could hand out now, evicting if need be."""
        return self.free + self.idle

    def __contains__(self, name: int) -> bool:
        return name in self._holders

    def match(self, names: Sequence[int]) -> int:
        """How many of the leading `names` are cached."""
        holders = self._holders
        for depth, name in enumerate(names):
            if name not in holders:
                return depth
        return len(names)

    def idle_among(self, names: Iterable[int]) -> int:
        """How many of `names` are idle: holding them takes them from what is available."""
        return sum(map(self._idle.__contains__, names))

    def hold(self, names: Iterable[int]) -> None:
        """Add a holder to cached blocks; KeyError if one is not cached."""
        holders, idle = self._holders, self._idle
        for name in names:
            holders[name] += 1
            idle.pop(name, None)

    def take(self, count: int) -> bool:
        """Make `count` private blocks, evicting the longest idle; False changes nothing."""
        if count > self.available:
            return False
        surplus = max(0, count - self.free)
        pop, holders = self._idle.popitem, self._holders
        gone = [pop(last=False)[0] for _ in range(surplus)]
        for name in gone:
            del holders[name]
        if gone and self.heard is not None:
            self.heard((), gone)
        self.evicted += surplus
        self.private += count
        return True

    def name(self, names: Sequence[int]) -> list[int]:
        """Give full private blocks their names; returns those that no other block has already.

        The caller holds these named blocks from now on; of the others it keeps its private ones.
        """
        holders = self._holders
        fresh = [name for name in names if name not in holders]
        self.private -= len(fresh)
        holders.update(dict.fromkeys(fresh, 1))
        if fresh and self.heard is not None:
            self.heard(fresh, ())
        return fresh

    def release(self, names: Sequence[int], private: int) -> None:
        """Let go of held blocks, the last first, and free private ones."""
        self.private -= private
        holders, idle = self._holders, self._idle
        for name in reversed(names):
            left = holders[name] = holders[name] - 1
            if not left:
                idle[name] = None

    def clear(self) -> None:
        """Forget all idle blocks, as a cache reset does."""
        for name in self._idle:
            del self._holders[name]
        if self._idle and self.heard is not None:
            self.heard((), list(self._idle))
        self._idle.clear()
