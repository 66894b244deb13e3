"""values.yaml, its schema, its page, the templates and the gateway speak of the same things."""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import msgspec
import pytest
import yaml
from cardan_controller.config import OperatorConfig
from cardan_controller.election import LeaseConfig
from cardan_router.config import FIXED, Config

from tests.chart.helm import CHART, ROOT
from tools.chart.reference import UnexplainedError, rows
from tools.chart.schema import SET_BY_THE_CHART, SET_FOR_THE_LEASE, SET_FOR_THE_OPERATOR
from tools.chart.values import Values
from tools.gen_chart_reference import files

TEXT = (CHART / "values.yaml").read_text()
DEFAULTS: dict[str, Any] = yaml.safe_load(TEXT)
CHART_FILE: dict[str, Any] = yaml.safe_load((CHART / "Chart.yaml").read_text())


def leaves(node: object, path: str = "") -> set[str]:
    """The paths of all values that are no mapping, or an empty one."""
    if not isinstance(node, dict) or not node:
        return {path}
    return {
        leaf
        for key, inner in node.items()
        for leaf in leaves(inner, f"{path}.{key}" if path else str(key))
    }


def test_the_defaults_are_values() -> None:
    own = {name: value for name, value in DEFAULTS.items() if name != "config"}
    decoded = msgspec.convert(own, Values)
    assert msgspec.to_builtins(decoded) == own


def test_every_value_is_explained() -> None:
    told = [row.path for row in rows(TEXT)]
    assert len(told) == len(set(told))
    for leaf in leaves(DEFAULTS):
        assert any(leaf == path or leaf.startswith(f"{path}.") for path in told), leaf
    assert all(row.text[0].isupper() or row.text[0] == "`" for row in rows(TEXT))
    assert all(row.text.endswith(".") for row in rows(TEXT))


@pytest.mark.parametrize(
    "text", ["a: 1\n", "# a comment\na: {}\n", "# -- well\na:\n  b: 1\nc: 2\n", "# -- a\n\nb: 1\n"]
)
def test_a_value_without_a_word_is_found(text: str) -> None:
    with pytest.raises(UnexplainedError, match="no `# --` above"):
        rows(text)


def test_generated_files_are_fresh() -> None:
    for path, text in files().items():
        assert path.read_text() == text, f"{path}: run python -m tools.gen_chart_reference"


def test_the_schema_is_strict_wherever_names_are_ours() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    definitions = {"the root": schema, **schema["$defs"]}
    for name, definition in definitions.items():
        if definition.get("type") == "object":
            assert definition["additionalProperties"] is False, name
    assert set(schema["required"]) == set(DEFAULTS)


def test_all_of_the_gateways_configuration_can_be_set_somehow() -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    own = set(schema["$defs"]["Config"]["properties"])
    assert own | set(SET_BY_THE_CHART) == set(Config.__struct_fields__)
    assert not own & set(SET_BY_THE_CHART)


@pytest.mark.parametrize(
    ("struct", "own_words"),
    [(OperatorConfig, SET_FOR_THE_OPERATOR), (LeaseConfig, SET_FOR_THE_LEASE)],
)
def test_all_of_the_operators_configuration_can_be_set_somehow(
    struct: type[OperatorConfig | LeaseConfig], own_words: tuple[str, ...]
) -> None:
    schema = json.loads((CHART / "values.schema.json").read_text())
    own = set(schema["$defs"][struct.__name__]["properties"])
    assert own | set(own_words) == set(struct.__struct_fields__)
    assert not own & set(own_words)


def test_the_templates_know_what_only_a_restart_changes() -> None:
    text = (CHART / "templates/_config.tpl").read_text()
    found = re.search(r'define "cardan.config.fixed" -}}\n(.*)\n', text)
    assert found
    assert found[1].split() == list(FIXED)


def test_the_chart_and_the_package_have_one_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert CHART_FILE["appVersion"] == project["version"]


def test_the_chart_tells_artifact_hub_what_it_wants_to_know() -> None:
    annotations = CHART_FILE["annotations"]
    assert annotations["artifacthub.io/license"] == "Apache-2.0"
    changes = yaml.safe_load(annotations["artifacthub.io/changes"])
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    assert all(change["kind"] in kinds and change["description"] for change in changes)
    assert all(isinstance(value, str) for value in annotations.values())
