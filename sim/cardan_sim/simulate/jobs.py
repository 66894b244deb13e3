"""What clients ask for: requests with the structure of their prompts and without their words."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cardan.candidates.base import MASK64
from cardan.prompt import Prompt

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# What a gateway hashes: blocks of 512 tokens, 64 at most (`cardan.prompt.KeyConfig`).
KEY_BLOCK_TOKENS: Final = 512
KEY_BLOCKS: Final = 64


@dataclass(frozen=True, slots=True, eq=False)
class Job:
    """One request as a client has it in mind.

    `blocks` are the ids of the prompt's blocks of `block_tokens` tokens, the last one perhaps
    partial; an id stands for its block and everything before it. `due_s` is when it is sent, unless
    it follows another: then it is sent `think_s` after that one's answer. `then` is the request
    that follows this one.
    """

    due_s: float
    tokens: int
    output_tokens: int
    blocks: Sequence[int]
    block_tokens: int = KEY_BLOCK_TOKENS
    session: str = ""
    tenant: str = ""
    think_s: float = 0.0
    then: Job | None = None

    def turns(self) -> Iterator[Job]:
        """This request and those that follow it."""
        turn: Job | None = self
        while turn is not None:
            yield turn
            turn = turn.then

    @property
    def full_blocks(self) -> int:
        """Blocks that are whole: what an engine can find again."""
        return min(len(self.blocks), self.tokens // self.block_tokens)


# Odd, so that multiplying by it is a bijection of 64 bits; 2^64 over the golden ratio.
_FACTOR: Final = 0x9E3779B97F4A7C15
_INVERSE: Final = pow(_FACTOR, -1, 1 << 64)
_SIGN: Final = 1 << 63


class Naming:
    """Ids of a trace as the hashes a gateway would have, and back again.

    `salt` stands for everything else in a key's root (model, tenant): with another salt the same
    trace falls on other endpoints, which is the luck that a run with another seed has.
    """

    __slots__ = ("_salt",)

    def __init__(self, salt: int) -> None:
        self._salt = salt & MASK64

    def prompt(self, job: Job) -> Prompt:
        """The prompt as routing would see it: a chain of hashes of 512-token blocks."""
        whole = min(job.tokens // KEY_BLOCK_TOKENS, KEY_BLOCKS)
        salt, step = self._salt, KEY_BLOCK_TOKENS // job.block_tokens
        ids = job.blocks[step - 1 : whole * step : step]
        chain = tuple([(id_ ^ salt) * _FACTOR & MASK64 for id_ in ids])
        if whole < KEY_BLOCKS and job.tokens > whole * KEY_BLOCK_TOKENS:
            chain += (self._tail(job),)
        return Prompt(chain, float(job.tokens), KEY_BLOCK_TOKENS, len(ids))

    def id_of(self, name: int) -> int:
        """The id that a hash in a chain was made of; of a tail's hash, an id that nobody has."""
        id_ = (name * _INVERSE & MASK64) ^ self._salt
        return id_ - (1 << 64) if id_ & _SIGN else id_

    def _tail(self, job: Job) -> int:
        """The rest of a prompt after its last whole block: only the very same rest equals it."""
        last = job.blocks[-1] if job.blocks else 0
        return ((last ^ self._salt) * _FACTOR + job.tokens * 2 + 1) * _INVERSE & MASK64
