"""Requests for a model that sleeps: who is held, within which bounds, and how it ends.

Bounds are the overlay's and stand beside those of the gateway's own queue.
"""

from __future__ import annotations

import random

import pytest
from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan.holding import HOLD_RETRY_AFTER_S
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.lifecycle import Exchange, Forward, Reject, RejectReason, State, Wait
from cardan.overlay import NO_OVERLAY, Dormant, ModelOverlay, RoutingOverlay
from cardan.policies import LeastRequest
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig, Scheduler

T0 = Monotonic(100.0)
ONE = Endpoint(url="http://e0:1", name="e0", models=("m",))
OTHER = Endpoint(url="http://o:1", name="o", models=("other",))


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


class Bench:
    """A gateway's scheduler whose model `m` sleeps, while `other` is served."""

    def __init__(
        self, dormant: Dormant | None = None, admission: AdmissionConfig | None = None
    ) -> None:
        self.fleet = Fleet()
        self.fleet.update([OTHER], T0)
        self.sleep(dormant or Dormant())
        self.scheduler = Scheduler(
            self.fleet, LeastRequest(), random.Random(1), admission=admission
        )
        self.first: list[str] = []
        self.scheduler.holding.on_first = self.first.append

    def sleep(self, dormant: Dormant) -> None:
        self.fleet.apply(RoutingOverlay(models={"m": ModelOverlay(dormant=dormant)}), T0)

    def exchange(self, model: str = "m", body_bytes: int = 100) -> Exchange:
        view = RequestView("r", Api.CHAT, model, EMPTY, True, T0, 5.0, body_bytes)
        return Exchange(self.scheduler, view)

    def arrive(self, times: int) -> list[Exchange]:
        """So many requests, all of which wait."""
        exchanges = [self.exchange() for _ in range(times)]
        assert all(isinstance(exchange.arrive(T0), Wait) for exchange in exchanges)
        return exchanges


def test_a_request_for_a_model_that_sleeps_waits_as_long_as_the_overlay_says() -> None:
    bench = Bench(Dormant(hold_s=60.0))
    exchange = bench.exchange()
    action = exchange.arrive(T0)
    assert isinstance(action, Wait)
    assert action.until == after(60)
    late = exchange.wake(after(60))
    assert isinstance(late, Reject)
    assert (late.reason, late.outcome) == (RejectReason.NO_ENDPOINT, Outcome.SHED)
    assert late.retry_after_s == HOLD_RETRY_AFTER_S
    assert "has not woken up in time" in late.message
    assert (bench.scheduler.queue, bench.scheduler.holding.models()) == ({}, [])


@pytest.mark.parametrize("dormant", [Dormant(hold_requests=2), Dormant(hold_bytes=299)])
def test_no_more_wait_than_the_overlay_says_in_requests_and_in_bytes(dormant: Dormant) -> None:
    bench = Bench(dormant)
    first, _ = bench.arrive(2)
    refused = bench.exchange().arrive(T0)
    assert isinstance(refused, Reject)
    assert (refused.reason, refused.retry_after_s) == (
        RejectReason.NO_ENDPOINT,
        HOLD_RETRY_AFTER_S,
    )
    first.client_left(T0)
    assert isinstance(bench.exchange().arrive(T0), Wait), "who leaves makes room"


def test_who_is_held_takes_no_place_of_those_that_wait_for_room() -> None:
    admission = AdmissionConfig(
        max_queued_requests=1, max_queued_bytes=100, max_in_flight_per_endpoint=1
    )
    bench = Bench(admission=admission)
    bench.arrive(3)
    assert isinstance(bench.exchange("other").arrive(T0), Forward)
    assert isinstance(bench.exchange("other").arrive(T0), Wait)
    refused = bench.exchange("other").arrive(T0)
    assert isinstance(refused, Reject)
    assert refused.reason is RejectReason.QUEUE_FULL
    assert (bench.scheduler.holding.requests, bench.scheduler.holding.bytes) == (3, 300)


