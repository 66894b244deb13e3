"""A scenario's results on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_sim.simulate.compare import Mean, PhaseMeans, Row
    from cardan_sim.simulate.summary import Spread, Summary


def render(title: str, rows: Sequence[Row], reference: str) -> list[Table]:
    """The tables of a scenario: attainment by rate, what stands beside it, its parts, goodput."""
    tables = []
    rates = list(dict.fromkeys(rate for row in rows for rate in row.attained))
    if rates:
        tables.append(_by_rate(f"{title}: SLO attained, % (hit rate, %)", rows, rates))
        if len(rows) > 1:
            tables.append(_gains(f"Against {reference}: points of attainment", rows, rates))
        if any(row.itl_p99_s for row in rows):
            tables.append(_gaps("Inter-token latency, p50 / p99 in ms", rows, rates))
        tables += [
            _by_phase(f"{rate} req/s: SLO attained, % (hit rate, %)", rows, rate)
            for rate in rates
            if any(rate in row.phases for row in rows)
        ]
    if any(row.goodput_rps is not None for row in rows):
        tables.append(_goodput(f"{title}: goodput", rows, reference))
    return tables


def _by_rate(title: str, rows: Sequence[Row], rates: Sequence[str]) -> Table:
    made = table(title, [f"{rate} req/s" for rate in rates])
    for row in rows:
        made.add_row(row.name, *(_attained(row, rate) for rate in rates))
    return made


def _gains(title: str, rows: Sequence[Row], rates: Sequence[str]) -> Table:
    made = table(title, [f"{rate} req/s" for rate in rates])
    for row in rows:
        made.add_row(row.name, *(signed(row.attained_gain.get(rate)) for rate in rates))
    return made


def _gaps(title: str, rows: Sequence[Row], rates: Sequence[str]) -> Table:
    made = table(title, [f"{rate} req/s" for rate in rates])
    for row in rows:
        made.add_row(row.name, *(gaps(row, rate) for rate in rates))
    return made


def _by_phase(title: str, rows: Sequence[Row], rate: str) -> Table:
    phases = next(row.phases[rate] for row in rows if rate in row.phases)
    made = table(title, [when(phase) for phase in phases])
    for row in rows:
        made.add_row(row.name, *(_shares(p.attained, p.hit) for p in row.phases.get(rate, [])))
    return made


def _goodput(title: str, rows: Sequence[Row], reference: str) -> Table:
    made = table(title, ["req/s", f"against {reference}, %"])
    for row in rows:
        made.add_row(row.name, plain(row.goodput_rps), signed(row.goodput_gain))
    return made


def table(title: str, columns: Sequence[str]) -> Table:
    """An empty table whose first column has no name."""
    made = Table(title=title, title_justify="left", pad_edge=False)
    made.add_column("", no_wrap=True)
    for column in columns:
        made.add_column(column, justify="right", no_wrap=True)
    return made


def _attained(row: Row, rate: str) -> str:
    return _shares(row.attained.get(rate), row.hit.get(rate))


def _shares(attained: Mean | None, hit: Mean | None) -> str:
    if attained is None or hit is None:
        return ""
    return f"{percent(attained)} ({100 * hit.mean:.0f})"


def when(phase: PhaseMeans) -> str:
    """When the requests of a part arrived, in seconds of the run."""
    if phase.until_s is None:
        return f"from {phase.from_s:g} s"
    return f"{phase.from_s:g} to {phase.until_s:g} s"


def gaps(row: Row, rate: str) -> str:
    """The median time between tokens, and the longest but one in a hundred, in milliseconds."""
    p50, p99 = row.itl_p50_s.get(rate), row.itl_p99_s.get(rate)
    if p50 is None or p99 is None:
        return ""
    return f"{1000 * p50.mean:.1f} / {1000 * p99.mean:.0f}"


def percent(value: Mean | None) -> str:
    """A share in per cent, with its interval."""
    if value is None:
        return ""
    half = f" ±{100 * value.half:.1f}" if value.count > 1 else ""
    return f"{100 * value.mean:.1f}{half}"


def signed(value: Mean | None) -> str:
    """A difference in per cent or points, with its interval."""
    if value is None:
        return ""
    half = f" ±{100 * value.half:.1f}" if value.count > 1 else ""
    return f"{100 * value.mean:+.1f}{half}"


def plain(value: Mean | None) -> str:
    """A number with its interval."""
    if value is None:
        return ""
    return f"{value.mean:.2f}" + (f" ±{value.half:.2f}" if value.count > 1 else "")


def single(title: str, runs: dict[str, Summary]) -> Table:
    """Runs of one trace beside each other, in full."""
    made = table(title, list(runs))
    for name, cell in _LINES:
        made.add_row(name, *(cell(summary) for summary in runs.values()))
    return made


def _quantiles(spread: Spread | None) -> str:
    if spread is None:
        return "none"
    return " / ".join(_seconds(value) for value in (spread.p50_s, spread.p90_s, spread.p99_s))


def _seconds(value: float) -> str:
    return f"{1000 * value:.3g} ms" if value < 1 else f"{value:.2f} s"


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{word} {count:,}" for word, count in counts.items())


_LINES: Final[tuple[tuple[str, Callable[[Summary], str]], ...]] = (
    ("requests", lambda s: f"{s.measured:,} of {s.requests:,}"),
    ("offered", lambda s: f"{s.offered_rps:.2f} req/s"),
    ("SLO attained", lambda s: f"{100 * s.attained_ratio:.1f} %"),
    ("cache hit rate", lambda s: f"{100 * s.hit_ratio:.1f} %"),
    ("  believed", lambda s: f"{100 * s.believed_ratio:.1f} %"),
    ("TTFT p50 / p90 / p99", lambda s: _quantiles(s.ttft_s)),
    ("inter-token latency p50 / p90 / p99", lambda s: _quantiles(s.itl_s)),
    ("time per token p50 / p90 / p99", lambda s: _quantiles(s.tpot_s)),
    ("E2E p50 / p90 / p99", lambda s: _quantiles(s.e2e_s)),
    ("imbalance (CV of pending tokens)", lambda s: f"{s.pending_cv:.2f}"),
    ("outcomes", lambda s: _counts(s.outcomes)),
    ("decisions", lambda s: _counts(s.reasons)),
)
