"""Requests that decode together, kept as sums.

While requests only decode, every step does the same to each of them: one token more, now and then
one block more. So a step need not look at any: the group keeps its size, its context in tokens,
who needs a block at which step (by the step modulo the block size) and who ends at which. A
member's own numbers are worked out when it leaves. `clock` counts the steps of the group.
"""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan_sim.engine.blocks import BlockCache
    from cardan_sim.engine.sequence import Sequence


class Formation:
    """A group of decoding sequences; all of them take part in every one of its steps.

    `context` is the sum of their contexts in tokens, `due` the blocks they need before the next
    step, `last_at` when the last step ended. `fresh` are the times of last tokens of those who have
    joined since, where they differ from that.
    """

    def __init__(self, block_size: int) -> None:
        self.clock = 0
        self.context = 0
        self.due = 0
        self.last_at = 0.0
        self.last: Sequence | None = None  # nobody comes after it in the order of admission
        self.fresh: dict[Sequence, float] = {}
        self._block_size = block_size
        self._joined: dict[Sequence, int] = {}
        self._phases: list[dict[Sequence, None]] = [{} for _ in range(block_size)]
        self._ends: list[tuple[int, Sequence]] = []
        # Who differs from the rest of its phase about the block for the next step.
        self._taken = False
        self._owing: set[Sequence] = set()
        self._ahead: set[Sequence] = set()

    def __len__(self) -> int:
        return len(self._joined)

    def __contains__(self, sequence: object) -> bool:
        return sequence in self._joined

    def join(self, sequence: Sequence) -> None:
        """One more, which decodes: its next step computes its last token's KV."""
        self._joined[sequence] = self.clock
        self.context += sequence.total
        if self.last is None or self.last < sequence:
            self.last = sequence
        phase = (self.clock - sequence.computed) % self._block_size
        self._phases[phase][sequence] = None
        if phase == self.clock % self._block_size:
            if sequence.missing_blocks(1):
                self.due += 1
                if self._taken:
                    self._owing.add(sequence)
            elif not self._taken:
                self._ahead.add(sequence)
        ends_at = self.clock + sequence.wanted - sequence.generated
        heapq.heappush(self._ends, (ends_at, sequence))
        if sequence.last_token_at is not None and sequence.last_token_at != self.last_at:
            self.fresh[sequence] = sequence.last_token_at

    def leave(self, sequence: Sequence, *, undone: int = 0) -> None:
        """Write a member's numbers down and let it go; the last `undone` steps were not its own."""
        steps = self.clock - self._joined.pop(sequence)
        self.context -= sequence.total + steps
        phase = (self.clock - sequence.computed - steps) % self._block_size
        now = phase == self.clock % self._block_size
        ahead = now and self._has_taken(sequence)
        del self._phases[phase][sequence]
        if now and not ahead:
            self.due -= 1
        self._owing.discard(sequence)
        self._ahead.discard(sequence)
        self.fresh.pop(sequence, None)
        blocks = sequence.blocks_for(sequence.computed + steps + (1 if ahead else 0))
        steps -= undone
        sequence.private += max(0, blocks - len(sequence.held) - sequence.private)
        sequence.computed += steps
        sequence.generated += steps
        if steps:
            sequence.last_token_at = self.last_at
        if not self._joined:
            self.last = None

    def end_early(self, sequence: Sequence, steps: int) -> None:
        """A member ends after so many steps more, whatever it wanted."""
        heapq.heappush(self._ends, (self.clock + steps, sequence))

    def take(self, cache: BlockCache) -> None:
        """Take the blocks that are due; the caller has seen that there are as many."""
        cache.take(self.due)
        self.due = 0
        self._taken = True
        self._owing.clear()
        self._ahead.clear()

    def needs(self, steps_ahead: int) -> int:
        """Blocks that the step after so many others will need."""
        return len(self._phases[(self.clock + steps_ahead) % self._block_size])

    def step(self, count: int, ended_at: float) -> None:
        """All have done `count` steps, whose blocks were taken."""
        self.clock += count
        self.context += count * len(self._joined)
        self.last_at = ended_at
        self._taken = False
        self._owing.clear()
        self._ahead.clear()
        self.due = self.needs(0)
        self.fresh.clear()

    def next_end(self) -> int:
        """How many steps until the first member ends; there is one."""
        self._drop_stale()
        return self._ends[0][0] - self.clock

    def ending(self) -> list[Sequence]:
        """Members that end with the step just done, in the order of admission."""
        ending: list[Sequence] = []
        self._drop_stale()
        while self._ends and self._ends[0][0] <= self.clock:
            sequence = heapq.heappop(self._ends)[1]
            if sequence in self._joined and sequence not in ending:
                ending.append(sequence)
            self._drop_stale()
        return sorted(ending)

    def dissolve(self) -> list[Sequence]:
        """Write down everybody's numbers; nobody is left. Returns who was there."""
        members = list(self._joined)
        for sequence in members:
            self.leave(sequence)
        self._ends.clear()
        return members

    def _drop_stale(self) -> None:
        while self._ends and self._ends[0][1] not in self._joined:
            heapq.heappop(self._ends)

    def _has_taken(self, sequence: Sequence) -> bool:
        """Whether a member whose phase is the present one has its block already."""
        return sequence not in self._owing if self._taken else sequence in self._ahead
