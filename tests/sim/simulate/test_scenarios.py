"""A scenario file from YAML to tables, JSON and page; the same file gives the same bytes."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from cardan.errors import ConfigError
from cardan_sim.simulate import scaling
from cardan_sim.simulate.engines import PrefillSpec, StepSpec
from cardan_sim.simulate.main import fleet_of, main
from cardan_sim.simulate.scenario import read_plain, read_scenario

ROOT = Path(__file__).parents[3]
SLICE = ROOT / "sim/cardan_sim/demo/data/conversation_slice.jsonl.gz"
SHIPPED = sorted((ROOT / "scenarios").glob("*.yaml"))

SMALL = """
title: Small
workload: {type: system-prompts, requests: 120, prompts: 8, input_tokens: 2048}
world:
  engines: 3
  engine: {type: prefill, token_s: 1.0e-4, cache_tokens: 51200}
  slo_ttft_s: 1
policies:
  turns: {type: round-robin}
  ours: {type: dualmap}
rates: [10, 20]
goodput: {low: 10, high: 30, tolerance: 0.2}
seeds: 2
warm_up: 20
variants:
  one: {}
  two: {gateways: 2}
baseline: "one: turns"
quick: {rates: [10], goodput: null, seeds: 1}
"""


def written(folder: Path, text: str = SMALL) -> Path:
    path = folder / "small.yaml"
    path.write_text(text)
    return path


def test_a_scenario_becomes_tables_json_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, page = tmp_path / "out.json", tmp_path / "out.html"
    path = written(tmp_path)
    assert main([str(path), "--jobs", "1", "--json", str(out), "--report", str(page)]) == 0
    printed = capsys.readouterr().out
    for word in ("one: turns", "two: ours", "SLO attained", "goodput"):
        assert word in printed
    told = json.loads(out.read_text())
    assert [row["name"] for row in told["rows"]] == [
        *("one: turns", "one: ours", "two: turns", "two: ours")
    ]
    assert len(told["results"]) == 4 * 2 * 3
    html = page.read_text()
    assert html.count("<svg") == 6
    assert "http" not in re.sub(r'xmlns="[^"]*"', "", html), "the page needs nothing else"


def test_processes_change_nothing_and_the_same_file_gives_the_same_bytes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = written(tmp_path)
    one, two = tmp_path / "one.json", tmp_path / "two.json"
    assert main([str(path), "--quick", "--jobs", "1", "--json", str(one)]) == 0
    assert main([str(path), "--quick", "--jobs", "2", "--json", str(two)]) == 0
    assert one.read_bytes() == two.read_bytes()
    assert len(json.loads(one.read_bytes())["results"]) == 4


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("title: Small", "headline: Small", "unknown field `headline`"),
        ("{type: round-robin}", "{type: round-rabbit}", r"\$.policies.turns: Invalid value"),
        ("gateways: 2", "gateway: 2", r"\$.variants.two: .*unknown field `gateway`"),
        ('"one: turns"', '"three: turns"', r"\$.baseline: no row"),
        ("engines: 3", "engines: 0", r"`\$.world.engines`"),
        ("rates: [10, 20]\ngoodput: {low: 10, high: 30, tolerance: 0.2}", "", "neither rates"),
        ("title: Small", "title: [", "small.yaml"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(
    tmp_path: Path, old: str, new: str, told: str
) -> None:
    assert old in SMALL
    with pytest.raises(ConfigError, match=told):
        read_scenario(written(tmp_path, SMALL.replace(old, new))).worlds()


def test_a_file_that_is_not_there_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such.yaml"]) == 1
    assert capsys.readouterr().err.startswith("cardan simulate: no-such.yaml: No such file")


def test_every_scenario_that_ships_reads_in_both_forms() -> None:
    assert SHIPPED
    for path in SHIPPED:
        for quick in (False, True):
            if read_plain(path).get("type") == "scaling":
                assert scaling.runs_of(scaling.read(path, quick=quick))
                continue
            scenario = read_scenario(path, quick=quick)
            assert scenario.rows()
            assert scenario.reference()


def test_a_trace_of_ones_own_is_played_and_the_fleet_for_it_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out.json"
    asked = ["--trace", str(SLICE), "--limit", "80", "--rate", "3", "--max-input-tokens", "8000"]
    more = ["--fleet", "1xprefill", "--find-capacity", "--json", str(out)]
    assert main([*asked, *more, "--policy", "dualmap", "--policy", "round-robin"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"dualmap: \d+ x prefill .* keep 90 % of first tokens within 5 s", printed)
    told = json.loads(out.read_text())
    assert told["engines"]["dualmap"] <= told["engines"]["round-robin"]
    assert told["summaries"]["dualmap"]["attained_ratio"] >= 0.9


def test_a_step_level_fleet_is_named_by_model_gpu_and_make() -> None:
    assert fleet_of("8xllama-3.1-8b@h100:sglang") == (
        8,
        StepSpec(make_="sglang", model="llama-3.1-8b", gpu="h100"),
    )
    assert fleet_of("prefill") == (1, PrefillSpec())


@pytest.mark.parametrize(
    ("fleet", "told"),
    [
        ("8 llamas", "not of the form"),
        ("0xprefill", "0 engines"),
        ("2xno-such-model", "no model 'no-such-model'"),
        ("2xllama-3.1-8b@tpu", "no fit of llama-3.1-8b on 'tpu'"),
    ],
)
def test_a_fleet_that_cannot_be_is_a_sentence(
    fleet: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--trace", str(SLICE), "--fleet", fleet]) == 1
    assert told in capsys.readouterr().err


def test_an_unknown_policy_is_a_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--trace", str(SLICE), "--policy", "best"]) == 1
    assert "no policy 'best'; there are dualmap" in capsys.readouterr().err
