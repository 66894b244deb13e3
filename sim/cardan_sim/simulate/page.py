"""A scenario's results as one HTML page: what was played, tables with intervals, plots."""

from __future__ import annotations

from collections import Counter
from html import escape
from typing import TYPE_CHECKING, Final

from cardan_sim.pages import document, html_table
from cardan_sim.replay.plots import Mark, Series, bar_chart, cdf, line_chart
from cardan_sim.simulate.table import gaps, percent, plain, signed, when

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_sim.simulate.compare import Mean, PhaseMeans, Row
    from cardan_sim.simulate.runs import Result
    from cardan_sim.simulate.scenario import Scenario
    from cardan_sim.simulate.summary import Summary

# More groups of bars than this are no longer read; depths beyond share the last one.
MAX_DEPTH: Final = 16


def render_page(scenario: Scenario, rows: Sequence[Row], results: Sequence[Result]) -> str:
    """The whole page."""
    return document(
        scenario.title,
        _what(scenario),
        [*_tables(scenario, rows), *_plots(scenario, rows, results)],
    )


def _what(scenario: Scenario) -> str:
    world = scenario.world
    parts = [
        scenario.about.strip(),
        f"{world.engines} engines ({world.engine.label}), SLO {world.slo_ttft_s:g} s to the first "
        f"token, workload {scenario.workload.label}, {scenario.seeds} seeds x "
        f"{len(scenario.segments)} segments; the first {scenario.warm_up} requests of each run are "
        "not counted. Intervals are 95 % (Student) over runs; differences are paired.",
    ]
    return " ".join(filter(None, parts))


def _tables(scenario: Scenario, rows: Sequence[Row]) -> list[str]:
    rates = list(dict.fromkeys(rate for row in rows for rate in row.attained))
    reference = scenario.reference()
    parts: list[str] = []
    if any(row.goodput_rps is not None for row in rows) and scenario.goodput is not None:
        parts.append(f"<h2>Goodput at {100 * scenario.goodput.attain:g} % attainment</h2>")
        parts.append(
            html_table(
                ["", "req/s", f"against {reference}, %"],
                [[row.name, plain(row.goodput_rps), signed(row.goodput_gain)] for row in rows],
            )
        )
    if not rates:
        return parts
    cells: list[tuple[str, Callable[[Row, str], str]]] = [
        ("SLO attained, %", lambda row, rate: percent(row.attained.get(rate))),
        (f"Points against {reference}", lambda row, rate: signed(row.attained_gain.get(rate))),
        ("Cache hit rate, %", lambda row, rate: percent(row.hit.get(rate))),
        ("Belief less hit rate, points", lambda row, rate: signed(row.belief_error.get(rate))),
    ]
    if any(row.itl_p99_s for row in rows):
        cells.append(("Inter-token latency, p50 / p99 in ms", gaps))
    for title, cell in cells:
        parts.append(f"<h2>{escape(title)}</h2>")
        body = [[row.name, *(cell(row, rate) for rate in rates)] for row in rows]
        parts.append(html_table(["", *(f"{rate} req/s" for rate in rates)], body))
    for rate in rates:
        parts += _phases(rows, rate)
    return parts


def _phases(rows: Sequence[Row], rate: str) -> list[str]:
    """The parts of the runs at one rate, where they are cut."""
    told = [(row.name, row.phases[rate]) for row in rows if rate in row.phases]
    if not told:
        return []
    figures: list[tuple[str, Callable[[PhaseMeans], Mean | None]]] = [
        ("SLO attained, %", lambda phase: phase.attained),
        ("Cache hit rate, %", lambda phase: phase.hit),
        ("Keys met again that kept an endpoint, %", lambda phase: phase.kept),
    ]
    head = ["arrived", *map(when, told[0][1])]
    parts = []
    for title, figure in figures:
        parts.append(f"<h2>{escape(title)}, at {rate} req/s</h2>")
        body = [[name, *(percent(figure(phase)) for phase in phases)] for name, phases in told]
        parts.append(html_table(head, body))
    return parts


