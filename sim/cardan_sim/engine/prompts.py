"""Two kinds of prompt: token ids, as they come over a wire, and names of blocks, as in a trace.

A trace tells which prompts share a prefix and not what they say: an id for each block of so many
tokens, equal ids for equal prefixes. That is all the prefix cache wants to know, so a simulation
of a million prompts need not write out a token. What is generated behind such a prompt is nobody
else's prefix.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_sim.engine.blocks import name_blocks

if TYPE_CHECKING:
    from array import array
    from collections.abc import Sequence

# Names of generated blocks: above every trace's, and apart by request. A context of 2^20 blocks of
# 16 tokens is longer than any model's.
_GENERATED: Final = 1 << 62
_GENERATED_STRIDE: Final = 1 << 20


class NamedPrompt:
    """A prompt of `tokens` tokens by the ids of its blocks of `block_tokens`, the last perhaps cut.

    Ids stay below 2^50 in size, and an engine's block size divides theirs (see `names`).
    """

    __slots__ = ("block_tokens", "blocks", "tokens")

    def __init__(self, blocks: Sequence[int], block_tokens: int, tokens: int) -> None:
        self.blocks = blocks
        self.block_tokens = block_tokens
        self.tokens = tokens

    def __len__(self) -> int:
        return self.tokens

    def names(self, block_size: int) -> list[int]:
        """Names of the full engine blocks: a trace's block is so many of them, numbered.

        ValueError where the engine's blocks do not fit into the trace's.
        """
        parts, rest = divmod(self.block_tokens, block_size)
        if rest or not parts:
            raise ValueError(f"blocks of {self.block_tokens} tokens hold none of {block_size}")
        names: list[int] = []
        for block in self.blocks[: -(-self.tokens // self.block_tokens)]:
            names.extend(range(block * parts, block * parts + parts))
        del names[self.tokens // block_size :]
        return names


def names_of(prompt: array[int] | NamedPrompt, block_size: int, seed: int) -> list[int]:
    """Names of a prompt's full blocks; `seed` keeps tenants apart where there are tokens."""
    if isinstance(prompt, NamedPrompt):
        return prompt.names(block_size)
    return name_blocks(prompt, block_size, parent=seed)


def generated_name(serial: int, index: int) -> int:
    """The name of block `index` of request `serial` of an engine, behind a named prompt."""
    return _GENERATED + serial * _GENERATED_STRIDE + index
