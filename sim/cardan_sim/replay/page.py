"""Figures as one HTML page that needs nothing else: a table, plots, and what each endpoint did."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING, Final

from cardan_sim.pages import document, html_table
from cardan_sim.replay.plots import Mark, Series, bar_chart, cdf, line_chart
from cardan_sim.replay.table import ENDPOINT_COLUMNS, ROWS, endpoint_note, endpoint_rows, notes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cardan_sim.replay.figures import EndpointShare, Figures

_ITL_NOTE: Final = (
    "Tokens that came in one read of the socket have no gap between them; they are the wall at the "
    "left edge."
)


def render_page(title: str, runs: Sequence[Figures]) -> str:
    """The page of one run, or of several compared."""
    return document(
        title,
        _what(runs[0]),
        [
            html_table(["", *(run.settings.label for run in runs)], _figure_rows(runs)),
            *_notes(runs),
            f'<h2>Plots</h2><div class="plots">{"".join(_plots(runs))}</div>',
            *_endpoint_tables(runs),
        ],
    )


def _what(run: Figures) -> str:
    asked = run.settings
    return (
        f"{asked.requests:,} requests of {asked.trace} for {asked.model} at "
        f"{asked.offered_rps:.2f} req/s, open loop. TTFT counts from the moment a request was due."
    )


def _figure_rows(runs: Sequence[Figures]) -> Iterable[list[str]]:
    for name, cell in ROWS:
        yield [name, *(cell(run) for run in runs)]


def _notes(runs: Sequence[Figures]) -> list[str]:
    several = len(runs) > 1
    lines = [
        f"{run.settings.label}: {note}" if several else note for run in runs for note in notes(run)
    ]
    if not lines:
        return []
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return [f'<ul class="notes">{items}</ul>']


def _plots(runs: Sequence[Figures]) -> list[str]:
    slo_s = runs[0].settings.slo_ttft_s
    ttft = [
        cdf(run.settings.label, run.ttft_s.quantiles_s, lambda s: s) for run in runs if run.ttft_s
    ]
    itl = [
        cdf(run.settings.label, run.itl_s.quantiles_s, lambda s: 1000 * s)
        for run in runs
        if run.itl_s
    ]
    return [
        line_chart(
            "Time to first token",
            "seconds (log)",
            "% of answers within",
            ttft,
            x_log=True,
            y_max=100,
            mark=Mark(slo_s, f"SLO {slo_s:g} s"),
        ),
        _timeline(runs),
        *_endpoint_bars(runs),
        line_chart(
            "Inter-token latency",
            "milliseconds (log)",
            "% of gaps within",
            itl,
            x_log=True,
            y_max=100,
            note=_ITL_NOTE
            if any(run.itl_s and not run.itl_s.quantiles_s[0] for run in runs)
            else "",
        ),
    ]


def _timeline(runs: Sequence[Figures]) -> str:
    """Of one run all there is; of several only the requests in flight, which tell them apart."""
    if len(runs) > 1:
        lines = [_over_time(run, run.settings.label, run.timeline.in_flight) for run in runs]
        return line_chart("Requests in flight", "seconds", "requests", lines)
    (run,) = runs
    per_bin = f"per {run.timeline.bin_s:g} s"
    lines = [
        _over_time(run, "in flight", run.timeline.in_flight),
        _over_time(run, f"due {per_bin}", run.timeline.due),
        _over_time(run, f"ended {per_bin}", run.timeline.ended),
    ]
    if run.failed:
        lines.append(_over_time(run, f"failed {per_bin}", run.timeline.failed))
    return line_chart("Requests over time", "seconds", "requests", lines)


def _over_time(run: Figures, label: str, counts: Sequence[int]) -> Series:
    bin_s = run.timeline.bin_s
    return Series(label, [((i + 1) * bin_s, float(count)) for i, count in enumerate(counts)])


def _endpoint_bars(runs: Sequence[Figures]) -> list[str]:
    """Tokens each endpoint had to compute, or its requests where nobody told tokens."""
    balances = [(run.settings.label, run.balance) for run in runs if run.balance is not None]
    if not balances:
        return []
    known = all(balance.computed is not None for _, balance in balances)
    names = sorted({share.name for _, balance in balances for share in balance.endpoints})
    series = []
    for label, balance in balances:
        values = {share.name: _load(share, tokens=known) for share in balance.endpoints}
        series.append((label, [values.get(name, 0.0) for name in names]))
    title = "Prompt tokens computed by each endpoint" if known else "Requests by endpoint"
    return [bar_chart(title, "tokens" if known else "requests", _short(names), series)]


def _load(share: EndpointShare, *, tokens: bool) -> float:
    if tokens and share.prompt_tokens is not None and share.cached_tokens is not None:
        return float(share.prompt_tokens - share.cached_tokens)
    return float(share.requests)


def _short(names: Sequence[str]) -> list[str]:
    """The part of each name that tells it apart: ports of one host, ends of pod names."""
    ends = [name.rstrip("/").rsplit(":", 1)[-1].rsplit("-", 1)[-1] for name in names]
    return ends if len(set(ends)) == len(names) else list(names)


def _endpoint_tables(runs: Sequence[Figures]) -> list[str]:
    parts = []
    for run in runs:
        if run.balance is None:
            continue
        parts.append(f"<h2>Endpoints: {escape(run.settings.label)}</h2>")
        parts.append(html_table(ENDPOINT_COLUMNS, endpoint_rows(run.balance)))
        if note := endpoint_note(run.balance):
            parts.append(f'<p class="note">{escape(note)}</p>')
    return parts
