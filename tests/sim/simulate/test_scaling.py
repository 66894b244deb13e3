"""A scenario of scaling from YAML to tables, JSON and page."""

from __future__ import annotations

import gzip
import json
import sys
from typing import TYPE_CHECKING, Any

import pytest
from cardan.errors import ConfigError
from cardan_sim.simulate import scaling
from cardan_sim.simulate.main import main
from cardan_sim.simulate.scaling.runs import ScalingResult, ScalingRun
from cardan_sim.simulate.scaling.scenario import Arrivals, Bursty, Diurnal, ServeGen

if TYPE_CHECKING:
    from pathlib import Path

# An hour of load that doubles in its second quarter; engines start in half a minute.
SMALL = """
type: scaling
title: Small
loads:
  step: {type: arrivals, path: trace.csv.gz, scale: 20}
contenders:
  ours: {type: cardan}
  hpa: {type: hpa, target: 0.8}
  kv: {type: hpa, metric: kv-cache, target: 0.6}
  keda: {type: keda}
  knative: {type: knative, concurrency: 12}
  three: {type: fixed, replicas: 3}
cold_starts_s: [30]
seeds: 2
quick: {seeds: 1, contenders: {three: {type: fixed, replicas: 3}}}
"""


def written(folder: Path, text: str = SMALL) -> Path:
    times = [*range(0, 900, 2), *range(900, 3600)]
    lines = ["timestamp,input_tokens,output_tokens", *(f"{second},6000,150" for second in times)]
    (folder / "trace.csv.gz").write_bytes(gzip.compress("\n".join(lines).encode()))
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def played(tmp_path: Path, *more: str) -> dict[str, Any]:
    out = tmp_path / "out.json"
    assert main([str(written(tmp_path)), *more, "--json", str(out)]) == 0
    told: dict[str, Any] = json.loads(out.read_bytes())
    return told


def test_a_scenario_of_scaling_becomes_tables_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "out.html"
    told = played(tmp_path, "--jobs", "1", "--report", str(page))
    printed = capsys.readouterr().out
    assert "step, cold start 30 s" in printed
    rows = {row["who"]: row for row in told["rows"]}
    assert list(rows) == ["oracle", "ours", "hpa", "kv", "keda", "knative", "three"]
    assert rows["oracle"]["over_oracle"]["mean"] == 1.0
    assert rows["oracle"]["attained"]["mean"] >= 0.95
    assert rows["ours"]["attained"]["mean"] > rows["three"]["attained"]["mean"]
    assert rows["three"]["turns_per_hour"]["mean"] == 0.0
    assert len(told["results"]) == 7 * 2
    assert page.read_text().count("<svg") == 1


def test_processes_change_nothing(tmp_path: Path) -> None:
    assert played(tmp_path, "--quick", "--jobs", "1") == played(tmp_path, "--quick", "--jobs", "2")


def test_a_load_may_have_a_promise_of_its_own(tmp_path: Path) -> None:
    text = SMALL.replace("scale: 20}", "scale: 20, slo_ttft_s: 5}\n  day: {type: diurnal}")
    scenario = scaling.read(written(tmp_path, text))
    assert scenario.of_load("step").slo_ttft_s == 5.0
    assert scenario.of_load("day").slo_ttft_s == 1.0
    assert scenario.of_load("step").plant(30.0, 1).slo_ttft_s == 5.0


def test_gpu_hours_are_compared_with_the_oracles_of_the_same_seed() -> None:
    def result(who: str, seed: int, gpu_hours: float) -> ScalingResult:
        return ScalingResult(
            run=ScalingRun(load="a", cold_start_s=30.0, who=who, seed=seed),
            attained_ratio=0.9,
            gpu_hours=gpu_hours,
            turns_per_hour=1.0,
            changes=2,
            ready=[],
        )

    best, ours = scaling.compare(
        [result("oracle", 1, 10), result("oracle", 2, 20), result("x", 1, 12), result("x", 2, 30)]
    )
    assert best.over_oracle is not None
    assert ours.over_oracle is not None
    assert best.over_oracle.mean == 1.0
    assert ours.over_oracle.mean == pytest.approx((1.2 + 1.5) / 2)


def test_loads_are_those_of_their_seed_and_recorded_ones_of_their_file(tmp_path: Path) -> None:
    for made in (Diurnal(days=1), Bursty(days=1)):
        one = list(made.load(tmp_path, 1).rates)
        assert list(made.load(tmp_path, 1).rates) == one
        assert list(made.load(tmp_path, 2).rates) != one
    rates = "client,timestamp,rate\n" + "".join(f"0,{600 * i},{i}\n" for i in range(145))
    (tmp_path / "rates.csv.gz").write_bytes(gzip.compress(rates.encode()))
    told = ServeGen(path="rates.csv.gz", prompt_tokens=10, output_tokens=10, days=1, scale=2.0)
    assert told.load(tmp_path, 1).at(1200.0).requests_per_s == 4.0
    written(tmp_path)
    counted = Arrivals(path="trace.csv.gz", scale=3.0).load(tmp_path, 1)
    assert counted.at(600.0).requests_per_s == pytest.approx(1.5, rel=0.1)
    assert counted.at(1800.0).requests_per_s == pytest.approx(3.0)
    assert counted.at(1800.0).mix.prompt_tokens == 6000


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title: Small", "headline: Small", "unknown field `headline`"),
        ("type: keda", "type: kedar", "Invalid value 'kedar'"),
        ("replicas: 3}\ncold", "replicas: 0}\ncold", "replicas"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, old: str, new: str, told: str) -> None:
    assert old in SMALL
    with pytest.raises(ConfigError, match=told):
        scaling.read(written(tmp_path, SMALL.replace(old, new)))


def test_without_what_decides_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [name for name in sys.modules if name.startswith("cardan_sim.simulate.scaling")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("cardan_sim.simulate.scaling", raising=False)
    for name in [name for name in sys.modules if name.startswith("cardan.scaling")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "croniter", None)
    assert main([str(written(tmp_path))]) == 1
    assert "a scenario of scaling needs croniter" in capsys.readouterr().err
