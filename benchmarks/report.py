"""How a run is printed and written: tables of text, and one JSON file with every window."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.candidates import PEERS
from benchmarks.results import DIRECT, Rounds, Verdict, median

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.cells import Cell
    from benchmarks.results import Row


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns of text: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    lines = [_line(row, widths) for row in (head, *rows)]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *others = (
        word.ljust(width) if i == 0 else word.rjust(width)
        for i, (word, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join([first, *others]).rstrip()


def cpu_table(rounds: Rounds, cells: Sequence[Cell]) -> str:
    """CPU milliseconds per request by candidate and cell, then Cardan over each peer."""
    rows = _figures(rounds, cells, lambda row: f"{row.cpu_ms:.3f}")
    ours = rounds.ours()
    for rival in rounds.rivals() if ours else []:
        ratios = [f"{rounds.cpu_ratio(cell, ours or '', rival):.2f}" for cell in cells]
        rows.append([f"Cardan over {rival}", *ratios])
    return table(["CPU ms per request", *(cell.name for cell in cells)], rows)


def latency_table(rounds: Rounds, cells: Sequence[Cell]) -> str:
    """First-byte latency added over direct (p50 / p99, ms); for direct itself, as measured."""

    def added(row: Row) -> str:
        return f"{row.added_ttft_p50_ms:+.2f}/{row.added_ttft_p99_ms:+.2f}"

    unsaturated = [cell for cell in cells if not cell.saturated]
    direct = [_direct_latency(rounds, cell) for cell in unsaturated]
    rows = [[DIRECT, *direct], *_figures(rounds, unsaturated, added)]
    return table(["added TTFT p50/p99 ms", *(cell.name for cell in unsaturated)], rows)


def _direct_latency(rounds: Rounds, cell: Cell) -> str:
    windows = rounds.windows[cell.name][DIRECT]
    p50_ms = median(w.first_byte_p50_us for w in windows) / 1000
    p99_ms = median(w.first_byte_p99_us for w in windows) / 1000
    return f"{p50_ms:.2f}/{p99_ms:.2f}"


def chunk_table(rounds: Rounds, cells: Sequence[Cell]) -> str:
    """How late a stream's chunks arrive (p50 / p99, ms)."""
    streams = [cell for cell in cells if cell.bodies.stream]
    rows = _figures(
        rounds, streams, lambda r: f"{r.chunk_delay_p50_ms:.2f}/{r.chunk_delay_p99_ms:.2f}"
    )
    return table(["chunk delay p50/p99 ms", *(cell.name for cell in streams)], rows)


def fault_lines(rounds: Rounds, cells: Sequence[Cell]) -> list[str]:
    """A line for every candidate and cell in which requests failed or were not sent in time."""
    lines = []
    for cell in cells:
        for candidate in rounds.candidates:
            row = rounds.row(cell, candidate.name)
            if row.faults or row.dropped:
                what = f"{row.faults} requests failed, {row.dropped} found no free connection"
                lines.append(f"! {candidate.name}, {cell.name}: {what}")
    return lines


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """What had to be reached."""
    rows = [[v.what, v.figure, v.limit, v.word] for v in verdicts]
    return table(["must reach", "figure", "limit", ""], rows)


def machine(python: str = sys.executable) -> dict[str, object]:
    """What was measured on, and when; `python` is the interpreter that Cardan ran on."""
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "cpu": model,
        "cores": os.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "kernel": platform.release(),
        "python": _version_of(python),
        "load_before": round(os.getloadavg()[0], 2),
        "peers": {peer.name: peer.version for peer in PEERS.values()},
    }


def _version_of(python: str) -> str:
    """Version and compiler of an interpreter, as it says itself."""
    ask = "import platform as p; print(f'{p.python_version()} ({p.python_compiler()})')"
    said = subprocess.run([python, "-c", ask], capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def _figures(rounds: Rounds, cells: Sequence[Cell], word: Callable[[Row], str]) -> list[list[str]]:
    return [
        [candidate.name, *(word(rounds.row(cell, candidate.name)) for cell in cells)]
        for candidate in rounds.candidates
    ]
