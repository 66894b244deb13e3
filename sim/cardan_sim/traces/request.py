"""One request of a recorded workload, whatever file it came from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

# A request has fewer blocks than this, so the private ids of two lines never meet: 16 M blocks of
# 16 tokens are a prompt of 268 M tokens.
_PRIVATE_STRIDE: Final = 1 << 24


class TraceError(ValueError):
    """A trace that cannot be read; the message names the file and the line."""


@dataclass(frozen=True, slots=True)
class BlockPrompt:
    """A prompt as a trace records it: the ids of its blocks of `block_tokens` tokens.

    Equal ids are equal text. The last block may be cut short by the prompt's length.
    """

    blocks: tuple[int, ...]
    block_tokens: int


@dataclass(frozen=True, slots=True)
class RecordedBody:
    """A request kept whole: the path it was sent to and its JSON body."""

    path: str
    body: dict[str, object]


@dataclass(frozen=True, slots=True)
class TraceRequest:
    """One recorded request.

    `arrival_s` counts from any origin and is None where the file has no times; `output_tokens` is
    None where the file does not say how long the answer was. `session` and `tenant` are "" where
    the file does not tell.
    """

    arrival_s: float | None
    input_tokens: int
    output_tokens: int | None
    prompt: BlockPrompt | RecordedBody
    session: str = ""
    tenant: str = ""


def private_blocks(line: int, count: int) -> tuple[int, ...]:
    """Ids that no other line and no recorded trace uses: prompts known to share nothing."""
    start = -line * _PRIVATE_STRIDE - 1
    return tuple(range(start, start - count, -1))


def blocks_of(tokens: int, block_tokens: int) -> int:
    """How many blocks a prompt of `tokens` tokens takes, the last one perhaps partly."""
    return -(-tokens // block_tokens)
