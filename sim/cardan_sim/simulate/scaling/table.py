"""Results of scaling on the terminal and as a page."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final

from cardan_sim.pages import document, html_table
from cardan_sim.replay.plots import Series, line_chart
from cardan_sim.simulate.scaling.runs import LINE_MINUTES
from cardan_sim.simulate.table import percent, plain, table

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.table import Table

    from cardan_sim.simulate.scaling.runs import ScalingResult, ScalingRow
    from cardan_sim.simulate.scaling.scenario import ScalingScenario

_HEAD: Final = ("in time, %", "GPU-hours", "over the oracle", "turns an hour")


def render(rows: Sequence[ScalingRow]) -> list[Table]:
    """A table for each load and cold start."""
    tables = []
    for title, own in _cases(rows):
        tables.append(table(title, _HEAD))
        for row in own:
            tables[-1].add_row(row.who, *_cells(row))
    return tables


def render_page(
    scenario: ScalingScenario, rows: Sequence[ScalingRow], results: Sequence[ScalingResult]
) -> str:
    """The whole page."""
    parts = []
    for title, own in _cases(rows):
        parts.append(f"<h2>{title}</h2>")
        parts.append(html_table(["", *_HEAD], [[row.who, *_cells(row)] for row in own]))
    return document(scenario.title, _what(scenario), [*parts, _plots(results)])


def _what(scenario: ScalingScenario) -> str:
    said = (
        f"{scenario.model} on {scenario.gpu}, {100 * scenario.attain:g} % of first tokens promised "
        f"within {scenario.slo_ttft_s:g} s, {scenario.seeds} seeds. Figures are of the second half "
        "of each load; GPU-hours count replicas that start or drain. Intervals are 95 % (Student)."
    )
    return " ".join(filter(None, (scenario.about.strip(), said)))


def _cases(rows: Sequence[ScalingRow]) -> Iterator[tuple[str, list[ScalingRow]]]:
    for (load, cold_start_s), own in groupby(rows, key=lambda row: (row.load, row.cold_start_s)):
        yield f"{load}, cold start {cold_start_s:g} s", list(own)


def _cells(row: ScalingRow) -> list[str]:
    return [
        percent(row.attained),
        *map(plain, (row.gpu_hours, row.over_oracle, row.turns_per_hour)),
    ]


def _plots(results: Sequence[ScalingResult]) -> str:
    """Replicas that serve over time, of the first seed."""
    cases: dict[str, list[Series]] = {}
    for result in results:
        run = result.run
        if run.seed == 1:
            points = [(i * LINE_MINUTES / 60, float(n)) for i, n in enumerate(result.ready)]
            title = f"{run.load}, cold start {run.cold_start_s:g} s"
            cases.setdefault(title, []).append(Series(run.who, points))
    charts = [line_chart(title, "hours", "replicas", lines) for title, lines in cases.items()]
    return f'<h2>Replicas that serve</h2><div class="plots">{"".join(charts)}</div>'
