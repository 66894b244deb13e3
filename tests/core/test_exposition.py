"""Prometheus text is read for what is wanted, fast, and whatever cannot be read is skipped."""

from __future__ import annotations

import pytest
from cardan.exposition.text import Sample, Wanted, increase
from hypothesis import given
from hypothesis import strategies as st

WANTED = Wanted(["e:requests", "e:requests_total", "e:info"])


def values(body: bytes, name: str = "e:requests") -> list[float]:
    return [sample.value for sample in WANTED.read(body).get(name, [])]


def test_a_sample_has_labels_and_a_value() -> None:
    read = WANTED.read(b'e:requests{engine="0",model="a/b"} 3.0\n')
    assert read == {"e:requests": [Sample({"engine": "0", "model": "a/b"}, 3.0)]}


def test_a_sample_may_have_no_labels() -> None:
    assert WANTED.read(b"e:requests 3\n") == {"e:requests": [Sample({}, 3.0)]}
    assert WANTED.read(b"e:requests{} 3\n") == {"e:requests": [Sample({}, 3.0)]}


def test_comments_and_other_series_are_passed_over() -> None:
    body = b"# HELP e:requests 1\n# TYPE e:requests gauge\nother 5\ne:requests 2\n"
    assert WANTED.read(body) == {"e:requests": [Sample({}, 2.0)]}


def test_a_name_is_not_the_beginning_of_a_longer_one() -> None:
    body = b"e:requests_total 7\ne:requests_by_reason 9\ne:requests 2\n"
    assert values(body) == [2]
    assert values(body, "e:requests_total") == [7]


def test_a_name_in_the_middle_of_a_line_is_no_sample() -> None:
    assert values(b'x{a="e:requests"} 1\nx e:requests 2\n') == []


def test_label_values_may_hold_anything() -> None:
    body = rb'e:info{a="x } y",b="say \"hi\"",c="back\\slash",d="two\nlines",e="k=\"v\""} 1'
    (sample,) = WANTED.read(body + b"\n")["e:info"]
    assert sample.labels == {
        "a": "x } y",
        "b": 'say "hi"',
        "c": "back\\slash",
        "d": "two\nlines",
        "e": 'k="v"',
    }


@pytest.mark.parametrize("line", [b"e:requests 2 1700000000000", b'e:requests 2 # {a="b"} 1 2'])
def test_time_stamps_and_exemplars_are_ignored(line: bytes) -> None:
    assert values(line + b"\n") == [2]


@pytest.mark.parametrize("text", [b"NaN", b"+Inf", b"-Inf", b"", b"two", b"1..2", b"0x1f"])
def test_what_is_no_finite_number_is_missing(text: bytes) -> None:
    assert values(b"e:requests " + text + b"\ne:requests 2\n") == [2]


@pytest.mark.parametrize(
    "torn", [b'e:requests{a="b', b'e:requests{a="b"', b"e:requests", b"e:requests{", b"e:reque"]
)
def test_a_torn_last_line_is_missing(torn: bytes) -> None:
    assert values(b"e:requests 2\n" + torn) == [2]


def test_windows_line_ends_are_fine() -> None:
    assert values(b"e:requests 2\r\ne:requests 3\r\n") == [2, 3]


@given(st.binary(max_size=200))
def test_no_body_makes_it_raise(body: bytes) -> None:
    WANTED.read(body)
    WANTED.read(b'e:requests{a="' + body)
    WANTED.read(b"e:requests " + body)


def test_a_hostile_label_takes_linear_time() -> None:
    body = b"e:requests{" + b'a="\\\\' * 100_000
    # This takes milliseconds. Quadratic time would be minutes, and the test would time out.
    assert WANTED.read(body) == {}


@pytest.mark.parametrize(
    ("before", "after", "rose"),
    [(5, 8, 3), (5, 5, 0), (5, 2, 2), (None, 5, None), (5, None, None), (None, None, None)],
)
def test_a_counter_that_fell_was_reset(
    before: float | None, after: float | None, rose: float | None
) -> None:
    assert increase(before, after) == rose