def _plots(scenario: Scenario, rows: Sequence[Row], results: Sequence[Result]) -> list[str]:
    charts: list[str] = []
    if scenario.rates:
        charts += [
            _by_rate("SLO attained", "% of requests", rows, lambda r: r.attained, top=100.0),
            _distributions(scenario, rows, results),
            _by_rate("Cache hit rate", "% of prompt tokens", rows, lambda r: r.hit),
            _by_rate("Imbalance", "CV of pending tokens, %", rows, lambda r: r.pending_cv),
            _depths(scenario, rows, results),
        ]
    goodput = [row for row in rows if row.goodput_rps is not None]
    if goodput:
        values = [row.goodput_rps.mean if row.goodput_rps else 0.0 for row in goodput]
        names = [row.name for row in goodput]
        charts.append(bar_chart("Goodput", "requests/s", names, [("goodput", values)]))
    return [f'<h2>Plots</h2><div class="plots">{"".join(charts)}</div>']


def _by_rate(
    title: str,
    y_label: str,
    rows: Sequence[Row],
    figure: Callable[[Row], dict[str, Mean]],
    *,
    top: float | None = None,
) -> str:
    lines = [
        Series(row.name, [(float(rate), 100 * mean.mean) for rate, mean in figure(row).items()])
        for row in rows
    ]
    rates = [rate for line in lines for rate, _ in line.points]
    start = min(rates) if len(set(rates)) > 1 else 0.0
    return line_chart(title, "requests/s", y_label, lines, x_from=start, y_max=top)


def _distributions(scenario: Scenario, rows: Sequence[Row], results: Sequence[Result]) -> str:
    """Times to the first token at one rate; quantiles are means over the runs."""
    rate = _plot_rate(scenario)
    lines = []
    for row in rows:
        spreads = [s.ttft_s for s in _summaries(results, row.name, rate) if s.ttft_s is not None]
        if spreads:
            quantiles = [
                sum(column) / len(spreads)
                for column in zip(*(s.quantiles_s for s in spreads), strict=True)
            ]
            lines.append(cdf(row.name, quantiles, lambda seconds: seconds))
    slo_s = scenario.world.slo_ttft_s
    return line_chart(
        f"Time to first token at {rate:g} req/s",
        "seconds (log)",
        "% of answers within",
        lines,
        x_log=True,
        y_max=100.0,
        mark=Mark(slo_s, f"SLO {slo_s:g} s"),
    )


def _depths(scenario: Scenario, rows: Sequence[Row], results: Sequence[Result]) -> str:
    """How many blocks the routing key covered, for the rows whose policy has such a key."""
    rate = _plot_rate(scenario)
    series = []
    highest = 0
    counted = []
    for row in rows:
        depths: Counter[int] = Counter()
        for summary in _summaries(results, row.name, rate):
            depths.update(summary.depths)
        if any(depths.keys()):
            counted.append((row.name, depths))
            highest = max(highest, min(MAX_DEPTH, max(depths)))
    groups = [str(depth) for depth in range(1, highest)] + ([f"{highest}+"] if highest else [])
    for name, depths in counted:
        total = depths.total()
        shares = [100 * depths[depth] / total for depth in range(1, highest)]
        shares.append(100 * sum(n for depth, n in depths.items() if depth >= highest) / total)
        series.append((name, shares))
    return bar_chart(f"Key depth at {rate:g} req/s, in blocks", "% of requests", groups, series)


def _plot_rate(scenario: Scenario) -> float:
    if scenario.plot_rate in scenario.rates:
        return scenario.plot_rate or scenario.rates[0]
    return scenario.rates[len(scenario.rates) // 2]


def _summaries(results: Sequence[Result], row: str, rate: float) -> list[Summary]:
    return [
        result.summary
        for result in results
        if result.run.row == row and result.run.rate == rate and result.summary is not None
    ]
