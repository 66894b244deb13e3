"""From measured windows to figures: medians over rounds, paired ratios, and what was to be reached.

A shared machine wanders by a third between rounds, in everything at once. So candidates run in turn
within each round and are compared within it: the ratio quoted is the median of the rounds' ratios,
and added latency is over the direct run of the same round. Single cells are for orientation only.
"""

from __future__ import annotations

import math
import statistics
from typing import TYPE_CHECKING

import msgspec

from benchmarks.candidates import CARDAN, Candidate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from benchmarks.cells import Cell
    from benchmarks.load import Window

DIRECT = "direct"


class Verdict(msgspec.Struct, frozen=True):
    """One target: the figure reached, its limit, and whether it is met (None: not measured)."""

    what: str
    figure: str
    limit: str
    met: bool | None

    @property
    def word(self) -> str:
        """How it reads in a table."""
        return {True: "met", False: "NOT MET", None: "not measured"}[self.met]


class Row(msgspec.Struct, frozen=True):
    """One candidate in one cell: medians over rounds. Latency is added over direct, in ms."""

    cpu_ms: float
    per_s: float
    added_ttft_p50_ms: float
    added_ttft_p99_ms: float
    added_total_p50_ms: float
    added_total_p99_ms: float
    chunk_delay_p50_ms: float
    chunk_delay_p99_ms: float
    faults: int
    dropped: int


class Rounds:
    """All windows of a run, by cell and candidate, in the order of rounds."""

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        """An empty run of those candidates."""
        self.candidates = tuple(candidates)
        self.windows: dict[str, dict[str, list[Window]]] = {}

    def add(self, cell: Cell, name: str, window: Window) -> None:
        """Take one more round of one candidate."""
        self.windows.setdefault(cell.name, {}).setdefault(name, []).append(window)

    def row(self, cell: Cell, name: str) -> Row:
        """The figures of one candidate in one cell."""
        windows = self.windows[cell.name][name]
        direct = self.windows[cell.name][DIRECT]

        def added(of: Callable[[Window], float]) -> float:
            pairs = zip(windows, direct, strict=True)
            return median(of(mine) - of(base) for mine, base in pairs) / 1000

        return Row(
            cpu_ms=median(w.cpu_ms_per_request for w in windows),
            per_s=median(w.per_s for w in windows),
            added_ttft_p50_ms=added(lambda w: w.first_byte_p50_us),
            added_ttft_p99_ms=added(lambda w: w.first_byte_p99_us),
            added_total_p50_ms=added(lambda w: w.total_p50_us),
            added_total_p99_ms=added(lambda w: w.total_p99_us),
            chunk_delay_p50_ms=median(w.chunk_delay_p50_us for w in windows) / 1000,
            chunk_delay_p99_ms=median(w.chunk_delay_p99_us for w in windows) / 1000,
            faults=sum(w.faults for w in windows),
            dropped=sum(w.dropped for w in windows),
        )

    def ours(self) -> str | None:
        """The name of Cardan's cache-aware candidate, if it is in the run."""
        names = [c.name for c in self.candidates if c.family == CARDAN and c.kind == "cache-aware"]
        return names[0] if names else None

    def rivals(self) -> list[str]:
        """The peers' cache-aware candidates in the run."""
        return [c.name for c in self.candidates if c.family != CARDAN and c.kind == "cache-aware"]

    def best_rival(self, cell: Cell, figure: Callable[[Row], float]) -> str | None:
        """The peer whose cache-aware policy has the least of `figure` in this cell."""
        return min(self.rivals(), key=lambda name: figure(self.row(cell, name)), default=None)

    def cpu_ratio(self, cell: Cell, name: str, over: str) -> float:
        """CPU per request of `name` over that of `over`: the median of the rounds' ratios."""
        here = self.windows[cell.name]
        pairs = zip(here[name], here[over], strict=True)
        return median(a.cpu_ms_per_request / b.cpu_ms_per_request for a, b in pairs)


def verdicts(rounds: Rounds, cells: Iterable[Cell]) -> list[Verdict]:
    """What had to be reached in these cells, and whether it was."""
    found: list[Verdict] = []
    for cell in cells:
        if cell.limit is not None:
            found.append(_cpu_verdict(rounds, cell, cell.limit))
        if cell.ttft_judged:
            found.append(_ttft_verdict(rounds, cell))
    return found


def _cpu_verdict(rounds: Rounds, cell: Cell, limit: float) -> Verdict:
    what = f"CPU per request, {cell.name}, over the best peer's cache-aware"
    ours, best = rounds.ours(), rounds.best_rival(cell, lambda row: row.cpu_ms)
    if ours is None or best is None:
        return Verdict(what, "-", f"≤ {limit:.2f}", None)
    ratio = rounds.cpu_ratio(cell, ours, best)
    return Verdict(what, f"{ratio:.2f} × {best}", f"≤ {limit:.2f}", ratio <= limit)


def _ttft_verdict(rounds: Rounds, cell: Cell) -> Verdict:
    what = f"added TTFT p99, {cell.name}"
    best = rounds.best_rival(cell, lambda row: row.added_ttft_p99_ms)
    ours = rounds.ours()
    if ours is None or best is None:
        return Verdict(what, "-", "≤ the best peer's", None)
    mine = rounds.row(cell, ours).added_ttft_p99_ms
    theirs = rounds.row(cell, best).added_ttft_p99_ms
    limit = f"≤ {theirs:.2f} ms ({best})"
    return Verdict(what, f"{mine:.2f} ms", limit, mine <= theirs)


def median(values: Iterable[float]) -> float:
    """The median of the finite values; not a number when there is none."""
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan
