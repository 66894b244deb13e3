"""Draws a dashboard from a Prometheus without Grafana: one HTML page, to look at while it is made.

    python -m tools.dashboards.preview --prometheus http://127.0.0.1:9090 --out fleet.html

The page has the panels where Grafana puts them, with their values and limits. It is no replacement:
nothing can be clicked, and colours and scales are only alike.
"""

from __future__ import annotations

import argparse
import html
import http.client
import json
import math
import re
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from tools.dashboards import grafana
from tools.dashboards.fleet import FLEET_DASHBOARD
from tools.dashboards.operator import OPERATOR_DASHBOARD

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

DASHBOARDS: Final = {"fleet": FLEET_DASHBOARD, "operator": OPERATOR_DASHBOARD}
CELL_WIDTH_PX, CELL_HEIGHT_PX = 60, 34  # Grafana's grid at a window of 1,440
GAP_PX, TITLE_PX = 8, 24
POINTS: Final = 120
PALETTE: Final = (
    *("#73bf69", "#f2cc0c", "#8ab8ff", "#ff780a", "#f2495c", "#5794f2"),
    *("#b877d9", "#705da0", "#37872d", "#fade2a", "#447ebc", "#c15c17"),
)
NAMED: Final = {
    "green": "#73bf69", "yellow": "#f2cc0c", "red": "#f2495c", "blue": "#5794f2",
    "orange": "#ff780a", "purple": "#b877d9", "dark-red": "#c4162a", "light-red": "#ff7383",
    "dark-orange": "#fa6400", "dark-yellow": "#e0b400", "light-blue": "#8ab8ff",
    "super-light-blue": "#c0d8ff",
}  # fmt: skip


class Line(NamedTuple):
    """One series: its name and its points as (seconds, value)."""

    name: str
    points: list[tuple[float, float]]


class NoAnswerError(Exception):
    """Nobody is there, or it is no Prometheus."""


