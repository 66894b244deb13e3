"""A wrong configuration is refused with the path of what is wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.errors import ConfigError
from cardan_controller.config import OperatorConfig, load

if TYPE_CHECKING:
    from pathlib import Path


def test_nothing_has_to_be_said() -> None:
    assert load("") == OperatorConfig()


def test_an_empty_file_is_all_defaults(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text("{}\n")
    assert load(str(path)) == OperatorConfig()


def test_what_is_said_counts(tmp_path: Path) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(
        "tick_s: 5\n"
        "metrics: {prometheus: {url: 'https://thanos.test', match: {cluster: eu}}}\n"
        "budgets: {h100: {gpus: 64}}\n"
    )
    config = load(str(path))
    assert config.tick_s == 5
    assert config.metrics.prometheus is not None
    assert config.metrics.prometheus.match == {"cluster": "eu"}
    assert config.budgets["h100"].gpus == 64


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tick: 5", "unknown field `tick`"),
        ("tick_s: 0", "`$.tick_s`"),
        ("metrics: {prometheus: {}}", "missing required field `url` - at `$.metrics.prometheus`"),
        ("metrics: {long_window_s: 5}", "long_window_s is shorter"),
        ("metrics: {external: {queue: max(queue)}}", "external needs prometheus"),
        ("lease: {duration_s: 5}", "duration_s must be over renew_deadline_s"),
        ("gateways: {endpoint_names: uid}", "`$.gateways.endpoint_names`"),
        ("budgets: {a: {gpus: -1}}", "`$.budgets[...].gpus`"),
        ("[", "YAML"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "operator.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(path))
    assert str(path) in str(caught.value)
    assert words.lower() in str(caught.value).lower()


def test_a_file_that_is_not_there_is_named() -> None:
    with pytest.raises(ConfigError, match=r"/nowhere\.yaml: No such file"):
        load("/nowhere.yaml")
