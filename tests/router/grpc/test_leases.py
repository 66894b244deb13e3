"""Every lease that `Route` gives is closed exactly once, whatever is reported or left unsaid."""

from __future__ import annotations

import contextlib
import random

import grpc
import pytest
from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Exchange, Failure, Forward, RejectReason
from cardan.policies import RoundRobin
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import Scheduler
from cardan_router.grpc.errors import CallError
from cardan_router.grpc.leases import LeaseBook
from cardan_router.grpc.limits import GrpcLimits
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

LIMITS = GrpcLimits(lease_ttl_s=600.0, max_leases=20)


class Desk:
    """A lease book over a fleet of three."""

    def __init__(self, endpoints: int = 3) -> None:
        fleet = Fleet()
        fleet.update(
            [Endpoint(url=f"http://e{i}:1", name=f"e{i}") for i in range(endpoints)],
            Monotonic(0.0),
        )
        for state in fleet.endpoints.values():
            fleet.introspected(state, ["m"], EngineKind.VLLM)
        self.scheduler = Scheduler(fleet, RoundRobin(), random.Random(1))
        self.ended: list[Exchange] = []
        self.book = LeaseBook(LIMITS, lambda exchange, _usage, _now: self.ended.append(exchange))
        self.now = Monotonic(0.0)

    def route(self, tenant: str = "") -> tuple[str, Exchange]:
        view = RequestView(
            request_id="r",
            api=Api.CHAT,
            model="m",
            prompt=EMPTY,
            stream=True,
            arrived_at=self.now,
            slo_ttft_s=5.0,
            tenant=tenant,
        )
        exchange = Exchange(self.scheduler, view)
        assert isinstance(exchange.arrive(self.now), Forward)
        return self.book.hold(exchange, self.now), exchange

    @property
    def open_leases(self) -> int:
        return self.scheduler.ledger.open_leases


def endpoint_of(exchange: Exchange) -> str:
    assert exchange.lease is not None
    return exchange.lease.endpoint.id


def test_a_lease_ends_with_what_was_reported() -> None:
    desk = Desk()
    name, exchange = desk.route()
    assert desk.book.first_token(name, "", Monotonic(1.0)) == (None, None, False)
    assert exchange.first_byte_at == 1.0
    told = desk.book.ended(name, "", Outcome.OK, Usage(5, 2, 0), Monotonic(2.0))
    assert told.closed
    assert exchange.outcome is Outcome.OK
    assert (len(desk.book), desk.open_leases) == (0, 0)


def test_telling_the_end_twice_counts_once() -> None:
    desk = Desk()
    name, exchange = desk.route()
    first = desk.book.ended(name, "", Outcome.OK, None, Monotonic(2.0))
    assert desk.book.ended(name, "", Outcome.ENGINE_ERROR, None, Monotonic(3.0)) == first
    assert desk.book.first_token(name, "", Monotonic(3.0)) == first
    assert exchange.outcome is Outcome.OK


def test_a_failure_names_another_endpoint_under_the_same_lease() -> None:
    desk = Desk()
    name, exchange = desk.route()
    failed = endpoint_of(exchange)
    told = desk.book.failed(name, "", Failure.UNREACHABLE, failed, Monotonic(1.0))
    assert told.retry is exchange
    assert endpoint_of(exchange) != failed
    assert (len(desk.book), desk.open_leases) == (1, 1)


def test_telling_a_failure_twice_does_not_fail_the_next_endpoint() -> None:
    desk = Desk()
    name, exchange = desk.route()
    failed = endpoint_of(exchange)
    desk.book.failed(name, "", Failure.REFUSED, failed, Monotonic(1.0))
    second = endpoint_of(exchange)
    again = desk.book.failed(name, "", Failure.REFUSED, failed, Monotonic(1.1))
    assert again.retry is exchange
    assert (endpoint_of(exchange), exchange.attempts) == (second, 2)