def main() -> int:
    """Ask, draw, write; 1 and a sentence where nobody answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090", metavar="URL")
    parser.add_argument("--out", type=Path, default=Path("fleet.html"), metavar="FILE")
    parser.add_argument("--minutes", type=float, default=15.0, help="how far to look back")
    parser.add_argument("--rate", default="1m", help="what $__rate_interval stands for")
    parser.add_argument("--dashboard", choices=DASHBOARDS, default="fleet")
    flags = parser.parse_args()
    end_s = time.time()
    ask = asker(flags.prometheus, end_s - 60 * flags.minutes, end_s)
    try:
        drawn = page(grafana.document(DASHBOARDS[flags.dashboard]), ask, flags.rate)
    except NoAnswerError as error:
        sys.stderr.write(f"preview: no Prometheus answers at {flags.prometheus}: {error}\n")
        return 1
    flags.out.write_text(drawn)
    return 0


def asker(base: str, start_s: float, end_s: float) -> Callable[[str], list[dict[str, Any]]]:
    """Range queries of one Prometheus over one span; `NoAnswerError` where it gives none."""
    span = {"start": start_s, "end": end_s, "step": max(1.0, (end_s - start_s) / POINTS)}

    def ask(expr: str) -> list[dict[str, Any]]:
        query = urllib.parse.urlencode({"query": expr, **span})
        try:
            with urllib.request.urlopen(f"{base}/api/v1/query_range?{query}", timeout=30) as answer:
                found: list[dict[str, Any]] = json.load(answer)["data"]["result"]
        except (OSError, ValueError, KeyError, http.client.HTTPException) as error:
            raise NoAnswerError(str(error)) from error
        return found

    return ask


def page(
    document: dict[str, Any], ask: Callable[[str], list[dict[str, Any]]], rate_interval: str
) -> str:
    """The whole page."""
    boxes = [_box(panel, ask, rate_interval) for panel in document["panels"]]
    bottom = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in document["panels"])
    height = bottom * CELL_HEIGHT_PX + 60
    return (
        f"<!doctype html><meta charset=utf-8><title>{html.escape(document['title'])}</title>"
        f"<style>{_STYLE}</style><h1>{html.escape(document['title'])}</h1>"
        f"<main style='height:{height}px'>{''.join(boxes)}</main>"
    )


def _box(
    panel: dict[str, Any], ask: Callable[[str], list[dict[str, Any]]], rate_interval: str
) -> str:
    at = panel["gridPos"]
    width, height = at["w"] * CELL_WIDTH_PX - GAP_PX, at["h"] * CELL_HEIGHT_PX - GAP_PX
    place = (
        f"left:{at['x'] * CELL_WIDTH_PX}px;top:{at['y'] * CELL_HEIGHT_PX}px;"
        f"width:{width}px;height:{height}px"
    )
    if panel["type"] == "row":
        return f"<h2 style='{place}'>{html.escape(panel['title'])}</h2>"
    lines = [line for target in panel["targets"] for line in _lines(target, ask, rate_interval)]
    draw = {"stat": _stat, "heatmap": _heat}.get(panel["type"], _chart)
    inner = (
        draw(panel, lines, width, height - TITLE_PX)
        if any(line.points for line in lines)
        else (f"<p class=none>{panel['fieldConfig']['defaults']['noValue']}</p>")
    )
    title, says = html.escape(panel["title"]), html.escape(panel["description"])
    return f"<section style='{place}' title=\"{says}\"><h3>{title}</h3>{inner}</section>"


def _lines(
    target: dict[str, Any], ask: Callable[[str], list[dict[str, Any]]], rate_interval: str
) -> list[Line]:
    expr = target["expr"].replace("$__rate_interval", rate_interval)
    found = ask(re.sub(r"\$\w+", ".*", expr))
    return [
        Line(
            re.sub(r"\{\{(\w+)\}\}", lambda m: one["metric"].get(m[1], ""), target["legendFormat"]),  # noqa: B023 - called at once
            [(at, float(v)) for at, v in one["values"] if math.isfinite(float(v))],
        )
        for one in found
    ]


def _chart(panel: dict[str, Any], lines: list[Line], width: float, height: float) -> str:
    """Lines, stacked if the panel says so, with limits as dashes and a legend."""
    defaults = panel["fieldConfig"]["defaults"]
    stacked = defaults["custom"]["stacking"]["mode"] == "normal"
    shown = _stack(lines) if stacked else lines
    times = [at for line in lines for at, _ in line.points]
    highest = defaults["max"] or max(v for line in shown for _, v in line.points) * 1.1 or 1.0
    plot_height = height - 38
    left, right = min(times), max(max(times), min(times) + 1)

    def xy(at: float, value: float) -> str:
        x = 50 + (at - left) / (right - left) * (width - 60)
        return f"{x:.1f},{4 + (1 - min(value / highest, 1)) * (plot_height - 8):.1f}"

    colours = _colours(panel, lines)
    drawn = [
        f"<polyline points='{' '.join(xy(*p) for p in line.points)}' fill=none stroke='{colour}'/>"
        for line, colour in zip(shown, colours, strict=True)
    ]
    drawn += [
        f"<polyline points='{xy(left, s['value'])} {xy(right, s['value'])}' fill=none"
        f" stroke='{NAMED.get(s['color'], s['color'])}' stroke-dasharray='4 4'/>"
        for s in defaults["thresholds"]["steps"]
        if s["value"] is not None and s["value"] <= highest
    ]
    ticks = "".join(
        f"<text x=46 y={4 + (1 - part) * (plot_height - 8) + 4:.0f}>"
        f"{_number(part * highest, defaults['unit'])}</text>"
        for part in (0, 0.5, 1)
    )
    svg = f"<svg width={width} height={plot_height}>{ticks}{''.join(drawn)}</svg>"
    return svg + _legend(lines, colours, defaults["unit"])


def _stack(lines: list[Line]) -> list[Line]:
    below: dict[float, float] = {}
    stacked = []
    for line in lines:
        points = []
        for at, value in line.points:
            below[at] = below.get(at, 0.0) + value
            points.append((at, below[at]))
        stacked.append(Line(line.name, points))
    return stacked


def _legend(lines: list[Line], colours: Iterable[str], unit: str) -> str:
    items = [
        f"<i style='color:{colour}'>━</i> {html.escape(line.name)}"
        f" <b>{_number(line.points[-1][1], unit)}</b>"
        for line, colour in zip(lines, colours, strict=True)
        if line.points
    ]
    return f"<p class=legend>{' &ensp; '.join(items)}</p>"


def _colours(panel: dict[str, Any], lines: list[Line]) -> list[str]:
    fixed = {
        one["matcher"]["options"]: one["properties"][0]["value"]["fixedColor"]
        for one in panel["fieldConfig"]["overrides"]
    }
    return [
        NAMED.get(fixed.get(line.name, ""), fixed.get(line.name, "") or PALETTE[n % len(PALETTE)])
        for n, line in enumerate(lines)
    ]


def _stat(panel: dict[str, Any], lines: list[Line], width: float, height: float) -> str:
    """The last value, large, in the colour of the step it is on."""
    del width, height
    defaults = panel["fieldConfig"]["defaults"]
    told = []
    for line in lines:
        value = line.points[-1][1]
        step = [s for s in defaults["thresholds"]["steps"] if (s["value"] or -math.inf) <= value][
            -1
        ]
        name = f"<small>{html.escape(line.name)}</small>" if len(lines) > 1 else ""
        colour = NAMED.get(step["color"], step["color"])
        told.append(f"<span style='color:{colour}'>{name}{_number(value, defaults['unit'])}</span>")
    return f"<p class=stat>{' '.join(told)}</p>"


def _heat(panel: dict[str, Any], lines: list[Line], width: float, height: float) -> str:
    """Buckets as rows, each cell as dark as its share of the fullest."""
    unit = panel["fieldConfig"]["defaults"]["unit"]
    edges = sorted(lines, key=lambda line: float(line.name))
    own: list[dict[float, float]] = []
    before: dict[float, float] = {}
    for line in edges:  # buckets count what is below, too
        now = dict(line.points)
        own.append({at: value - before.get(at, 0.0) for at, value in now.items()})
        before = now
    times = sorted(before)
    fullest = max((value for row in own for value in row.values()), default=0.0) or 1.0
    cell_w, cell_h = (width - 60) / max(1, len(times)), (height - 8) / max(1, len(own))
    cells = [
        f"<rect x={50 + times.index(at) * cell_w:.1f} y={height - 4 - (n + 1) * cell_h:.1f}"
        f" width={cell_w:.1f} height={cell_h:.1f} fill='#ff9830'"
        f" opacity={math.sqrt(value / fullest):.2f} />"
        for n, row in enumerate(own)
        for at, value in row.items()
        if value > 0
    ]
    names = [
        f"<text x=46 y={height - 4 - n * cell_h - 2:.0f}>{_edge(line.name, unit)}</text>"
        for n, line in enumerate(edges)
        if n % 3 == 0
    ]
    return f"<svg width={width} height={height}>{''.join(cells)}{''.join(names)}</svg>"


def _edge(name: str, unit: str) -> str:
    return "∞" if name == "+Inf" else _number(float(name), unit)


def _number(value: float, unit: str) -> str:
    """A value in its unit, as short as Grafana has it."""
    if unit == grafana.Unit.SHARE:
        return f"{100 * value:.3g}%"
    if unit == grafana.Unit.BYTES:
        return f"{value / 2**20:.0f} MiB"
    suffix = {"s": " s", "reqps": "/s", "cps": " c/s"}.get(unit, "")
    if unit == grafana.Unit.SECONDS and 0 < value < 1:
        return f"{1000 * value:.3g} ms" if value >= 0.001 else f"{1e6 * value:.3g} µs"
    return f"{value / 1000:.3g}k{suffix}" if value >= 1000 else f"{value:.3g}{suffix}"


_STYLE: Final = """
body { background: #111217; color: #ccccdc; font: 12px sans-serif; margin: 12px }
main { position: relative } h1 { font-size: 18px }
section, h2 { position: absolute; box-sizing: border-box; margin: 0 }
section { background: #181b1f; border: 1px solid #2c3036; overflow: hidden }
h2 { font-size: 14px; padding-top: 8px } h3 { font-size: 12px; margin: 5px 8px; height: 14px }
.stat { font-size: 32px; text-align: center; margin: 28px 0 } .stat small { font-size: 12px }
.legend { margin: 0 8px; font-size: 10px }
.none { text-align: center; color: #888; margin-top: 40px }
text { fill: #888; font-size: 10px; text-anchor: end }
polyline { stroke-width: 1.4 } b { color: #fff }
"""


if __name__ == "__main__":
    sys.exit(main())
