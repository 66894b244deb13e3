"""Grafana's dashboard JSON, as far as we use it: a grid of panels under row titles.

The classic model with `schemaVersion` 39 (Grafana 11): later versions (42 is the last of this
model) change nothing that we use, and migrate it when they load it, so it opens in Grafana 11, 12
and 13 alike. The data source and everything that names a cluster are variables.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tools.dashboards.promql import Expr

SCHEMA_VERSION: Final = 39
GRID_COLUMNS: Final = 24
ROW_TITLE_HEIGHT: Final = 1
SOURCE: Final = {"type": "prometheus", "uid": "${datasource}"}


class Unit(enum.StrEnum):
    """Grafana's names of units."""

    COUNT = "short"
    PER_SECOND = "reqps"
    SECONDS = "s"
    SHARE = "percentunit"
    BYTES = "bytes"
    TOKENS_PER_SECOND = "cps"
    NONE = "none"


class Look(enum.StrEnum):
    """Grafana's panel types."""

    LINES = "timeseries"
    NUMBER = "stat"
    HEAT = "heatmap"


class Step(NamedTuple):
    """From this value on, this colour. None is the bottom."""

    at: float | None
    colour: str


class Query(NamedTuple):
    """One expression and the name of its series (`{{label}}` takes a label's value)."""

    expr: Expr
    legend: str = "__auto"


class Panel(NamedTuple):
    """What is drawn. `says` tells a reader what it means and what to do about it.

    `quiet` is why it may be empty while all is well; None where emptiness is a fault. `colours`
    are fixed by series name, so that `ok` is green wherever it is drawn.
    """

    title: str
    says: str
    queries: tuple[Query, ...]
    unit: Unit
    look: Look = Look.LINES
    width: int = 8
    height: int = 8
    steps: tuple[Step, ...] = (Step(None, "green"),)
    stacked: bool = False
    highest: float | None = None
    quiet: str | None = None
    colours: Mapping[str, str] = {}
    logarithmic: bool = False


class Row(NamedTuple):
    """Panels under one title, filled from the left, wrapped at the grid's edge."""

    title: str
    panels: Sequence[Panel]


class Variable(NamedTuple):
    """A choice at the top: the values that a label has on a metric's series."""

    name: str
    label: str
    values: Expr
    of: str


class Dashboard(NamedTuple):
    """One page. `uid` is its address and must never change."""

    uid: str
    title: str
    says: str
    variables: Sequence[Variable]
    rows: Sequence[Row]


def document(dashboard: Dashboard) -> dict[str, Any]:
    """The JSON that Grafana imports."""
    return {
        "uid": dashboard.uid,
        "title": dashboard.title,
        "description": dashboard.says,
        "tags": ["cardan", "llm"],
        "schemaVersion": SCHEMA_VERSION,
        "version": 1,
        "editable": True,
        "graphTooltip": 1,  # one crosshair on all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "",
        "timepicker": {},
        "fiscalYearStartMonth": 0,
        "weekStart": "",
        "links": [],
        "annotations": {"list": []},
        "templating": {
            "list": [_source_variable(), *(_variable(one) for one in dashboard.variables)]
        },
        "panels": _placed(dashboard.rows),
    }