def test_an_endpoint_that_is_named_again_may_fail_again() -> None:
    desk = Desk(endpoints=2)
    name, exchange = desk.route()
    full = endpoint_of(exchange)
    desk.book.failed(name, "", Failure.REFUSED, full, Monotonic(1.0))
    told = desk.book.failed(name, "", Failure.RESET, endpoint_of(exchange), Monotonic(2.0))
    assert told.retry is exchange
    assert (endpoint_of(exchange), exchange.attempts) == (full, 3)
    told = desk.book.failed(name, "", Failure.UNREACHABLE, full, Monotonic(3.0))
    assert told.closed
    assert told.reject is not None
    assert desk.open_leases == 0


def test_what_is_not_placed_cannot_be_held() -> None:
    desk = Desk()
    name, exchange = desk.route()
    desk.book.ended(name, "", Outcome.OK, None, Monotonic(1.0))
    with pytest.raises(RuntimeError, match="no lease"):
        desk.book.hold(exchange, Monotonic(2.0))
    assert len(desk.book) == 0


def test_a_request_that_breaks_two_endpoints_is_told_so_and_closed() -> None:
    desk = Desk()
    name, exchange = desk.route()
    desk.book.failed(name, "", Failure.RESET, endpoint_of(exchange), Monotonic(1.0))
    last = endpoint_of(exchange)
    told = desk.book.failed(name, "", Failure.RESET, last, Monotonic(2.0))
    assert told.closed
    assert told.reject is not None
    assert told.reject.reason is RejectReason.RESET
    assert desk.book.failed(name, "", Failure.RESET, last, Monotonic(3.0)) == told
    assert desk.open_leases == 0


def test_a_failure_after_the_first_token_closes_without_a_retry() -> None:
    desk = Desk()
    name, exchange = desk.route()
    desk.book.first_token(name, "", Monotonic(1.0))
    told = desk.book.failed(name, "", Failure.RESET, endpoint_of(exchange), Monotonic(2.0))
    assert told == (None, None, True)
    assert exchange.outcome is Outcome.CUT


def test_a_failure_elsewhere_is_refused() -> None:
    desk = Desk()
    name, _ = desk.route()
    with pytest.raises(CallError) as raised:
        desk.book.failed(name, "", Failure.RESET, "nowhere", Monotonic(1.0))
    assert raised.value.param == "failed.endpoint"
    assert desk.open_leases == 1


@pytest.mark.parametrize("outcome", [Outcome.CLIENT_LEFT, Outcome.DEADLINE])
def test_a_request_nobody_wants_any_more_teaches_nothing_of_the_endpoint(outcome: Outcome) -> None:
    desk = Desk()
    name, exchange = desk.route()
    desk.book.ended(name, "", outcome, None, Monotonic(9.0))
    assert (exchange.outcome, exchange.first_byte_at) == (outcome, None)


def test_a_lease_is_only_its_tenants() -> None:
    desk = Desk()
    name, _ = desk.route("alice")
    for tenant in ("", "bob"):
        with pytest.raises(CallError) as raised:
            desk.book.ended(name, tenant, Outcome.OK, None, Monotonic(1.0))
        assert raised.value.code is grpc.StatusCode.NOT_FOUND
    assert desk.book.ended(name, "alice", Outcome.OK, None, Monotonic(1.0)).closed
    with pytest.raises(CallError):
        desk.book.ended(name, "bob", Outcome.OK, None, Monotonic(1.0))


def test_what_nobody_closes_ends_by_itself_and_blames_nobody() -> None:
    desk = Desk()
    name, exchange = desk.route()
    state = exchange.lease.endpoint if exchange.lease else None
    assert desk.book.expire(Monotonic(599.9)) == 0
    assert desk.book.expire(Monotonic(600.0)) == 1
    assert (exchange.outcome, exchange.first_byte_at) == (Outcome.TIMEOUT, None)
    assert state is not None
    assert desk.scheduler.decide(exchange.request, Monotonic(600.0)) is not None
    assert (len(desk.book), desk.open_leases) == (0, 0)
    with pytest.raises(CallError) as raised:
        desk.book.first_token(name, "", Monotonic(601.0))
    assert raised.value.reason == "LEASE_NOT_FOUND"