def test_they_go_out_in_order_when_an_endpoint_joins_and_later_ones_stand_behind() -> None:
    bench = Bench(admission=AdmissionConfig(max_in_flight_per_endpoint=2))
    waiting = bench.arrive(3)
    bench.fleet.update([OTHER, ONE], after(1))
    late = bench.exchange()
    assert isinstance(late.arrive(after(1)), Wait), "though there is a free endpoint"
    order = list(bench.scheduler.queue)
    assert order == [*waiting, late]
    assert [isinstance(exchange.wake(after(1)), Forward) for exchange in order] == [
        *(True, True),
        *(False, False),
    ]
    assert bench.scheduler.holding.requests == 1, "the one that came too late for a place"


def test_a_model_that_is_awake_serves_though_the_overlay_lags() -> None:
    bench = Bench()
    bench.fleet.update([OTHER, ONE], T0)
    assert isinstance(bench.exchange().arrive(T0), Forward)
    bench = Bench(admission=AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=5.0))
    bench.fleet.update([OTHER, ONE], T0)
    bench.exchange().arrive(T0)
    wait = bench.exchange().arrive(T0)
    assert isinstance(wait, Wait)
    assert wait.until == after(5), "for room, and not for somebody to wake up"


def test_an_endpoint_that_is_not_ready_is_nobody() -> None:
    bench = Bench(Dormant(hold_s=60.0))
    bench.fleet.update([OTHER, ONE], T0)
    bench.fleet.endpoints[ONE.id].health.engine_not_ready()
    bench.fleet.touch()
    wait = bench.exchange().arrive(T0)
    assert isinstance(wait, Wait)
    assert wait.until == after(60)


def test_who_came_before_the_model_slept_is_held_from_then_on() -> None:
    bench = Bench(Dormant(hold_s=60.0, hold_requests=1))
    bench.fleet.apply(NO_OVERLAY, T0)
    first, second = bench.arrive(2)
    assert bench.scheduler.holding.requests == 0
    bench.sleep(Dormant(hold_s=60.0, hold_requests=1))
    held, as_before = first.wake(after(1)), second.wake(after(1))
    assert isinstance(held, Wait)
    assert isinstance(as_before, Wait)
    assert (held.until, as_before.until) == (after(61), after(5))
    assert list(bench.scheduler.queue) == [first, second]


def test_who_is_held_goes_on_waiting_when_the_overlay_ends_before_an_endpoint_is_there() -> None:
    bench = Bench(Dormant(hold_s=60.0))
    (exchange,) = bench.arrive(1)
    bench.fleet.apply(NO_OVERLAY, after(10))
    assert isinstance(exchange.wake(after(59)), Wait)
    new = bench.exchange().arrive(after(59))
    assert isinstance(new, Wait), "the model is expected, for it was there a while ago"


def test_the_first_of_each_sleep_is_told() -> None:
    bench = Bench(Dormant(hold_requests=2))
    waiting = bench.arrive(2)
    bench.exchange().arrive(T0)
    assert bench.first == ["m"]
    for exchange in waiting:
        exchange.client_left(T0)
        assert exchange.state is State.DONE
    bench.arrive(1)
    assert bench.first == ["m", "m"]


def test_what_an_overlay_changes_fits_into_a_line() -> None:
    overlay = RoutingOverlay(
        models={
            "b": ModelOverlay(dormant=Dormant()),
            "a": ModelOverlay(
                owners={"0" * 16: (ONE.id,)},
                weights={ONE.id: 0.5},
                draining=tuple(Endpoint(url=f"http://{n}:1").id for n in "abcdef"),
            ),
            "c": ModelOverlay(),
        }
    )
    assert overlay.words() == (
        "a: 1 key moved, weights e0 x 0.5,"
        " draining http://a:1, http://b:1, http://c:1, http://d:1 and 2 more; b: sleeps"
    )
    assert NO_OVERLAY.words() == ""
