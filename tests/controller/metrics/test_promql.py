"""Asks become queries, and no label's value can become a part of one."""

from __future__ import annotations

import re

import pytest
from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.promql import Windows, any_of, query, quoted, selector
from hypothesis import given
from hypothesis import strategies as st

WINDOWS = Windows(60, 300)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (
            "requests",
            "sum by (namespace, model) (rate(cardan_requests_total"
            '{outcome!~"invalid|client-error"}[60s]))',
        ),
        (
            "ttft_p95_s",
            "histogram_quantile(0.95, sum by (namespace, model, le) (rate("
            'cardan_time_to_first_token_seconds_bucket{stream=~"true"}[300s])))',
        ),
        ("sample_age_s", "time() - max by (namespace) (timestamp(cardan_ready))"),
        (
            "gateways",
            "count by (namespace) (group by (namespace, instance)"
            " (cardan_ready and count_over_time(cardan_ready[60s]) >= 2))",
        ),
        ("in_flight", "sum by (namespace, endpoint) (cardan_endpoint_in_flight)"),
        ("running", "max by (namespace, endpoint) (cardan_engine_running)"),
    ],
)
def test_an_ask_in_promql(name: str, expected: str) -> None:
    assert query(ASKS[name], WINDOWS) == expected


def test_labels_that_all_series_must_have_come_first() -> None:
    series = selector("up", extra={"job": "x", "cluster": 'a"b'}, where=(("model", ("m.1",)),))
    assert series == 'up{cluster="a\\"b",job="x",model=~"m\\\\.1"}'


def test_a_label_that_is_no_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no name of a label"):
        selector("up", extra={'job="x"} or vector(1) #': "y"})


@given(st.text())
def test_a_literal_ends_where_it_was_meant_to(text: str) -> None:
    literal = quoted(text)
    assert re.fullmatch(r'"(?:[^"\\\n]|\\.)*"', literal)
    unescaped = re.sub(r"\\(.)", lambda m: {"n": "\n"}.get(m[1], m[1]), literal[1:-1])
    assert unescaped == text


@given(st.lists(st.text(alphabet=st.characters(codec="ascii", categories=["L", "N", "P", "S"]))))
def test_an_alternative_matches_its_words_alone(words: list[str]) -> None:
    literal = any_of(words)
    pattern = re.sub(r"\\(.)", r"\1", literal[1:-1])
    for word in words:
        assert re.fullmatch(pattern, word)
    assert not re.fullmatch(pattern, "".join(words) + "x")
