"""`cardan crds` prints what the chart installs, and can tell whether a copy of it is old."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from cardan_cli import main
from cardan_controller.crds.definitions import definitions

if TYPE_CHECKING:
    import pytest

CHART = Path(__file__).parents[3] / "deploy/helm/cardan/definitions"


def test_it_prints_every_definition(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crds"]) == 0
    assert list(yaml.safe_load_all(capsys.readouterr().out)) == definitions()


def test_the_chart_has_the_same() -> None:
    held = {path.stem: yaml.safe_load(path.read_text()) for path in CHART.glob("*.yaml")}
    assert held == {one["spec"]["names"]["plural"]: one for one in definitions()}


def test_a_copy_is_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["crds"])
    copy = tmp_path / "crds.yaml"
    copy.write_text(capsys.readouterr().out)
    assert main(["crds", "--check", str(copy)]) == 0
    copy.write_text(copy.read_text().replace("shortNames", "shorterNames"))
    assert main(["crds", "--check", str(copy)]) == 1
    assert "is not what this version of cardan defines" in capsys.readouterr().err


def test_what_cannot_be_read_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = tmp_path / "crds.yaml"
    wrong.write_text("{")
    assert main(["crds", "--check", str(wrong)]) == 2
    assert main(["crds", "--check", str(tmp_path / "none")]) == 2
    assert "No such file" in capsys.readouterr().err
