"""Every alert fires when it should and is silent when it should, as Prometheus itself evaluates it.

What fires is compared with all its labels.
"""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from tests.dashboards.committed import RULES, alert_rules
from tests.dashboards.operator_stories import OPERATOR_STORIES
from tests.dashboards.stories import MODEL, STORIES, Story

if TYPE_CHECKING:
    from pathlib import Path


EVERY = (*STORIES, *OPERATOR_STORIES)


def as_test(story: Story) -> dict[str, Any]:
    """A story in promtool's words."""
    severity = next(
        rule["labels"]["severity"] for rule in alert_rules() if rule["alert"] == story.alert
    )
    expected = []
    if story.fires is not None:
        labels = {
            "__name__": "ALERTS",
            "alertname": story.alert,
            "alertstate": "firing",
            "severity": severity,
            "namespace": "prod",
            "job": "cardan",
            **story.fires,
        }
        inside = ",".join(f'{name}="{value}"' for name, value in labels.items())
        expected = [{"labels": f"{{{inside}}}", "value": 1}]
    return {
        "name": f"{story.alert}: {story.told}",
        "interval": "1m",
        "input_series": [{"series": s, "values": v} for s, v in story.series.items()],
        "promql_expr_test": [
            {
                "expr": f'ALERTS{{alertname="{story.alert}",alertstate="firing"}}',
                "eval_time": story.at,
                "exp_samples": expected,
            }
        ],
    }


def test_rules_are_valid(promtool: Path) -> None:
    done = subprocess.run([promtool, "check", "rules", *RULES], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_does_not() -> None:
    alerts = {rule["alert"] for rule in alert_rules()}
    assert {story.alert for story in EVERY if story.fires is not None} == alerts
    assert {story.alert for story in EVERY if story.fires is None} == alerts


def test_alerts_fire_when_they_should(promtool: Path, tmp_path: Path) -> None:
    stories = tmp_path / "stories.yaml"
    stories.write_text(
        yaml.safe_dump(
            {
                "rule_files": [str(path) for path in RULES],
                "evaluation_interval": "1m",
                "tests": [as_test(story) for story in EVERY],
            },
            sort_keys=False,
        )
    )
    done = subprocess.run([promtool, "test", "rules", stories], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_annotations_are_filled_in(promtool: Path, tmp_path: Path) -> None:
    rule = next(rule for rule in alert_rules() if rule["alert"] == "CardanTtftBudgetBurnsFast")
    test = as_test(STORIES[0])
    del test["promql_expr_test"]
    test["alert_rule_test"] = [
        {
            "eval_time": "70m",
            "alertname": rule["alert"],
            "exp_alerts": [
                {
                    "exp_labels": {**rule["labels"], "namespace": "prod", "job": "cardan", **MODEL},
                    "exp_annotations": {
                        "summary": "m: 20% of streams start too late",
                        "description": rule["annotations"]["description"],
                    },
                }
            ],
        }
    ]
    story = tmp_path / "story.yaml"
    story.write_text(yaml.safe_dump({"rule_files": [str(path) for path in RULES], "tests": [test]}))
    done = subprocess.run([promtool, "test", "rules", story], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
