"""Mooncake's format: JSON lines with arrival, lengths and the ids of the prompt's blocks.

    {"timestamp": 3052, "input_length": 6755, "output_length": 500, "hash_ids": [0, 1, 14]}

`timestamp` is in milliseconds. An id stands for a block and everything before it. The published
files cut prompts in blocks of 512 tokens and list the last, partial one (`ceil(input / 512)`
ids); files derived from others leave the partial block out (`floor`), and it then gets an id of
its own.

The recorder wrote the time only about every three seconds, so the file shows bursts that never
were: requests of one recorded time are spread over the three seconds that follow.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby, pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.traces.request import BlockPrompt, TraceRequest, blocks_of, private_blocks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cardan_sim.traces.source import Line

# The recording interval of the published files: their distinct times are 3.0 to 3.06 s apart.
TICK_S: Final = 3.0


class MooncakeLine(msgspec.Struct, frozen=True):
    """One line of the file; what else it holds is ignored."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: list[int]
    session_id: int | str = ""


_DECODER: Final = msgspec.json.Decoder(MooncakeLine)


def looks_like_mooncake(text: str) -> bool:
    """Whether a first line is of this format."""
    return text.lstrip().startswith("{") and '"hash_ids"' in text


def parse_mooncake(lines: Iterable[Line], block_tokens: int) -> Iterator[TraceRequest]:
    """The requests of a file, in order of arrival, with the recorded groups spread out.

    Raises TraceError on the first line that is not of the format.
    """
    recorded = sorted(
        (_decode(line, block_tokens) for line in lines), key=lambda request: request.arrival_s or 0
    )
    groups = [list(group) for _, group in groupby(recorded, key=lambda r: r.arrival_s or 0.0)]
    for group, following in pairwise([*groups, []]):
        yield from _spread(group, following)


def _spread(group: list[TraceRequest], following: list[TraceRequest]) -> Iterator[TraceRequest]:
    """Even spacing over the tick, or up to the next recorded time if that is sooner."""
    start = group[0].arrival_s or 0.0
    end = start + TICK_S
    if following:
        end = min(end, following[0].arrival_s or 0.0)
    for index, request in enumerate(group):
        arrival_s = start + (end - start) * index / len(group)
        yield replace(request, arrival_s=arrival_s)


def _decode(line: Line, block_tokens: int) -> TraceRequest:
    try:
        record = _DECODER.decode(line.text)
    except msgspec.DecodeError as error:
        raise line.error(str(error)) from error
    if record.timestamp < 0 or record.input_length < 1 or record.output_length < 0:
        raise line.error("timestamp and lengths must not be negative, and the input not empty")
    blocks = tuple(record.hash_ids)
    whole, partial = divmod(record.input_length, block_tokens)
    if partial and len(blocks) == whole:
        blocks += private_blocks(line.number, 1)
    expected = blocks_of(record.input_length, block_tokens)
    if len(blocks) != expected:
        raise line.error(
            f"{len(record.hash_ids)} hash_ids for {record.input_length} tokens; blocks of "
            f"{block_tokens} tokens make {expected} (is the block size another?)"
        )
    return TraceRequest(
        arrival_s=record.timestamp / 1000,
        input_tokens=record.input_length,
        output_tokens=record.output_length,
        prompt=BlockPrompt(blocks, block_tokens),
        session=str(record.session_id),
    )