def _placed(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Row titles and panels with their places and numbers."""
    placed: list[dict[str, Any]] = []
    top = 0
    for row in rows:
        placed.append(_title(row, len(placed) + 1, top))
        top += ROW_TITLE_HEIGHT
        left = line_height = 0
        for panel in row.panels:
            if left + panel.width > GRID_COLUMNS:
                top, left, line_height = top + line_height, 0, 0
            placed.append(_panel(panel, len(placed) + 1, left, top))
            left += panel.width
            line_height = max(line_height, panel.height)
        top += line_height
    return placed


def _title(row: Row, number: int, top: int) -> dict[str, Any]:
    return {
        "id": number,
        "type": "row",
        "title": row.title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": top, "w": GRID_COLUMNS, "h": ROW_TITLE_HEIGHT},
        "panels": [],
    }


def _panel(panel: Panel, number: int, left: int, top: int) -> dict[str, Any]:
    says = panel.says if panel.quiet is None else f"{panel.says}\n\nMay be empty: {panel.quiet}."
    return {
        "id": number,
        "type": panel.look.value,
        "title": panel.title,
        "description": says,
        "datasource": SOURCE,
        "gridPos": {"x": left, "y": top, "w": panel.width, "h": panel.height},
        "targets": [_target(panel, query, at) for at, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": _defaults(panel), "overrides": _overrides(panel)},
        "options": _OPTIONS[panel.look](panel),
    }


def _target(panel: Panel, query: Query, at: int) -> dict[str, Any]:
    return {
        "refId": chr(ord("A") + at),
        "datasource": SOURCE,
        "editorMode": "code",
        "expr": str(query.expr),
        "legendFormat": "{{le}}" if panel.look is Look.HEAT else query.legend,
        "format": "heatmap" if panel.look is Look.HEAT else "time_series",
        "range": True,
        "instant": False,
    }


def _defaults(panel: Panel) -> dict[str, Any]:
    coloured = panel.look is Look.NUMBER
    return {
        "unit": panel.unit.value,
        "min": None if panel.logarithmic else 0,
        "max": panel.highest,
        "noValue": "–" if panel.quiet is None else "none",
        "color": {"mode": "thresholds" if coloured else "palette-classic"},
        "thresholds": {
            "mode": "absolute",
            "steps": [{"value": step.at, "color": step.colour} for step in panel.steps],
        },
        "custom": _CUSTOM[panel.look](panel),
    }


def _lines(panel: Panel) -> dict[str, Any]:
    """How lines are drawn: with an area where they are stacked, limits as dashes."""
    return {
        "drawStyle": "line",
        "lineWidth": 1,
        "fillOpacity": 30 if panel.stacked else 8,
        "showPoints": "auto",  # a lone point is no line
        "spanNulls": False,
        "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
        "thresholdsStyle": {"mode": "dashed" if len(panel.steps) > 1 else "off"},
        "scaleDistribution": (
            {"type": "log", "log": 10} if panel.logarithmic else {"type": "linear"}
        ),
        "axisSoftMin": 0,
    }


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    return [
        {
            "matcher": {"id": "byName", "options": name},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for name, colour in panel.colours.items()
    ]


def _lines_options(panel: Panel) -> dict[str, Any]:
    return {
        "legend": {
            "showLegend": True,
            "displayMode": "list" if len(panel.queries) > 1 else "table",
            "placement": "bottom",
            "calcs": [] if len(panel.queries) > 1 else ["lastNotNull", "max"],
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    }


def _number_options(panel: Panel) -> dict[str, Any]:
    return {
        "colorMode": "value",
        "graphMode": "area",
        "justifyMode": "auto",
        "textMode": "auto" if len(panel.queries) == 1 else "value_and_name",
        "orientation": "auto",
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
    }


def _heat_options(panel: Panel) -> dict[str, Any]:
    return {
        "calculate": False,
        "yAxis": {"unit": panel.unit.value, "axisPlacement": "left", "reverse": False},
        "rowsFrame": {"layout": "auto"},
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "cellGap": 1,
        "filterValues": {"le": 1e-9},
        "tooltip": {"mode": "single", "yHistogram": True},
        "legend": {"show": True},
    }


def _plain(_: Panel) -> dict[str, Any]:
    return {}


_CUSTOM: Final = {Look.LINES: _lines, Look.NUMBER: _plain, Look.HEAT: _plain}
_OPTIONS: Final = {
    Look.LINES: _lines_options,
    Look.NUMBER: _number_options,
    Look.HEAT: _heat_options,
}


def _source_variable() -> dict[str, Any]:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "regex": "",
        "hide": 0,
        "multi": False,
        "includeAll": False,
        "options": [],
        "current": {},
    }


def _variable(variable: Variable) -> dict[str, Any]:
    """A list of a label's values; `All` also takes series that have no such label."""
    asks = f"label_values({variable.values}, {variable.of})"
    return {
        "name": variable.name,
        "label": variable.label,
        "type": "query",
        "datasource": SOURCE,
        "query": {"qryType": 1, "query": asks, "refId": "PrometheusVariableQueryEditor"},
        "definition": asks,
        "refresh": 2,  # at every change of the time range: fleets come and go
        "regex": "",
        "sort": 1,
        "hide": 0,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "options": [],
        "current": {"selected": True, "text": ["All"], "value": ["$__all"]},
    }
