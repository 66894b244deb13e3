"""Queries are made from what the gateway exports; what it does not export is refused at once."""

from __future__ import annotations

import pytest
from cardan_router.telemetry.registry import Kind, Spec

from tools.dashboards.promql import (
    Expr,
    Matching,
    QueryError,
    Scope,
    gone,
    happening,
    none_of,
    one_of,
    or_zero,
    ratio,
    within,
)

HITS = Spec("t_hits_total", Kind.COUNTER, "Hits.", ("model", "how"))
TIME = Spec("t_time_seconds", Kind.HISTOGRAM, "Time.", ("model",), (0.1, 1.0))
LEVEL = Spec("t_level", Kind.GAUGE, "Level.", ("endpoint",))
SCOPE = Scope({"job": Matching("$job"), "model": Matching("$model")}, "5m")


def test_a_scope_is_added_where_the_metric_has_the_label() -> None:
    assert SCOPE.rate(HITS) == 'sum(rate(t_hits_total{job=~"$job",model=~"$model"}[5m]))'
    assert SCOPE.max(LEVEL, "endpoint") == 'max by (endpoint) (t_level{job=~"$job"})'
    assert Scope({}, "1m").select(LEVEL) == "t_level"
    assert Scope({}, "1m").smooth(LEVEL) == "sum(avg_over_time(t_level[1m]))"


def test_what_is_said_wins_over_the_scope() -> None:
    assert Scope({"model": "a"}, "1m").select(HITS, model="b") == 't_hits_total{model="b"}'


def test_values_are_equal_or_match() -> None:
    bare = Scope({}, "1m")
    assert bare.select(HITS, how="a") == 't_hits_total{how="a"}'
    assert bare.select(HITS, how=one_of("a", "b")) == 't_hits_total{how=~"a|b"}'
    assert bare.select(HITS, how=none_of("a", "b")) == 't_hits_total{how!~"a|b"}'
    assert bare.select(HITS, how='a"\\') == r't_hits_total{how="a\"\\"}'


def test_histograms_are_asked_by_their_parts() -> None:
    bare = Scope({}, "1m")
    buckets = "sum by (le, model) (rate(t_time_seconds_bucket[1m]))"
    assert bare.quantile(0.95, TIME, "model") == f"histogram_quantile(0.95, {buckets})"
    assert bare.rate(TIME) == "sum(rate(t_time_seconds_count[1m]))"
    assert bare.heat(TIME) == "sum by (le) (increase(t_time_seconds_bucket[1m]))"
    assert "t_time_seconds_sum" in bare.mean(TIME)


def test_a_share_of_nothing_is_no_value_and_nothing_may_be_zero() -> None:
    assert ratio(Expr("a"), Expr("b")) == "a / (b > 0)"
    assert or_zero(Expr("a")) == "(a) or vector(0)"
    assert happening(Expr("a")) == "a > 0"


def test_what_has_gone_can_be_asked_for() -> None:
    bare = Scope({}, "1h")
    before = bare.highest(LEVEL, "job")
    assert before == "max by (job) (max_over_time(t_level[1h]))"
    assert gone(before, bare.max(LEVEL, "job")) == f"{before}\nunless max by (job) (t_level)"


def test_a_job_that_finds_others_too_is_narrowed_to_what_has_our_metric() -> None:
    assert within(Expr("a"), Expr("b"), "job", "pod") == "(a) and on (job, pod) b"
    asked = Scope({}, "1m").sum_within(LEVEL, HITS, "pod")
    assert asked.startswith("sum by (pod) ((rate(t_hits_total[1m])) and on (")
    assert asked.endswith(") t_level)")
    assert "rate" not in Scope({}, "1m").sum_within(LEVEL, LEVEL)


@pytest.mark.parametrize(
    ("ask", "complaint"),
    [
        (lambda: SCOPE.rate(HITS, "endpoint"), "t_hits_total has no label 'endpoint'"),
        (lambda: SCOPE.rate(HITS, where="x"), "t_hits_total has no label 'where'"),
        (lambda: SCOPE.quantile(0.5, TIME, "how"), "t_time_seconds has no label 'how'"),
        (lambda: SCOPE.rate(LEVEL), "t_level is a gauge and has no rate"),
        (lambda: SCOPE.increase(TIME), "t_time_seconds is no counter"),
        (lambda: SCOPE.quantile(0.5, HITS), "t_hits_total is no histogram"),
        (lambda: SCOPE.max(HITS), "t_hits_total is no gauge"),
        (lambda: SCOPE.highest(HITS), "t_hits_total is no gauge"),
    ],
)
def test_what_cannot_be_answered_is_refused(ask: object, complaint: str) -> None:
    assert callable(ask)
    with pytest.raises(QueryError) as refused:
        ask()
    assert str(refused.value) == complaint
