"""CSV traces: a time and two lengths per row, known by their column names.

None of them says which prompts share a prefix, so each prompt is its own: a replay of such a file
shows queueing and bursts, and a hit rate of nothing.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from cardan_sim.traces.request import BlockPrompt, TraceRequest, blocks_of, private_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cardan_sim.traces.source import Line


def _clock_s(text: str) -> float:
    """A date and time (`2023-11-16 18:15:46.6805900`), taken as UTC, as seconds."""
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


@dataclass(frozen=True, slots=True)
class Columns:
    """Where one publisher keeps the values, and how its times are written; `tenant` if any."""

    publisher: str
    time: str
    input_tokens: str
    output_tokens: str
    seconds: Callable[[str], float]
    tenant: str = ""


DIALECTS: Final[tuple[Columns, ...]] = (
    Columns("Azure", "TIMESTAMP", "ContextTokens", "GeneratedTokens", _clock_s),
    Columns("BurstGPT", "Timestamp", "Request tokens", "Response tokens", float),
    Columns("ServeGen", "timestamp", "input_tokens", "output_tokens", float, "client"),
    Columns("Chatbot Arena", "req_time", "prompt_len", "output_len", float, "adapter_dir"),
)


def columns_of(header: str) -> Columns | None:
    """The dialect whose columns a header line has, if any."""
    names = {name.strip() for name in next(csv.reader([header]), [])}
    for dialect in DIALECTS:
        if {dialect.time, dialect.input_tokens, dialect.output_tokens} <= names:
            return dialect
    return None


def looks_like_table(text: str) -> bool:
    """Whether a first line is the header of a table we know."""
    return columns_of(text) is not None


def parse_table(lines: Iterable[Line], block_tokens: int) -> Iterator[TraceRequest]:
    """The requests of a table, row by row. Raises TraceError on the first wrong row.

    Rows without input tokens are left out: the publishers record failed requests that way.
    """
    rows = iter(lines)
    header = next(rows, None)
    if header is None:
        return
    columns = columns_of(header.text)
    if columns is None:
        known = "; ".join(f"{d.time}, {d.input_tokens}, {d.output_tokens}" for d in DIALECTS)
        raise header.error(f"no header of a known table; those are: {known}")
    names = [name.strip() for name in next(csv.reader([header.text]))]
    for line in rows:
        request = _row(line, names, columns, block_tokens)
        if request.input_tokens:
            yield request


def _row(line: Line, names: list[str], columns: Columns, block_tokens: int) -> TraceRequest:
    cells = next(csv.reader([line.text]))
    if len(cells) != len(names):
        raise line.error(f"{len(cells)} columns, the header has {len(names)}")
    row = dict(zip(names, cells, strict=True))
    try:
        arrival_s = columns.seconds(row[columns.time])
        input_tokens = int(row[columns.input_tokens])
        output_tokens = int(row[columns.output_tokens])
    except ValueError as error:
        raise line.error(str(error)) from error
    if input_tokens < 0 or output_tokens < 0:
        raise line.error("a length must not be negative")
    blocks = private_blocks(line.number, blocks_of(input_tokens, block_tokens))
    prompt, tenant = BlockPrompt(blocks, block_tokens), row.get(columns.tenant, "")
    return TraceRequest(arrival_s, input_tokens, output_tokens, prompt, tenant=tenant)
