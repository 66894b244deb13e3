"""Figures follow from samples by arithmetic that can be checked by hand."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import pytest
from cardan_sim.replay.engines import EngineCounts, parse_counts
from cardan_sim.replay.figures import (
    SCHEMA,
    Figures,
    FiguresError,
    Settings,
    read_figures,
    to_json,
)
from cardan_sim.replay.measure import measure, quantile, spread, timeline
from cardan_sim.replay.openloop import Outcome
from cardan_sim.replay.sample import Sample
from hypothesis import given
from hypothesis import strategies as st

if TYPE_CHECKING:
    from pathlib import Path


def settings(time_scale: float = 1.0, slo_ttft_s: float = 1.0) -> Settings:
    return Settings(
        label="run",
        trace="t.jsonl",
        endpoint="http://x",
        model="m",
        requests=3,
        offered_rps=2.0,
        time_scale=time_scale,
        slo_ttft_s=slo_ttft_s,
    )


def sample(due_s: float = 0.0, ttft_s: float | None = 0.5, **fields: object) -> Sample:
    made = Sample(
        due_s=due_s,
        sent_s=due_s,
        first_s=None if ttft_s is None else due_s + ttft_s,
        end_s=due_s + 1.0,
        prompt_tokens=100,
        output_tokens=10,
    )
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def figures_of(*samples: Sample, time_scale: float = 1.0) -> Figures:
    return measure(Outcome(list(samples)), settings(time_scale))


def test_attainment_counts_failures_and_late_first_tokens_against_the_run() -> None:
    run = figures_of(sample(), sample(ttft_s=1.5), sample(error="http 503"), sample(error="cut"))
    assert run.attained_ratio == 0.25
    assert (run.succeeded, run.failed) == (2, 2)
    assert run.errors == {"http 503": 1, "cut": 1}


def test_the_hit_rate_weighs_tokens_and_leaves_out_who_did_not_say() -> None:
    run = figures_of(
        sample(prompt_tokens=900, cached_tokens=300),
        sample(prompt_tokens=100, cached_tokens=100),
        sample(prompt_tokens=5000, cached_tokens=None),
    )
    assert run.hit_ratio == 0.4
    assert figures_of(sample(cached_tokens=None)).hit_ratio is None


def test_latency_counts_from_the_time_a_request_was_due_and_not_from_when_it_left() -> None:
    late = sample(due_s=0.0, ttft_s=0.5, sent_s=0.3)
    run = figures_of(late)
    assert run.ttft_s is not None
    assert run.ttft_s.p50_s == 0.5
    assert run.lateness.max_s == pytest.approx(0.3)
    assert run.lateness.behind


def test_a_client_on_time_is_not_called_late() -> None:
    assert not figures_of(sample(sent_s=0.04)).lateness.behind


def test_throughput_is_over_the_span_from_the_first_due_to_the_last_end() -> None:
    run = figures_of(sample(due_s=0.0), sample(due_s=3.0))
    assert run.span_s == 4.0
    assert run.requests_per_s == 0.5
    assert run.input_tokens_per_s == 50.0
    assert run.output_tokens_per_s == 5.0


def test_a_time_scale_divides_durations_and_with_them_the_slo_holds_in_engine_time() -> None:
    run = figures_of(sample(ttft_s=0.4, gaps_s=array("d", [0.1])), time_scale=0.1)
    assert run.ttft_s is not None
    assert run.itl_s is not None
    assert run.ttft_s.p50_s == pytest.approx(4.0)
    assert run.itl_s.p50_s == pytest.approx(1.0)
    assert run.attained_ratio == 0.0


def test_balance_by_receipts_shows_the_busiest_endpoint_over_the_mean() -> None:
    run = figures_of(
        *(sample(endpoint="a", cached_tokens=0) for _ in range(3)),
        sample(endpoint="b", cached_tokens=100),
    )
    assert run.balance is not None
    assert run.balance.source == "receipts"
    assert run.balance.requests == 1.5
    assert run.balance.computed == 2.0
    assert [(s.name, s.requests) for s in run.balance.endpoints] == [("a", 3), ("b", 1)]


def test_balance_by_the_engines_counts_idle_ones_too() -> None:
    engines = {"a": EngineCounts(4, 400, 100), "b": EngineCounts(0, 0, 0)}
    run = measure(Outcome([sample()]), settings(), engines)
    assert run.balance is not None
    assert (run.balance.source, run.balance.requests, run.balance.computed) == ("engines", 2.0, 2.0)


def test_without_receipts_and_engines_there_is_no_balance() -> None:
    assert figures_of(sample()).balance is None


def test_a_run_of_nothing_has_figures_of_nothing() -> None:
    run = figures_of()
    assert (run.ttft_s, run.hit_ratio, run.attained_ratio, run.requests_per_s) == (
        None,
        None,
        0.0,
        0.0,
    )


def test_a_quantile_is_a_value_that_was_measured() -> None:
    ordered = [1.0, 2.0, 3.0, 4.0]
    assert [quantile(ordered, q) for q in (0.0, 0.25, 0.5, 0.51, 0.99, 1.0)] == [1, 1, 2, 3, 4, 4]


@given(values=st.lists(st.floats(0, 1e4), min_size=1, max_size=200))
def test_a_spread_is_ordered_and_within_what_was_measured(values: list[float]) -> None:
    made = spread(values)
    assert made is not None
    assert made.quantiles_s == sorted(made.quantiles_s)
    assert (made.quantiles_s[0], made.max_s) == (min(values), max(values))
    assert set(made.quantiles_s) <= set(values)
    assert made.quantiles_s[0] <= made.p50_s <= made.p90_s <= made.p99_s <= made.max_s


@given(spans=st.lists(st.tuples(st.floats(0, 500), st.floats(0, 100), st.booleans()), max_size=60))
def test_the_timeline_loses_no_request(spans: list[tuple[float, float, bool]]) -> None:
    samples = [
        sample(due_s=due_s, end_s=due_s + for_s, error="cut" if failed else None)
        for due_s, for_s, failed in spans
    ]
    line = timeline(samples, 1.0)
    assert sum(line.due) == sum(line.ended) == len(samples)
    assert sum(line.failed) == sum(failed for _, _, failed in spans)
    assert line.in_flight[-1] == 0
    assert min(line.in_flight) >= 0
    assert len(line.due) <= 121


def test_counters_are_read_under_either_engines_names() -> None:
    vllm = (
        "# TYPE vllm:request_success_total counter\n"
        'vllm:request_success_total{finished_reason="stop",model_name="m"} 3.0\n'
        'vllm:request_success_total{finished_reason="length",model_name="m"} 4.0\n'
        'vllm:prompt_tokens_total{model_name="m"} 900.0\n'
        'vllm:prefix_cache_hits_total{model_name="m"} 128.0\n'
    )
    sglang = 'sglang:num_requests_total{tp="0"} 5\nsglang:prompt_tokens_total 50\n'
    assert parse_counts(vllm) == EngineCounts(7, 900, 128)
    assert parse_counts(sglang) == EngineCounts(5, 50, None)


def test_growth_is_told_apart_from_a_restart_and_from_a_missing_counter() -> None:
    before = EngineCounts(10, 1000, None)
    assert EngineCounts(12, 1500, 3).since(before) == EngineCounts(2, 500, 3)
    assert EngineCounts(1, 20, None).since(before) == EngineCounts(1, 20, None)


def test_figures_survive_the_file_they_are_written_to(tmp_path: Path) -> None:
    run = figures_of(sample(endpoint="a"), sample(error="cut"))
    path = tmp_path / "run.json"
    path.write_bytes(to_json(run))
    assert read_figures(path) == run


@pytest.mark.parametrize(
    ("content", "blame"),
    [(b"{}", "no replay figures"), (b"not json", "no replay figures"), (None, "No such file")],
)
def test_a_file_without_figures_is_refused_by_name(
    tmp_path: Path, content: bytes | None, blame: str
) -> None:
    path = tmp_path / "run.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(FiguresError, match=rf"run\.json.*{blame}"):
        read_figures(path)


def test_figures_of_another_schema_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    text = to_json(figures_of(sample())).replace(
        b'"schema": %d' % SCHEMA, b'"schema": %d' % (SCHEMA + 1)
    )
    path.write_bytes(text)
    with pytest.raises(FiguresError, match=f"schema {SCHEMA + 1}"):
        read_figures(path)
