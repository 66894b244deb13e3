"""One request's life: what is tried again, where and how often.

The table in `cardan.lifecycle` is the specification; every row of it is a test here or, once bytes
have come or the request ends, in `test_lifecycle_ends.py`. What holds for all sequences of events
is in `tests/laws/test_lifecycle.py`.
"""

from __future__ import annotations

import msgspec
import pytest
from cardan.health import Verdict
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Failure, Forward, RejectReason, State, Wait
from cardan.retries import RetryBudget, RetryConfig
from cardan.scheduler import AdmissionConfig

from tests.core.exchanges import (
    T0,
    after,
    assert_at_rest,
    exchange_of,
    forwarded,
    rejected,
    scheduler_of,
    visit_until_done,
)

BREAKS = (Failure.RESET, Failure.BROKEN, Failure.TIMEOUT)


def test_an_answered_request_is_one_lease_opened_and_closed() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    endpoint = forwarded(exchange.arrive(T0))
    assert (exchange.state, endpoint.load.in_flight) == (State.DISPATCHED, 1)
    exchange.first_byte(after(0.2))
    assert (exchange.state, exchange.first_byte_at) == (State.STREAMING, after(0.2))
    lease = exchange.lease
    exchange.ended(Outcome.OK, after(1), Usage(10, 5, 0))
    assert lease is not None
    assert (lease.opened_at, lease.first_token_at, lease.closed_at) == (T0, after(0.2), after(1))
    assert (exchange.state, exchange.outcome, lease.outcome) == (State.DONE, Outcome.OK, Outcome.OK)
    assert_at_rest(scheduler)


def test_an_answer_that_comes_at_once_has_a_first_byte_too() -> None:
    exchange = exchange_of(scheduler_of(1))
    exchange.arrive(T0)
    exchange.ended(Outcome.OK, after(1))
    assert (exchange.first_byte_at, exchange.outcome) == (after(1), Outcome.OK)


def test_an_engines_own_error_is_an_answer_and_teaches_nothing() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    endpoint = forwarded(exchange.arrive(T0))
    endpoint.load.last_first_token_at = None
    exchange.first_byte(after(0.1), ok=False)
    exchange.ended(Outcome.ENGINE_ERROR, after(0.1))
    assert (exchange.outcome, exchange.attempts) == (Outcome.ENGINE_ERROR, 1)
    assert endpoint.load.last_first_token_at is None
    assert_at_rest(scheduler)


def test_a_model_that_nobody_serves_is_refused_at_once() -> None:
    scheduler = scheduler_of(1)
    exchange = exchange_of(scheduler, "other")
    reject = rejected(exchange.arrive(T0))
    assert (reject.reason, exchange.outcome) == (RejectReason.UNKNOWN_MODEL, Outcome.INVALID)
    assert_at_rest(scheduler)


def test_a_stale_connection_is_replaced_once_at_the_same_endpoint_for_free() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    first = exchange.arrive(T0)
    again = exchange.failed(Failure.STALE, T0)
    assert isinstance(first, Forward)
    assert isinstance(again, Forward)
    assert (first.fresh, again.fresh) == (False, True)
    assert again.lease is first.lease
    assert (exchange.attempts, exchange.breaks) == (1, 0)
    assert first.lease.endpoint.health.failures == 0
    assert exchange.retried == (Failure.STALE,), "free, but not unseen"


def test_a_second_stale_connection_there_is_a_break() -> None:
    exchange = exchange_of(scheduler_of(2))
    first = forwarded(exchange.arrive(T0))
    exchange.failed(Failure.STALE, T0)
    assert forwarded(exchange.failed(Failure.STALE, T0)) is not first
    assert exchange.breaks == 1


def test_a_connection_that_breaks_in_use_sends_the_request_elsewhere() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    first = forwarded(exchange.arrive(T0))
    assert forwarded(exchange.failed(Failure.CUT, T0)) is not first
    assert (exchange.attempts, exchange.breaks) == (2, 1)
    assert exchange.retried == (Failure.CUT,)
    assert rejected(exchange.failed(Failure.RESET, T0)).reason is RejectReason.RESET


