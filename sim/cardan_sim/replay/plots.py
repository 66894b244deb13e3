"""Line and bar charts as inline SVG: no script, no font, no file but the page they stand in.

A chart is a <figure>: its title and legend are text of the page, which wraps as the page does, and
the drawing below them is scaled. On a phone that is by two thirds, so the page makes letters there
half as large again; labels keep the distance that such letters need.

Colours are CSS variables (`--s0`, `--s1`, … for the series, `--ink`, `--grid`), so the page
decides about light and dark. Sizes are in SVG user units, one to a CSS pixel at full width.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

WIDTH: Final = 560
HEIGHT: Final = 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 76, 22, 12, 56
_PLOT_WIDTH: Final = WIDTH - _LEFT - _RIGHT
_PLOT_HEIGHT: Final = HEIGHT - _TOP - _BOTTOM
_TICKS: Final = 6
SERIES_COLOURS: Final = 6
# Beyond the colours, lines differ by their dashes: (on, off) in user units.
_DASHES: Final = ((0, 0), (7, 3), (2, 3), (12, 4))
# A picosecond, in seconds: no figure here is that small, and an axis must have a length.
_NOTHING: Final = 1e-12
# Four decades on a logarithmic axis: what is smaller is drawn at its edge.
_LOG_SPAN: Final = 1e4
# The largest letters the page sets are 17 units high and about nine wide; no font metrics here.
_LETTER: Final = 9


@dataclass(frozen=True, slots=True)
class Series:
    """One line: its name in the legend and its points, in data units."""

    label: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Mark:
    """A vertical line at a value of the x axis, with its name."""

    at: float
    label: str


@dataclass(frozen=True, slots=True)
class Axis:
    """From data to user units along one side, linear or logarithmic."""

    low: float
    high: float
    start: float
    length: float
    log: bool = False

    def place(self, value: float) -> float:
        """Where a value lies; values outside are drawn at the edge."""
        value = min(max(value, self.low), self.high)
        if self.log:
            share = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            share = (value - self.low) / (self.high - self.low)
        return self.start + share * self.length

    def ticks(self) -> list[float]:
        """Round values to label, few enough to read."""
        return _log_ticks(self.low, self.high) if self.log else _ticks(self.low, self.high)


def _ticks(low: float, high: float) -> list[float]:
    raw = (high - low) / _TICKS
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 5, 10) if unit * m >= raw)
    first = math.ceil(low / step)
    return [index * step for index in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    factors = (1, 2, 5) if len(decades) <= 4 else (1,)
    candidates = (factor * 10.0**decade for decade in decades for factor in factors)
    return [tick for tick in candidates if low * 0.999 <= tick <= high * 1.001]


def number(value: float) -> str:
    """A tick's label: four digits at most, with k and M for what is larger."""
    for unit, letter in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return f"{value / unit:.4g} {letter}"
    return f"{value:.4g}"


def line_chart(
    title: str,
    x_label: str,
    y_label: str,
    series: Sequence[Series],
    *,
    x_log: bool = False,
    x_from: float = 0.0,
    y_max: float | None = None,
    mark: Mark | None = None,
    note: str = "",
) -> str:
    """A chart of lines over a shared x axis, from `x_from`. Empty series are left out of it."""
    drawn = [s for s in series if s.points]
    xs = [x for s in drawn for x, _ in s.points] + ([mark.at] if mark else [])
    ys = [y for s in drawn for _, y in s.points]
    x_axis = _x_axis(xs, x_from, log=x_log)
    top = y_max if y_max is not None else _above(ys)
    y_axis = Axis(0.0, top, _TOP + _PLOT_HEIGHT, -_PLOT_HEIGHT)
    parts = [
        *_frame(x_label, y_label),
        *_y_grid(y_axis),
        *_x_grid(x_axis),
        *(_mark(mark, x_axis) if mark else ()),
        *(_polyline(s, index, x_axis, y_axis) for index, s in enumerate(drawn)),
    ]
    return _figure(title, [s.label for s in drawn], parts, note)


def bar_chart(
    title: str, y_label: str, groups: Sequence[str], series: Sequence[tuple[str, Sequence[float]]]
) -> str:
    """Grouped bars: each series is a label and one value for each group."""
    top = _above([value for _, values in series for value in values])
    y_axis = Axis(0.0, top, _TOP + _PLOT_HEIGHT, -_PLOT_HEIGHT)
    slot = _PLOT_WIDTH / max(1, len(groups))
    width = 0.8 * slot / max(1, len(series))
    parts = [*_frame("", y_label), *_y_grid(y_axis)]
    for column, name in enumerate(groups):
        left = _LEFT + slot * (column + 0.1)
        for index, (label, values) in enumerate(series):
            text = f"{name}, {label}: {number(values[column])}"
            parts.append(_bar(left + index * width, width, y_axis, values[column], index, text))
        parts.append(_group_label(left + 0.4 * slot, name, slot))
    return _figure(title, [label for label, _ in series], parts)


