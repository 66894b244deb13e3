"""The dashboards and rules as they are committed, read back without the code that wrote them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml
from cardan_router.telemetry import metrics
from cardan_router.telemetry.registry import Kind

from tools.dashboards import operator_metrics

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
DASHBOARDS = sorted((ROOT / "deploy/helm/cardan/dashboards").glob("*.json"))
RULES = sorted((ROOT / "deploy/helm/cardan/rules").glob("*.yaml"))
SCRAPED_LABELS = {"namespace", "job", "pod", "instance"}

METRIC = re.compile(r"\b(?:cardan|process|vllm|sglang)[:_]\w+")
SELECTOR = re.compile(r"(?P<name>\b(?:cardan|process)_\w+)(?:\{(?P<inside>[^}]*)\})?")
MATCHER = re.compile(r"(\w+)(?:=~|!~|!=|=)")
GROUPING = re.compile(r"\bby \(([^)]*)\)")


class Asked(NamedTuple):
    """One expression, where it stands, and how its series are named."""

    where: str
    expr: str
    legend: str = ""


def dashboard(path: Path) -> dict[str, Any]:
    """A dashboard's JSON."""
    loaded = json.loads(path.read_text())
    assert isinstance(loaded, dict)
    return loaded


def panels(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Its panels, without row titles."""
    return [panel for panel in document["panels"] if panel["type"] != "row"]


def panel_queries() -> Iterator[Asked]:
    """Every query of every dashboard."""
    for path in DASHBOARDS:
        for panel in panels(dashboard(path)):
            for target in panel["targets"]:
                where = f"{path.stem}: {panel['title']} {target['refId']}"
                yield Asked(where, target["expr"], target["legendFormat"])


def alert_rules() -> Iterator[dict[str, Any]]:
    """Every alert."""
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def alert_queries() -> Iterator[Asked]:
    """Every alert's expression."""
    for rule in alert_rules():
        yield Asked(rule["alert"], rule["expr"])


def exported() -> dict[str, set[str]]:
    """Every name that a scrape of a gateway or an operator has, with its labels."""
    names: dict[str, set[str]] = {}
    for spec in (*metrics.ALL, *operator_metrics.ALL):
        labels = set(spec.labels) | ({"worker"} if spec.merge == "each" else set())
        if spec.kind is Kind.HISTOGRAM:
            names[f"{spec.name}_bucket"] = labels | {"le"}
            names[f"{spec.name}_sum"] = names[f"{spec.name}_count"] = labels
        else:
            names[spec.name] = labels
    return names