def test_the_book_is_bounded_and_says_when_to_come_again() -> None:
    desk = Desk()
    for _ in range(LIMITS.max_leases):
        desk.book.check_room()
        desk.route()
    with pytest.raises(CallError) as raised:
        desk.book.check_room()
    assert raised.value.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert raised.value.retry_after_s is not None


def test_the_memory_of_closed_leases_is_bounded_too() -> None:
    desk = Desk()
    names = []
    for _ in range(3 * LIMITS.max_leases):
        name, _ = desk.route()
        names.append(name)
        desk.book.ended(name, "", Outcome.OK, None, Monotonic(1.0))
    desk.book.expire(Monotonic(2.0))
    assert desk.book.ended(names[-1], "", Outcome.OK, None, Monotonic(2.0)).closed
    with pytest.raises(CallError):
        desk.book.ended(names[0], "", Outcome.OK, None, Monotonic(2.0))


def test_at_the_end_of_the_process_every_lease_is_closed() -> None:
    desk = Desk()
    exchanges = [desk.route()[1] for _ in range(5)]
    desk.book.abandon_all(Monotonic(1.0))
    assert {exchange.outcome for exchange in exchanges} == {Outcome.TIMEOUT}
    assert desk.open_leases == 0


class AnyReports(RuleBasedStateMachine):
    """Reports in any order, twice, late, wrong: the ledger and the book agree."""

    def __init__(self) -> None:
        super().__init__()
        self.desk = Desk()
        self.routed: list[str] = []

    @precondition(lambda self: len(self.desk.book) < LIMITS.max_leases)
    @rule()
    def route(self) -> None:
        if self.desk.scheduler.decide(self._view(), self.desk.now) is not None:
            self.routed.append(self.desk.route()[0])

    @rule(seconds=st.sampled_from([0.1, 10.0, 400.0]))
    def time_passes(self, seconds: float) -> None:
        self.desk.now = Monotonic(self.desk.now + seconds)
        self.desk.book.expire(self.desk.now)

    @precondition(lambda self: self.routed)
    @rule(data=st.data(), what=st.sampled_from(["first", "fail", "end"]))
    def report(self, data: st.DataObject, what: str) -> None:
        name = data.draw(st.sampled_from(self.routed))
        endpoint = data.draw(st.sampled_from(["e0", "e1", "e2"]))
        with contextlib.suppress(CallError):  # closed long ago, or never at that endpoint
            if what == "first":
                self.desk.book.first_token(name, "", self.desk.now)
            elif what == "fail":
                failure = data.draw(st.sampled_from([f for f in Failure if f.value != "stale"]))
                self.desk.book.failed(name, "", failure, endpoint, self.desk.now)
            else:
                outcome = data.draw(st.sampled_from([Outcome.OK, Outcome.CLIENT_LEFT]))
                assert self.desk.book.ended(name, "", outcome, None, self.desk.now).closed

    @invariant()
    def open_leases_are_those_in_the_book(self) -> None:
        assert self.desk.open_leases == len(self.desk.book)
        in_flight = sum(s.load.in_flight for s in self.desk.scheduler.fleet.endpoints.values())
        assert in_flight == len(self.desk.book)
        assert len(self.desk.ended) + len(self.desk.book) == len(self.routed)
        assert all(exchange.outcome is not None for exchange in self.desk.ended)

    def teardown(self) -> None:
        self.desk.book.abandon_all(self.desk.now)
        assert self.desk.open_leases == 0

    def _view(self) -> RequestView:
        return RequestView(
            request_id="r",
            api=Api.CHAT,
            model="m",
            prompt=EMPTY,
            stream=True,
            arrived_at=self.desk.now,
            slo_ttft_s=5.0,
        )


TestAnyReports = AnyReports.TestCase
TestAnyReports.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