def test_a_connection_that_breaks_in_use_is_replaced_where_there_is_nobody_else() -> None:
    exchange = exchange_of(scheduler_of(1))
    first = exchange.arrive(T0)
    again = exchange.failed(Failure.CUT, T0)
    assert isinstance(first, Forward)
    assert isinstance(again, Forward)
    assert (again.fresh, again.lease) == (True, first.lease)
    assert rejected(exchange.failed(Failure.RESET, T0)).reason is RejectReason.RESET
    assert exchange.breaks == 2


@pytest.mark.parametrize("failure", [Failure.RESET, Failure.BROKEN])
def test_a_fresh_connection_that_breaks_after_a_stale_one_is_the_second_break(
    failure: Failure,
) -> None:
    exchange = exchange_of(scheduler_of(3))
    exchange.arrive(T0)
    exchange.failed(Failure.STALE, T0)
    assert rejected(exchange.failed(failure, T0)).reason is RejectReason.RESET
    assert (exchange.attempts, exchange.breaks) == (1, 2)


def test_a_stale_connection_is_forgotten_when_the_visit_ends_otherwise() -> None:
    exchange = exchange_of(scheduler_of(2))
    first = forwarded(exchange.arrive(T0))
    exchange.failed(Failure.STALE, T0)
    exchange.failed(Failure.REFUSED, T0)
    assert forwarded(exchange.failed(Failure.RESET, after(1.0))) is first
    exchange.failed(Failure.RESET, after(1.0))
    assert (exchange.attempts, exchange.breaks) == (3, 2)


def test_every_further_dispatch_is_on_a_fresh_connection() -> None:
    exchange = exchange_of(scheduler_of(3))
    exchange.arrive(T0)
    again = exchange.failed(Failure.UNREACHABLE, T0)
    assert isinstance(again, Forward)
    assert again.fresh
    assert forwarded(exchange.failed(Failure.STALE, T0)) is not again.lease.endpoint
    assert (exchange.attempts, exchange.breaks) == (3, 1)


def test_an_endpoint_that_cannot_be_reached_costs_an_attempt_and_is_down() -> None:
    scheduler = scheduler_of(5)
    exchange = exchange_of(scheduler)
    visited = visit_until_done(exchange, [Failure.UNREACHABLE] * 9)
    assert len(set(visited)) == len(visited) == RetryConfig().max_attempts
    assert exchange.outcome is Outcome.UNREACHABLE
    endpoints = scheduler.fleet.endpoints
    assert {endpoints[id_].health.verdict(after(0.1)) for id_ in visited} == {Verdict.DOWN}
    assert_at_rest(scheduler)


@pytest.mark.parametrize("failure", BREAKS)
def test_a_poisonous_request_visits_two_endpoints_and_not_the_fleet(failure: Failure) -> None:
    scheduler = scheduler_of(6)
    exchange = exchange_of(scheduler)
    assert len(set(visit_until_done(exchange, [failure] * 9))) == 2
    assert exchange.state is State.DONE
    assert_at_rest(scheduler)


def test_a_break_after_unreachable_ones_still_has_its_second_try() -> None:
    exchange = exchange_of(scheduler_of(6))
    failures = [Failure.UNREACHABLE, Failure.RESET, Failure.UNREACHABLE, Failure.RESET]
    assert len(visit_until_done(exchange, failures)) == 4
    assert exchange.outcome is Outcome.RESET


@pytest.mark.parametrize(
    ("failure", "reason", "outcome", "retry_after_s"),
    [
        (Failure.UNREACHABLE, RejectReason.UNREACHABLE, Outcome.UNREACHABLE, 1.0),
        (Failure.REFUSED, RejectReason.REFUSED, Outcome.REFUSED, 1.0),
        (Failure.RESET, RejectReason.RESET, Outcome.RESET, None),
        (Failure.BROKEN, RejectReason.RESET, Outcome.RESET, None),
        (Failure.TIMEOUT, RejectReason.TIMEOUT, Outcome.TIMEOUT, None),
    ],
)
def test_with_no_other_endpoint_the_client_is_told_what_happened(
    failure: Failure, reason: RejectReason, outcome: Outcome, retry_after_s: float | None
) -> None:
    exchange = exchange_of(scheduler_of(1))
    exchange.arrive(T0)
    reject = rejected(exchange.failed(failure, T0))
    assert (reject.reason, reject.outcome, reject.retry_after_s) == (reason, outcome, retry_after_s)
    assert exchange.outcome is outcome


