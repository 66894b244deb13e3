"""Evidence and verdict: how much of which kind it takes, and how an endpoint comes back."""

from __future__ import annotations

import msgspec
import pytest
from cardan.health import Health, HealthConfig, Verdict
from cardan.instants import Monotonic

T0 = Monotonic(100.0)


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


def health() -> Health:
    """No evidence yet."""
    return Health(HealthConfig())


def test_no_evidence_is_healthy() -> None:
    assert health().verdict(T0) is Verdict.HEALTHY


def test_requests_that_break_in_a_row_eject() -> None:
    subject = health()
    assert [subject.request_failed(T0) for _ in range(3)] == [False, False, True]
    assert subject.verdict(T0) is Verdict.EJECTED


def test_an_answer_between_them_clears_the_count() -> None:
    subject = health()
    subject.request_failed(T0)
    subject.request_failed(T0)
    assert subject.request_succeeded()
    assert not subject.request_failed(T0)
    assert subject.verdict(T0) is Verdict.HEALTHY


def test_an_answer_without_a_history_changes_nothing() -> None:
    assert not health().request_succeeded()


def test_an_answer_ends_an_ejection() -> None:
    subject = health()
    for _ in range(3):
        subject.request_failed(T0)
    assert subject.request_succeeded()
    assert subject.verdict(T0) is Verdict.HEALTHY


def test_a_connection_that_is_refused_is_enough() -> None:
    subject = health()
    assert subject.unreachable(T0)
    assert subject.verdict(T0) is Verdict.DOWN


@pytest.mark.parametrize("way", ["request", "probe"])
def test_who_could_not_be_reached_is_back_at_the_first_sign_of_life(way: str) -> None:
    subject = health()
    subject.unreachable(T0)
    assert subject.request_succeeded() if way == "request" else subject.probe_succeeded()
    assert subject.verdict(T0) is Verdict.HEALTHY


def test_probes_that_fail_in_a_row_eject() -> None:
    subject = health()
    assert [subject.probe_failed(T0) for _ in range(3)] == [False, False, True]
    assert subject.verdict(T0) is Verdict.EJECTED
    assert subject.probe_succeeded()
    assert subject.verdict(T0) is Verdict.HEALTHY


def test_who_fails_its_probes_stays_out_until_one_succeeds_or_a_request_does() -> None:
    """A frozen engine is not tried again after each back-off."""
    subject = health()
    for _ in range(3):
        subject.probe_failed(T0)
    assert subject.verdict(after(1e4)) is Verdict.EJECTED
    assert subject.request_succeeded()
    assert subject.verdict(after(1e4)) is Verdict.HEALTHY
    for _ in range(3):
        subject.probe_failed(T0)
    assert subject.probe_succeeded()
    assert subject.verdict(after(1e4)) is Verdict.HEALTHY


def test_a_probe_between_them_clears_the_count() -> None:
    subject = health()
    subject.probe_failed(T0)
    subject.probe_failed(T0)
    assert not subject.probe_succeeded()
    assert not subject.probe_failed(T0)


def test_a_probe_that_succeeds_says_nothing_for_requests_that_break() -> None:
    """An engine can answer its health path and break on every prompt."""
    subject = health()
    for _ in range(3):
        subject.request_failed(T0)
    assert not subject.probe_succeeded()
    assert subject.verdict(T0) is Verdict.EJECTED


def test_an_engine_that_says_it_is_not_ready_is_left_alone_until_it_says_otherwise() -> None:
    subject = health()
    assert subject.engine_not_ready()
    assert not subject.engine_not_ready()
    assert subject.verdict(after(1e6)) is Verdict.NOT_READY
    subject.request_succeeded()  # what it still runs goes on
    assert subject.verdict(T0) is Verdict.NOT_READY
    assert subject.probe_succeeded()
    assert subject.verdict(T0) is Verdict.HEALTHY


def test_the_back_off_doubles_to_three_seconds_and_is_tried_after_each() -> None:
    subject = health()
    now, lengths = T0, []
    for _ in range(5):
        subject.unreachable(now)
        lengths.append(subject.ejected_until - now)
        now = Monotonic(subject.ejected_until)
        assert subject.verdict(now) is Verdict.HEALTHY
    assert lengths == [0.5, 1.0, 2.0, 3.0, 3.0]


def test_an_engine_that_returns_is_asked_within_five_seconds_even_without_a_probe() -> None:
    subject = health()
    now = T0
    for second in range(600):
        now = after(second / 10)
        if subject.verdict(now) is Verdict.HEALTHY:
            subject.unreachable(now)
    assert subject.ejected_until - now < 5


def test_recovery_starts_the_back_off_anew() -> None:
    subject = health()
    for _ in range(4):
        subject.unreachable(T0)
    subject.request_succeeded()
    subject.unreachable(T0)
    assert subject.ejected_until - T0 == 0.5


@pytest.mark.parametrize(
    "wrong",
    [
        {"consecutive_failures": 0},
        {"consecutive_probes": 0},
        {"probe_interval_s": 0},
        {"backoff_s": 0},
        {"max_ejected_ratio": 1.5},
        {"backof_s": 1},
    ],
    ids=str,
)
def test_a_wrong_configuration_fails_at_start(wrong: dict[str, float]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, HealthConfig)