def _x_axis(xs: Sequence[float], start: float, *, log: bool) -> Axis:
    low = min(xs, default=0.0) if log else start
    high = max(xs, default=1.0)
    if log:
        low = max(low, high / _LOG_SPAN, _NOTHING)
    if high - low < _NOTHING:
        high = low * 2 if low > _NOTHING else 1.0
    return Axis(low, high, _LEFT, _PLOT_WIDTH, log)


def _above(values: Sequence[float]) -> float:
    highest = max(values, default=0.0)
    return highest * 1.05 if highest > _NOTHING else 1.0


def _figure(title: str, labels: Sequence[str], parts: Sequence[str], note: str = "") -> str:
    body = "\n".join(parts)
    below = f'<p class="note">{escape(note)}</p>' if note else ""
    return (
        f"<figure><figcaption>{escape(title)}{_legend(labels)}</figcaption>\n"
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">\n'
        f"{body}\n</svg>{below}</figure>"
    )


def _text(x: float, y: float, text: str, anchor: str = "start", extra: str = "") -> str:
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"'
    return f"<text {place}{extra}>{escape(text)}</text>"


def _frame(x_label: str, y_label: str) -> list[str]:
    middle = _TOP + _PLOT_HEIGHT / 2
    turned = f' transform="rotate(-90 14 {middle:.1f})"'
    return [
        _text(_LEFT + _PLOT_WIDTH / 2, HEIGHT - 8, x_label, "middle"),
        _text(14, middle, y_label, "middle", turned),
    ]


def _rule(x1: float, y1: float, x2: float, y2: float, css: str) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" class="{css}"/>'


def _y_grid(axis: Axis) -> list[str]:
    parts = []
    for tick in axis.ticks():
        y = axis.place(tick)
        parts.append(_rule(_LEFT, y, WIDTH - _RIGHT, y, "grid"))
        parts.append(_text(_LEFT - 6, y + 4, number(tick), "end"))
    return parts


def _x_grid(axis: Axis) -> list[str]:
    bottom = HEIGHT - _BOTTOM
    parts = []
    free_from = -math.inf
    for tick in axis.ticks():
        x, label = axis.place(tick), number(tick)
        parts.append(_rule(x, _TOP, x, bottom, "grid"))
        half = _LETTER * len(label) / 2
        if x - half >= free_from:
            parts.append(_text(x, bottom + 18, label, "middle"))
            free_from = x + half + _LETTER
    return parts


def _mark(mark: Mark, axis: Axis) -> list[str]:
    x = axis.place(mark.at)
    fits = x + 4 + _LETTER * len(mark.label) <= WIDTH
    place, anchor = (x + 4, "start") if fits else (x - 4, "end")
    return [
        _rule(x, _TOP, x, HEIGHT - _BOTTOM, "mark"),
        _text(place, HEIGHT - _BOTTOM - 8, mark.label, anchor),
    ]


def _polyline(series: Series, index: int, x_axis: Axis, y_axis: Axis) -> str:
    points = " ".join(f"{x_axis.place(x):.1f},{y_axis.place(y):.1f}" for x, y in series.points)
    return f'<polyline points="{points}" style="stroke:{_colour(index)}{_dashes(index)}"/>'


def _colour(index: int) -> str:
    return f"var(--s{index % SERIES_COLOURS})"


def _dashes(index: int) -> str:
    on, off = _DASHES[index // SERIES_COLOURS % len(_DASHES)]
    return f";stroke-dasharray:{on} {off}" if on else ""


def _swatch(index: int) -> str:
    """A series' mark in the legend, dashed as its line is."""
    on, off = _DASHES[index // SERIES_COLOURS % len(_DASHES)]
    colour = _colour(index)
    if not on:
        return f"background:{colour}"
    stops = f"{colour} 0 {on}px,transparent {on}px {on + off}px"
    return f"background:repeating-linear-gradient(90deg,{stops});width:1.6rem"


def _bar(left: float, width: float, axis: Axis, value: float, index: int, text: str) -> str:
    y = axis.place(value)
    box = f'x="{left:.1f}" y="{y:.1f}" width="{width:.1f}" height="{axis.start - y:.1f}"'
    fill = f'style="fill:{_colour(index)}"'
    return f"<rect {box} {fill}><title>{escape(text)}</title></rect>"


def _group_label(x: float, name: str, slot: float) -> str:
    """The name under a group of bars, slanted where it is wider than its place."""
    y = HEIGHT - _BOTTOM + 16
    if _LETTER * len(name) <= slot:
        return _text(x, y, name, "middle")
    return _text(x + 4, y - 4, name, "end", f' transform="rotate(-30 {x:.1f} {y:.1f})"')


def _legend(labels: Sequence[str]) -> str:
    """The names of the series with their colours; one alone needs none."""
    if len(labels) < 2:
        return ""
    entries = (
        f'<li><i style="{_swatch(index)}"></i>{escape(label)}</li>'
        for index, label in enumerate(labels)
    )
    return f'<ul class="legend">{"".join(entries)}</ul>'


def cdf(label: str, quantiles: Sequence[float], unit: Callable[[float], float]) -> Series:
    """A cumulative distribution from evenly spaced quantiles, in the unit given."""
    last = max(1, len(quantiles) - 1)
    return Series(label, [(unit(q), 100 * i / last) for i, q in enumerate(quantiles)])