def test_a_refusal_goes_elsewhere_and_is_no_fault_of_the_endpoint() -> None:
    scheduler = scheduler_of(3)
    exchange = exchange_of(scheduler)
    first = forwarded(exchange.arrive(T0))
    assert forwarded(exchange.failed(Failure.REFUSED, T0)) is not first
    assert (first.health.failures, first.health.verdict(T0)) == (0, Verdict.HEALTHY)
    assert exchange.breaks == 0


def test_after_a_break_it_waits_for_room_when_the_others_are_at_their_limit() -> None:
    scheduler = scheduler_of(2, admission=AdmissionConfig(max_in_flight_per_endpoint=1))
    one, two = exchange_of(scheduler), exchange_of(scheduler)
    broken = forwarded(one.arrive(T0))
    other = forwarded(two.arrive(T0))
    assert isinstance(one.failed(Failure.RESET, T0), Wait)
    assert isinstance(one.wake(T0), Wait)
    two.ended(Outcome.OK, after(1.0))
    again = one.wake(after(1.0))
    assert isinstance(again, Forward)
    assert again.fresh
    assert again.lease.endpoint is other is not broken
    one.ended(Outcome.OK, after(2.0))
    assert (one.attempts, one.breaks, one.outcome) == (2, 1, Outcome.OK)
    assert_at_rest(scheduler)


def test_who_comes_new_stands_behind_those_who_wait() -> None:
    scheduler = scheduler_of(1, admission=AdmissionConfig(max_in_flight_per_endpoint=1))
    running, waiting, new = (exchange_of(scheduler) for _ in range(3))
    running.arrive(T0)
    assert isinstance(waiting.arrive(T0), Wait)
    running.ended(Outcome.OK, T0)
    assert isinstance(new.arrive(T0), Wait)
    forwarded(waiting.wake(T0))
    waiting.ended(Outcome.OK, T0)
    forwarded(new.wake(T0))
    new.ended(Outcome.OK, T0)
    forwarded(exchange_of(scheduler).arrive(T0))


def test_an_endpoint_that_could_not_be_reached_gets_one_request_on_trial() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    lost = forwarded(exchange.arrive(T0))
    exchange.failed(Failure.UNREACHABLE, T0)
    asked = [forwarded(exchange_of(scheduler).arrive(after(1.0))) for _ in range(6)]
    assert asked.count(lost) == 1


def test_after_a_break_one_that_was_full_is_asked_again_when_no_other_is_left() -> None:
    scheduler = scheduler_of(2)
    exchange = exchange_of(scheduler)
    full = forwarded(exchange.arrive(T0))
    broken = forwarded(exchange.failed(Failure.REFUSED, T0))
    assert broken is not full
    assert forwarded(exchange.failed(Failure.RESET, after(2.0))) is full
    assert rejected(exchange.failed(Failure.REFUSED, after(2.1))).reason is RejectReason.REFUSED
    assert_at_rest(scheduler)


def test_refusals_are_paid_from_the_budget_of_the_whole_process() -> None:
    retry = RetryConfig(budget_ratio=0.0, budget_per_s=0.0)
    scheduler = scheduler_of(4, retry=retry)
    tries = [
        len(visit_until_done(exchange_of(scheduler), [Failure.REFUSED] * 9)) for _ in range(60)
    ]
    assert sum(tries) - len(tries) == RetryBudget.BURST  # each first try is free
    assert (tries[0], tries[-1]) == (4, 1)


def test_a_spent_budget_does_not_hold_back_what_wastes_no_work() -> None:
    scheduler = scheduler_of(4, retry=RetryConfig(budget_ratio=0.0, budget_per_s=0.0))
    while scheduler.budget.withdraw(T0):
        pass
    assert len(visit_until_done(exchange_of(scheduler), [Failure.UNREACHABLE] * 9)) == 4


def test_an_endpoint_that_was_full_and_then_broke_is_not_asked_a_third_time() -> None:
    scheduler = scheduler_of(2, retry=RetryConfig(max_attempts=9, max_breaks=9))
    exchange = exchange_of(scheduler)
    visited = visit_until_done(exchange, [Failure.REFUSED, Failure.RESET, Failure.RESET] * 3)
    assert visited == [visited[0], visited[1], visited[0]]


@pytest.mark.parametrize("wrong", [{"max_attempts": 0}, {"max_breaks": 0}, {"budget_ratio": -1}])
def test_a_wrong_retry_configuration_fails_at_start(wrong: dict[str, int]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(wrong, RetryConfig)
