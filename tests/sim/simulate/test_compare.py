"""Means, intervals and paired differences, against values worked out by hand."""

from __future__ import annotations

import pytest
from cardan_sim.simulate.compare import compare, mean_of
from cardan_sim.simulate.runs import Result, Run
from cardan_sim.simulate.summary import Summary


def run(row: str, seed: int, rate: float | None = 1.0) -> Run:
    return Run(row=row, variant="", policy=row, rate=rate, segment=0, seed=seed)


def summary(attained: float, hit: float = 0.5) -> Summary:
    return Summary(
        requests=10,
        measured=10,
        offered_rps=1.0,
        attained_ratio=attained,
        hit_ratio=hit,
        believed_ratio=hit + 0.1,
        pending_cv=1.0,
        ttft_s=None,
        tpot_s=None,
        e2e_s=None,
        outcomes={},
        reasons={},
        depths={},
        tenants={},
        retried=0,
        preemptions=0,
        ended_s=1.0,
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
