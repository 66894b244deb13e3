"""A real Prometheus on loopback, and dashboards asked as Grafana asks them."""

from __future__ import annotations

import contextlib
import json
import math
import re
import subprocess
import time
import urllib.parse
import urllib.request
from typing import TYPE_CHECKING, Any, NamedTuple

import yaml

from tests.dashboards.committed import DASHBOARDS, RULES, dashboard, panels
from tests.system.processes import until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

LISTENING = re.compile(r'msg="Listening on" address=([\d.]+:\d+)')
SCRAPE_INTERVAL_S = 1
# Grafana's `$__rate_interval` is four scrape intervals.
EVERYTHING = {
    **dict.fromkeys(("namespace", "job", "model", "fleet"), ".*"),
    "__rate_interval": "4s",
}


class Series(NamedTuple):
    """Labels, and its values that are numbers."""

    labels: dict[str, str]
    values: list[float]


class Answer(NamedTuple):
    """What a panel would draw. `quiet` where it may be empty while all is well."""

    where: str
    quiet: bool
    series: list[Series]

    @property
    def drawn(self) -> bool:
        """Is there anything to see?"""
        return any(one.values for one in self.series)


class Prometheus:
    """A client of one Prometheus. `get` fetches a path with parameters and returns the JSON.

    `url` is where it listens, if that can be reached directly.
    """

    def __init__(self, get: Callable[[str, Mapping[str, str]], Any], url: str = "") -> None:
        self._get = get
        self.url = url

    def ask(self, path: str, **parameters: str) -> Any:
        """The `data` of an API call that must succeed."""
        answer = self._get(f"/api/v1/{path}", parameters)
        assert answer["status"] == "success", answer
        return answer["data"]

    def range(self, expr: str, start_s: float, end_s: float, step_s: float) -> list[Series]:
        """A range query, without what is not a number."""
        found = self.raw(start_s, end_s, step_s)(expr)
        return [
            Series(
                one["metric"],
                [value for _, text in one["values"] if math.isfinite(value := float(text))],
            )
            for one in found
        ]

    def raw(
        self, start_s: float, end_s: float, step_s: float = 1.0
    ) -> Callable[[str], list[dict[str, Any]]]:
        """Range queries over one span, as Prometheus answers them."""
        span = {"start": f"{start_s}", "end": f"{end_s}", "step": f"{step_s}"}

        def ask(expr: str) -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = self.ask("query_range", query=expr, **span)["result"]
            return found

        return ask

    def healthy_targets(self) -> list[dict[str, str]]:
        """Labels of what was scraped with success."""
        targets = self.ask("targets", state="active")["activeTargets"]
        return [target["labels"] for target in targets if target["health"] == "up"]

    def dashboards(self, start_s: float, end_s: float, chosen: Mapping[str, str]) -> list[Answer]:
        """Every query of every dashboard."""
        return [
            Answer(
                f"{path.stem}: {panel['title']} {target['refId']}",
                "May be empty:" in panel["description"],
                self.range(filled(target["expr"], chosen), start_s, end_s, 1),
            )
            for path in DASHBOARDS
            for panel in panels(dashboard(path))
            for target in panel["targets"]
        ]

    def choices(self, chosen: Mapping[str, str]) -> dict[str, list[str]]:
        """What the dashboards' variables offer."""
        offered: dict[str, list[str]] = {}
        for path in DASHBOARDS:
            for variable in dashboard(path)["templating"]["list"]:
                if variable["type"] != "query":
                    continue
                asked = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                assert asked, variable["definition"]
                offered[variable["name"]] = self.ask(
                    f"label/{asked[2]}/values", **{"match[]": filled(asked[1], chosen)}
                )
        return offered


def filled(expr: str, chosen: Mapping[str, str]) -> str:
    """An expression with the dashboard's variables in it."""
    return re.sub(r"\$(\w+)", lambda match: chosen[match[1]], expr)


def config(gateways: list[str], **labels: str) -> str:
    """What to scrape, with our alert rules."""
    return yaml.safe_dump(
        {
            "global": {
                "scrape_interval": f"{SCRAPE_INTERVAL_S}s",
                "scrape_timeout": f"{SCRAPE_INTERVAL_S}s",
                "evaluation_interval": "1s",
            },
            "rule_files": [str(path) for path in RULES],
            "scrape_configs": [
                {
                    "job_name": "cardan",
                    "static_configs": [
                        {"targets": [url.removeprefix("http://")], "labels": labels}
                        for url in gateways
                    ],
                }
            ],
        }
    )


@contextlib.contextmanager
def running(program: Path, folder: Path, configuration: str) -> Iterator[Prometheus]:
    """A server on a port of the kernel's choice, gone at the end."""
    log = folder / "prometheus.log"
    (folder / "prometheus.yaml").write_text(configuration)
    with log.open("wb") as out:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
            ],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        address = _address(process, log)
        yield Prometheus(_getter(address), f"http://{address}")
    finally:
        process.kill()
        process.wait()


def _address(process: subprocess.Popen[bytes], log: Path) -> str:
    found: list[str] = []

    def look() -> bool:
        text = log.read_text()
        assert process.poll() is None, text[-2000:]
        found.extend(LISTENING.findall(text))
        return bool(found) and "Server is ready" in text

    until(look, "Prometheus to listen", 45.0)
    return found[0]


def _getter(address: str) -> Callable[[str, Mapping[str, str]], Any]:
    def get(path: str, parameters: Mapping[str, str]) -> Any:
        url = f"http://{address}{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)

    return get


def now_s() -> float:
    """Prometheus' clock."""
    return time.time()
