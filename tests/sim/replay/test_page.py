"""The page is well-formed, needs nothing else, and shows what the figures say."""

from __future__ import annotations

import io
import re
from array import array
from xml.etree import ElementTree

import pytest
from cardan_sim.replay.figures import Figures, Settings
from cardan_sim.replay.measure import measure
from cardan_sim.replay.openloop import Outcome
from cardan_sim.replay.page import render_page
from cardan_sim.replay.plots import Axis, Mark, Series, bar_chart, line_chart
from cardan_sim.replay.sample import Sample
from cardan_sim.replay.table import figures_table
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

finite = st.floats(0, 1e6, allow_nan=False)


def run_of(label: str, *samples: Sample) -> Figures:
    asked = Settings(
        label=label,
        trace="t",
        endpoint="http://x",
        model="m",
        requests=len(samples),
        offered_rps=1.0,
        time_scale=1.0,
        slo_ttft_s=2.0,
    )
    return measure(Outcome(list(samples)), asked)


def answered(ttft_s: float, endpoint: str) -> Sample:
    made = Sample(due_s=0.0, sent_s=0.0, first_s=ttft_s, end_s=ttft_s + 1, endpoint=endpoint)
    made.gaps_s = array("d", [0.01, 0.02])
    made.prompt_tokens, made.cached_tokens, made.output_tokens = 100, 40, 3
    return made


def svg_of(chart: str) -> str:
    match = re.search(r"<svg.*?</svg>", chart, re.DOTALL)
    assert match is not None
    return match[0]


def charts(page: str) -> list[ElementTree.Element]:
    return [ElementTree.fromstring(svg) for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL)]


def test_a_page_of_one_run_has_its_four_plots_and_loads_nothing() -> None:
    page = render_page("title", [run_of("one", answered(0.5, "a:1"), answered(1.5, "a:2"))])
    titles = [chart.attrib["aria-label"] for chart in charts(page)]
    assert titles == [
        "Time to first token",
        "Requests over time",
        "Prompt tokens computed by each endpoint",
        "Inter-token latency",
    ]
    assert not re.search(r"<script|<link|src=|url\(|@import", page)


def test_runs_stand_beside_each_other_with_their_names() -> None:
    runs = [run_of("round-robin", answered(3.0, "a:1")), run_of("cardan", answered(0.5, "a:1"))]
    page = render_page("compared", runs)
    assert "<th>round-robin</th><th>cardan</th>" in page
    assert "<td>0.0 % in 2 s</td><td>100.0 % in 2 s</td>" in page
    assert '</i>round-robin</li><li><i style="background:var(--s1)"></i>cardan</li>' in page
    assert "SLO 2 s" in [text.text for text in charts(page)[0].iter("text")]


@pytest.mark.parametrize("ttft_s", [0.01, 0.4, 1.9, 20.0])
def test_the_name_of_a_mark_stays_inside_the_picture(ttft_s: float) -> None:
    chart = charts(render_page("t", [run_of("one", answered(ttft_s, "a:1"))]))[0]
    (mark,) = (text for text in chart.iter("text") if text.text == "SLO 2 s")
    x, width = float(mark.attrib["x"]), 9 * len("SLO 2 s")
    left = x - width if mark.attrib["text-anchor"] == "end" else x
    assert left >= 0
    assert left + width <= 560


def test_gaps_of_zero_are_explained_where_there_are_some() -> None:
    page = render_page("t", [run_of("one", answered(0.5, "a:1"))])
    assert "one read" not in page
    together = answered(0.5, "a:1")
    together.gaps_s = array("d", [0.0, 0.02])
    assert "one read" in render_page("t", [run_of("one", together)])


def test_names_from_outside_cannot_become_markup() -> None:
    page = render_page("<b>&", [run_of("<script>x</script>", answered(0.5, '"><img>'))])
    assert "<script" not in page
    assert "<img" not in page
    assert len(charts(page)) == 4


def test_a_run_without_answers_is_still_a_page() -> None:
    failed = Sample(due_s=0.0, sent_s=0.0, end_s=1.0, error="connect")
    page = render_page("t", [run_of("nothing", failed)])
    assert "Failed: 1 × connect." in page
    assert len(charts(page)) == 3


@given(low=st.floats(1e-5, 1e3), factor=st.floats(1.5, 1e5), log=st.booleans())
def test_ticks_lie_on_the_axis_in_order_and_are_few(low: float, factor: float, log: bool) -> None:
    axis = Axis(low if log else 0.0, low * factor, 0.0, 100.0, log)
    ticks = axis.ticks()
    assert len(ticks) <= 12
    assert ticks == sorted(set(ticks))
    assert all(-0.1 <= axis.place(tick) <= 100.1 for tick in ticks)


@given(low=st.floats(1e-5, 1e3), factor=st.floats(1.5, 1e5), log=st.booleans())
def test_labels_of_ticks_keep_apart_in_the_largest_letters(
    low: float, factor: float, log: bool
) -> None:
    chart = line_chart("t", "", "", [Series("s", [(low, 1.0), (low * factor, 2.0)])], x_log=log)
    texts = [t for t in ElementTree.fromstring(svg_of(chart)).iter("text") if t.text]
    bottom = max(float(t.attrib["y"]) for t in texts)
    ends = 0.0
    for text in (t for t in texts if float(t.attrib["y"]) == bottom):
        half = 9 * len(text.text or "") / 2
        assert float(text.attrib["x"]) - half >= ends
        ends = float(text.attrib["x"]) + half + 4


@given(points=st.lists(st.tuples(finite, finite), max_size=30), log=st.booleans())
def test_lines_stay_inside_the_picture(points: list[tuple[float, float]], log: bool) -> None:
    ordered = sorted(points)
    chart = line_chart("t", "x", "y", [Series("s", ordered)], x_log=log, mark=Mark(1.0, "SLO"))
    for line in ElementTree.fromstring(svg_of(chart)).iter("polyline"):
        for pair in line.attrib["points"].split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= 560
            assert 0 <= y <= 300


def test_bars_are_as_high_as_their_values() -> None:
    chart = bar_chart("t", "y", ["a", "b"], [("one", [10.0, 5.0])])
    bars = ElementTree.fromstring(svg_of(chart)).iter("rect")
    heights = [float(bar.attrib["height"]) for bar in bars]
    assert heights[0] == pytest.approx(2 * heights[1], abs=0.2)


def test_three_runs_stand_beside_each_other_in_eighty_columns() -> None:
    samples = [answered(123.45, f"engine-{number}") for number in range(600)]
    for sample in samples:
        sample.prompt_tokens = 8_000
    runs = [
        run_of(name, *samples) for name in ("session-hash", "least-request", "Cardan (dualmap)")
    ]
    console = Console(width=80, file=io.StringIO())
    assert console.measure(figures_table(runs), options=console.options).maximum <= 80
