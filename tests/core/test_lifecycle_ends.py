"""How one request's life ends: exactly once, and with nothing tried after bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.endpoint import Endpoint
from cardan.ledger import Outcome
from cardan.lifecycle import Exchange, Failure, Reject, RejectReason, State, Wait

from tests.core.exchanges import (
    T0,
    after,
    assert_at_rest,
    exchange_of,
    forwarded,
    rejected,
    request_of,
    scheduler_of,
)

if TYPE_CHECKING:
    from cardan.scheduler import Scheduler


def test_nothing_is_tried_again_after_the_first_byte() -> None:
    scheduler = scheduler_of(3)
    exchange = exchange_of(scheduler)
    endpoint = forwarded(exchange.arrive(T0))
    exchange.first_byte(after(0.1))
    assert exchange.failed(Failure.RESET, after(0.2)) is None
    assert (exchange.outcome, exchange.attempts) == (Outcome.CUT, 1)
    assert endpoint.health.failures == 1
    assert_at_rest(scheduler)


def test_a_stream_that_falls_silent_is_a_timeout() -> None:
    exchange = exchange_of(scheduler_of(3))
    exchange.arrive(T0)
    exchange.first_byte(after(0.1))
    assert exchange.failed(Failure.TIMEOUT, after(60)) is None
    assert exchange.outcome is Outcome.TIMEOUT


def test_nothing_is_tried_elsewhere_after_the_deadline() -> None:
    scheduler = scheduler_of(3)
    exchange = Exchange(scheduler, request_of(deadline_at=after(1)))
    exchange.arrive(T0)
    rejected(exchange.failed(Failure.UNREACHABLE, after(1)))
    assert exchange.attempts == 1


@pytest.mark.parametrize("moment", [State.NEW, State.WAITING, State.DISPATCHED, State.STREAMING])
def test_a_client_may_leave_at_any_time(moment: State) -> None:
    scheduler, exchange = _at(moment)
    exchange.client_left(after(1))
    assert (exchange.state, exchange.outcome) == (State.DONE, Outcome.CLIENT_LEFT)
    exchange.client_left(after(2))
    exchange.ended(Outcome.OK, after(2))
    assert exchange.outcome is Outcome.CLIENT_LEFT
    assert_at_rest(scheduler)


@pytest.mark.parametrize("moment", [State.NEW, State.WAITING, State.DISPATCHED])
def test_a_deadline_before_the_first_byte_is_answered(moment: State) -> None:
    scheduler, exchange = _at(moment)
    assert rejected(exchange.deadline(after(1))).reason is RejectReason.DEADLINE
    assert exchange.rejected is RejectReason.DEADLINE
    assert exchange.outcome is Outcome.DEADLINE
    assert exchange.deadline(after(2)) is None
    assert_at_rest(scheduler)


def test_a_deadline_in_a_stream_ends_it_without_an_answer() -> None:
    scheduler, exchange = _at(State.STREAMING)
    assert exchange.deadline(after(1)) is None
    assert exchange.outcome is Outcome.DEADLINE
    assert_at_rest(scheduler)


def test_a_waiting_request_is_placed_when_it_is_woken() -> None:
    scheduler, exchange = _at(State.WAITING)
    assert isinstance(exchange.wake(after(0.5)), Wait)
    scheduler.fleet.update([Endpoint(url="http://127.0.0.1:9", models=("m",))], after(1))
    assert forwarded(exchange.wake(after(1))).id == "http://127.0.0.1:9"
    assert not scheduler.queue


def test_a_waiting_request_is_turned_away_at_shutdown() -> None:
    scheduler, exchange = _at(State.WAITING)
    reject = Reject(RejectReason.SHUTTING_DOWN, "bye", Outcome.SHED)
    assert exchange.abandon(reject, after(1)) is reject
    assert exchange.outcome is Outcome.SHED
    assert_at_rest(scheduler)


def test_a_driver_that_loses_track_is_told() -> None:
    _, exchange = _at(State.DISPATCHED)
    with pytest.raises(RuntimeError, match="arrives twice"):
        exchange.arrive(T0)
    with pytest.raises(RuntimeError, match="not waiting"):
        exchange.wake(T0)
    _, waiting = _at(State.WAITING)
    with pytest.raises(RuntimeError, match="nothing dispatched"):
        waiting.failed(Failure.RESET, T0)


def test_a_failure_that_is_reported_after_the_end_changes_nothing() -> None:
    """A connection that breaks after its client left: both are told to the exchange."""
    scheduler, exchange = _at(State.DISPATCHED)
    exchange.client_left(after(1))
    assert exchange.failed(Failure.RESET, after(1)) is None
    assert exchange.outcome is Outcome.CLIENT_LEFT
    assert_at_rest(scheduler)


def test_an_endpoint_that_left_still_closes_its_leases() -> None:
    scheduler, exchange = _at(State.STREAMING)
    lease = exchange.lease
    assert lease is not None
    scheduler.fleet.update([], after(1))
    exchange.ended(Outcome.OK, after(2))
    assert lease.endpoint.load.in_flight == 0
    assert_at_rest(scheduler)


def test_an_exchange_says_where_it_is() -> None:
    _, exchange = _at(State.STREAMING)
    assert repr(exchange) == "<Exchange r streaming attempts=1>"


def _at(state: State) -> tuple[Scheduler, Exchange]:
    """A request in the given state, and its scheduler."""
    scheduler = scheduler_of(0 if state is State.WAITING else 2)
    exchange = exchange_of(scheduler)
    if state is not State.NEW:
        exchange.arrive(T0)
    if state is State.STREAMING:
        exchange.first_byte(T0)
    assert exchange.state is state
    return scheduler, exchange
