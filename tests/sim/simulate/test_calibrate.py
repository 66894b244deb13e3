"""Coefficients come back out of durations that were made with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan_sim.engine.costs import StepCost
from cardan_sim.simulate.calibrate import fit, read_points
from cardan_sim.simulate.main import main
from cardan_sim.traces import TraceError

if TYPE_CHECKING:
    from pathlib import Path

COST = StepCost(0.004, 3e-5, 6e-10, 0.007, 5e-6, 8e-8)


def written(path: Path, noise: float = 0.0) -> Path:
    rows = ["kind,tokens,context,batch,seconds"]
    sign = 1.0
    for tokens, context in ((100, 100), (2000, 2000), (500, 9000), (8000, 8000), (16000, 30000)):
        sign = -sign
        seconds = COST.prefill_base_s + COST.prefill_s(tokens, context)
        rows.append(f"prefill,{tokens},{context},1,{seconds * (1 + sign * noise)!r}")
    for batch, context in ((1, 100), (8, 4000), (32, 20000), (128, 60000), (64, 250000)):
        sign = -sign
        seconds = COST.step_s(0.0, batch, context)
        rows.append(f"decode,{batch},{context},{batch},{seconds * (1 + sign * noise)!r}")
    path.write_text("\n".join(rows) + "\n")
    return path


def test_exact_points_give_the_coefficients_back(tmp_path: Path) -> None:
    points = read_points(written(tmp_path / "points.csv"))
    assert fit(points["prefill"]).coefficients == pytest.approx((0.004, 3e-5, 6e-10), rel=1e-6)
    assert fit(points["decode"]).coefficients == pytest.approx((0.007, 5e-6, 8e-8), rel=1e-6)
    assert fit(points["decode"]).worst < 1e-9


def test_noise_stays_in_the_residuals_and_no_coefficient_is_negative(tmp_path: Path) -> None:
    points = read_points(written(tmp_path / "points.csv", noise=0.2))
    for kind in ("prefill", "decode"):
        found = fit(points[kind])
        assert min(found.coefficients) >= 0.0
        assert found.typical < 0.25


def test_terms_that_one_cannot_tell_apart_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "points.csv"
    path.write_text("kind,tokens,context,batch,seconds\ndecode,1,100,1,0.01\ndecode,1,100,1,0.01\n")
    found = fit(read_points(path)["decode"])
    assert found.worst < 1e-9


def test_the_command_prints_what_a_scenario_takes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["calibrate", str(written(tmp_path / "points.csv"))]) == 0
    out = capsys.readouterr().out
    assert "costs:\n  a0_s: 0.004\n  a1_s: 3e-05\n  a2_s: 6e-10\n  d0_s: 0.007" in out
    assert "# prefill: 5 points" in out


def test_a_wrong_line_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "points.csv"
    path.write_text("kind,tokens,context,batch,seconds\nprefill,1,x,1,0.01\n")
    with pytest.raises(TraceError, match=r"points.csv:2: not a point"):
        read_points(path)
    assert main(["calibrate", str(path)]) == 1
    assert "points.csv:2" in capsys.readouterr().err
