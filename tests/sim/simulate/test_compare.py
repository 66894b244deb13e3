"""Means, intervals and paired differences, against values worked out by hand."""

from __future__ import annotations

import pytest
from cardan_sim.simulate.compare import compare, mean_of
from cardan_sim.simulate.runs import Result, Run
from cardan_sim.simulate.summary import Phase, Spread, Summary


def run(row: str, seed: int, rate: float | None = 1.0) -> Run:
    return Run(row=row, variant="", policy=row, rate=rate, segment=0, seed=seed)


def summary(
    attained: float,
    hit: float = 0.5,
    itl_s: Spread | None = None,
    phases: list[Phase] | None = None,
) -> Summary:
    return Summary(
        requests=10,
        measured=10,
        offered_rps=1.0,
        attained_ratio=attained,
        hit_ratio=hit,
        believed_ratio=hit + 0.1,
        pending_cv=1.0,
        ttft_s=None,
        itl_s=itl_s,
        tpot_s=None,
        e2e_s=None,
        outcomes={},
        reasons={},
        depths={},
        tenants={},
        retried=0,
        preemptions=0,
        ended_s=1.0,
        phases=phases or [],
    )


def test_a_mean_has_students_interval() -> None:
    found = mean_of([1.0, 2.0, 3.0])
    assert found is not None
    # s = 1, n = 3, t(2) = 4.303
    assert (found.mean, found.count) == (2.0, 3)
    assert found.half == pytest.approx(4.303 / 3**0.5, abs=1e-6)
    assert mean_of([]) is None


def test_differences_are_paired_by_segment_and_seed() -> None:
    results = [
        Result(run=run("a", 1), summary=summary(0.5)),
        Result(run=run("a", 2), summary=summary(0.9)),
        Result(run=run("b", 1), summary=summary(0.6)),
        Result(run=run("b", 2), summary=summary(1.0)),
    ]
    a, b = compare(results, "a")
    assert a.attained_gain["1"].mean == 0.0
    assert b.attained["1"].mean == pytest.approx(0.8)
    assert b.attained_gain["1"].mean == pytest.approx(0.1)
    assert b.attained_gain["1"].half == pytest.approx(0.0, abs=1e-6), "the luck is the same"
    assert b.belief_error["1"].mean == pytest.approx(0.1)


def test_goodput_gains_are_relative() -> None:
    results = [
        Result(run=run("a", 1, None), goodput_rps=4.0),
        Result(run=run("b", 1, None), goodput_rps=5.0),
    ]
    _, b = compare(results, "a")
    assert b.goodput_rps is not None
    assert b.goodput_gain is not None
    assert (b.goodput_rps.mean, b.goodput_gain.mean) == (5.0, 0.25)


def test_times_between_tokens_are_means_over_the_runs_that_have_them() -> None:
    fast = Spread(mean_s=0.01, quantiles_s=[0.01] * 99 + [0.1, 0.2])
    slow = Spread(mean_s=0.02, quantiles_s=[0.03] * 99 + [0.3, 0.4])
    results = [
        Result(run=run("a", 1), summary=summary(0.5, itl_s=fast)),
        Result(run=run("a", 2), summary=summary(0.5, itl_s=slow)),
        Result(run=run("b", 1), summary=summary(0.5)),
    ]
    a, b = compare(results, "a")
    assert a.itl_p50_s["1"].mean == pytest.approx(0.02)
    assert a.itl_p99_s["1"].mean == pytest.approx(0.2)
    assert b.itl_p99_s == {}


def test_parts_of_runs_are_averaged_part_by_part() -> None:
    def part(from_s: float, attained: float, kept: float | None) -> Phase:
        return Phase(
            from_s=from_s,
            until_s=None,
            requests=5,
            attained_ratio=attained,
            hit_ratio=0.5,
            kept_ratio=kept,
        )

    results = [
        Result(run=run("a", 1), summary=summary(0.5, phases=[part(0, 1.0, None), part(9, 0.2, 1)])),
        Result(run=run("a", 2), summary=summary(0.5, phases=[part(0, 0.8, None), part(9, 0.4, 0)])),
    ]
    (a,) = compare(results, "a")
    first, second = a.phases["1"]
    assert first.attained is not None
    assert first.attained.mean == pytest.approx(0.9)
    assert first.kept is None
    assert (second.from_s, second.kept and second.kept.mean) == (9, 0.5)
