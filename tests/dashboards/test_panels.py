"""What panels draw of series that are easy to mix up, as Prometheus itself evaluates their queries.

Two releases may serve the same model, and one scrape job may find gateways and engines alike.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.dashboards.committed import panel_queries
from tests.dashboards.live import EVERYTHING, filled

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

GATEWAY = 'namespace="prod",job="pods",pod="gateway-0",instance="a:9090"'
ENGINE = 'namespace="prod",job="pods",pod="vllm-0",instance="b:8000"'
BUILD = {f'cardan_build_info{{{GATEWAY},version="1",python="3",policy="dualmap"}}': "1x20"}
RELEASES = [
    'namespace="prod",job="cardan",pod="gateway-0",instance="a:9090"',
    'namespace="prod",job="cardan",pod="gateway-1",instance="b:9090"',
    'namespace="test",job="cardan",pod="gateway-0",instance="c:9090"',
]
OWN = {"pod": "gateway-0", "instance": "a:9090"}


class Drawing(NamedTuple):
    """A panel's query, what was measured, and the values that it has by its series' labels."""

    panel: str
    series: Mapping[str, str]
    drawn: list[tuple[Mapping[str, str], float]]


def _endpoints(which: str, *counts: int) -> dict[str, str]:
    return {
        f'cardan_fleet_endpoints{{{labels},model="m",which="{which}"}}': f"{count}x20"
        for labels, count in zip(RELEASES, counts, strict=True)
    }


def _states(*states: str) -> dict[str, str]:
    return {
        f'cardan_endpoint_state{{{labels},endpoint="vllm-0",state="{state}"}}': "1x20"
        for labels, state in zip(RELEASES, states, strict=True)
    }


DRAWINGS = (
    Drawing(
        "CPU cores, by gateway A",
        BUILD
        | {f"process_cpu_seconds_total{{{GATEWAY}}}": "0+30x20"}
        | {f"process_cpu_seconds_total{{{ENGINE}}}": "0+600x20"},
        [(OWN, 0.5)],
    ),
    Drawing(
        "Memory, by gateway A",
        BUILD
        | {f'process_resident_memory_bytes{{{GATEWAY},worker="{n}"}}': "1000x20" for n in (0, 1)}
        | {f"process_resident_memory_bytes{{{ENGINE}}}": "9000000x20"},
        [(OWN, 2000)],
    ),
    Drawing("Endpoints A", _endpoints("routable", 3, 2, 2), [({}, 5)]),
    Drawing("Endpoints B", _endpoints("all", 3, 3, 2), [({}, 5)]),
    Drawing(
        "Endpoints, by state A",
        _states("healthy", "healthy", "healthy"),
        [({"state": "healthy"}, 2)],
    ),
)


def as_test(drawing: Drawing) -> dict[str, Any]:
    """A drawing in promtool's words."""
    (expr,) = (q.expr for q in panel_queries() if q.where.endswith(f": {drawing.panel}"))
    return {
        "name": drawing.panel,
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in drawing.series.items()],
        "promql_expr_test": [
            {
                "expr": filled(expr, EVERYTHING | {"__rate_interval": "4m"}),
                "eval_time": "10m",
                "exp_samples": [
                    {
                        "labels": "{" + ",".join(f'{k}="{v}"' for k, v in labels.items()) + "}",
                        "value": value,
                    }
                    for labels, value in drawing.drawn
                ],
            }
        ],
    }


def test_each_release_and_each_kind_of_pod_is_told_apart(promtool: Path, tmp_path: Path) -> None:
    told = tmp_path / "drawings.yaml"
    told.write_text(yaml.safe_dump({"tests": [as_test(drawing) for drawing in DRAWINGS]}))
    done = subprocess.run([promtool, "test", "rules", told], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
