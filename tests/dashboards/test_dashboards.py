"""What is committed is what the definitions say, asks only for what is exported, and is laid out
so that a person can read it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.dashboards.committed import (
    DASHBOARDS,
    GROUPING,
    MATCHER,
    METRIC,
    ROOT,
    SCRAPED_LABELS,
    SELECTOR,
    Asked,
    alert_queries,
    alert_rules,
    dashboard,
    exported,
    panel_queries,
    panels,
)

if TYPE_CHECKING:
    from pathlib import Path

TEMPLATE = re.compile(r"\{\{.*?\}\}")
LEGEND_LABEL = re.compile(r"\{\{(\w+)\}\}")


def test_generated_files_are_fresh() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.gen_dashboards", "--check"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "asked", [*panel_queries(), *alert_queries()], ids=lambda asked: str(asked.where)
)
def test_every_query_asks_for_what_is_exported(asked: Asked) -> None:
    known = exported()
    named = METRIC.findall(asked.expr)
    assert named
    assert set(named) <= set(known)
    for match in SELECTOR.finditer(asked.expr):
        labels = set(MATCHER.findall(match["inside"] or ""))
        assert labels <= known[match["name"]] | SCRAPED_LABELS, match[0]
    of_all = set().union(*(known[name] for name in named)) | SCRAPED_LABELS
    grouped = {
        label.strip() for inside in GROUPING.findall(asked.expr) for label in inside.split(",")
    }
    assert grouped - {""} <= of_all
    assert set(LEGEND_LABEL.findall(asked.legend)) <= grouped, (
        "the legend names a label summed away"
    )


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
class TestLayout:
    """Each dashboard as a reader, and as Grafana, meets it."""

    def test_its_address_is_its_file_name(self, path: Path) -> None:
        document = dashboard(path)
        assert document["uid"] == path.stem
        assert len(document["uid"]) <= 40  # Grafana's limit
        assert document["schemaVersion"] >= 39
        assert "id" not in document  # a number of one Grafana's database

    def test_panels_fill_the_grid_without_overlap(self, path: Path) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in dashboard(path)["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert at["x"] + at["w"] <= 24
            assert not cells & taken, panel["title"]
            taken |= cells

    def test_numbers_and_titles_are_unique(self, path: Path) -> None:
        document = dashboard(path)
        numbers = [panel["id"] for panel in document["panels"]]
        titles = [panel["title"] for panel in document["panels"]]
        assert len(set(numbers)) == len(numbers)
        assert len(set(titles)) == len(titles)

    def test_every_panel_says_what_it_means_and_in_which_unit(self, path: Path) -> None:
        for panel in panels(dashboard(path)):
            assert len(panel["description"]) > 20, panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
            steps = panel["fieldConfig"]["defaults"]["thresholds"]["steps"]
            assert steps[0]["value"] is None
            values = [step["value"] for step in steps[1:]]
            assert values == sorted(values)

    def test_no_cluster_is_built_in(self, path: Path) -> None:
        document = dashboard(path)
        sources = [
            *(panel["datasource"] for panel in panels(document)),
            *(target["datasource"] for panel in panels(document) for target in panel["targets"]),
            *(v["datasource"] for v in document["templating"]["list"] if v["type"] == "query"),
        ]
        assert {source["uid"] for source in sources} == {"${datasource}"}
        for panel in panels(document):
            for target in panel["targets"]:
                for match in SELECTOR.finditer(target["expr"]):
                    assert 'namespace=~"$namespace"' in (match["inside"] or ""), match[0]
                    assert 'job=~"$job"' in match["inside"]

    def test_variables_are_known_before_they_are_used(self, path: Path) -> None:
        known = {"__rate_interval"}
        for variable in dashboard(path)["templating"]["list"]:
            used = set(re.findall(r"\$(\w+)", str(variable["query"])))
            assert used <= known, variable["name"]
            known.add(variable["name"])
        asks = [asked.expr for asked in panel_queries() if asked.where.startswith(f"{path.stem}:")]
        exprs = " ".join(asks)
        assert set(re.findall(r"\$(\w+)", exprs)) <= known


def test_alerts_say_what_is_wrong_whose_it_is_and_what_to_do() -> None:
    names: list[str] = []
    for rule in alert_rules():
        names.append(rule["alert"])
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        assert len(TEMPLATE.sub("some-pod", rule["annotations"]["summary"])) <= 80
        assert {"namespace", "job"} <= labels_kept(rule), rule["alert"]
        said = " ".join(rule["annotations"].values())
        assert set(re.findall(r"\$labels\.(\w+)", said)) <= labels_kept(rule), rule["alert"]
    assert len(set(names)) == len(names)


def labels_kept(rule: dict[str, Any]) -> set[str]:
    """Labels that every grouping of an alert keeps."""
    groups = [
        {label.strip() for label in inside.split(",")} for inside in GROUPING.findall(rule["expr"])
    ]
    return set.intersection(*groups)
