"""What holds for every sequence of events in the life of requests, and of the fleet meanwhile.

- Every request ends in exactly one outcome, which never changes.
- Open leases are the requests dispatched or streaming, on every endpoint; at rest all load is zero.
- The queue is the waiting requests, its bytes are theirs, and its bounds hold.
- Attempts and breaks stay within their limits; no endpoint is asked again by a request that broke
  there or could not reach it; nothing is tried again after the first byte.
- Only who serves the model and has not said "not ready" is asked.

A machine does at random what clients, engines, discovery, probes and time can do.
"""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import EndpointState, Fleet, FleetConfig
from cardan.health import Verdict
from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Action, Exchange, Failure, Forward, Reject, RejectReason, State, Wait
from cardan.policies import AnyPolicy, policy_named, policy_names
from cardan.prompt import Prompt
from cardan.request import Api, RequestView
from cardan.retries import RetryConfig
from cardan.scheduler import AdmissionConfig, Scheduler
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from tests.fakes.draining import drain

NAMES = [f"e{index}" for index in range(5)]
MODELS = ["m"] * 5 + ["other"]
RUNNING = (State.DISPATCHED, State.STREAMING)
BREAKS = (Failure.RESET, Failure.BROKEN, Failure.TIMEOUT)
ENDED = [Outcome.OK, Outcome.CLIENT_ERROR, Outcome.ENGINE_ERROR]


class Lives(RuleBasedStateMachine):
    """Requests and endpoints that come and go; `world` remembers every endpoint there ever was."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Monotonic(50.0)
        self.fleet = Fleet(FleetConfig(cache_tokens=5_000))
        self.exchanges: list[Exchange] = []
        self.outcomes: dict[Exchange, Outcome] = {}
        self.asked: Counter[Exchange] = Counter()
        self.spoiled: set[tuple[Exchange, EndpointState]] = set()
        self.was_stale: set[Exchange] = set()
        self.broken: Counter[Exchange] = Counter()
        self.world: dict[int, EndpointState] = {}

    @initialize(
        policy=st.sampled_from(policy_names()),
        attempts=st.integers(1, 4),
        breaks=st.integers(1, 3),
        window=st.sampled_from([0, 0, 1, 2]),
        queued=st.integers(0, 4),
    )
    def start(self, policy: str, attempts: int, breaks: int, window: int, queued: int) -> None:
        self.scheduler = Scheduler(
            self.fleet,
            policy_named(policy),
            random.Random(1),
            retry=RetryConfig(max_attempts=attempts, max_breaks=breaks, budget_per_s=1.0),
            admission=AdmissionConfig(
                max_in_flight_per_endpoint=window,
                max_queued_requests=queued,
                max_queued_bytes=600,
                max_wait_s=3.0,
            ),
        )
        self.members(set(NAMES[:3]), other=False)

    # Time and the fleet.

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 4.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Monotonic(self.now + seconds)
        self.fleet.tick(self.now)

    @rule(names=st.sets(st.sampled_from(NAMES)), other=st.booleans())
    def members(self, names: set[str], other: bool) -> None:
        models = ("m", "other") if other else ("m",)
        endpoints = [Endpoint(url=f"http://{name}:1", name=name, models=models) for name in names]
        self.fleet.update(endpoints, self.now)
        for state in self.fleet.endpoints.values():
            self.world[id(state)] = state

    @precondition(lambda self: self.fleet.endpoints)
    @rule(data=st.data(), news=st.sampled_from(["drain", "back", "bad", "good", "busy", "reads"]))
    def an_endpoint_changes(self, data: st.DataObject, news: str) -> None:
        states = list(self.fleet.endpoints.values())
        state = data.draw(st.sampled_from(states), label="endpoint")
        changed = False
        if news in ("drain", "back"):
            drain(self.fleet, state.id, draining=news == "drain")
        elif news == "bad":
            changed = state.health.probe_failed(self.now)
        elif news == "good":
            changed = state.health.probe_succeeded()
        elif news == "busy":
            changed = state.health.engine_not_ready()
        else:
            self.fleet.introspected(state, ["m", "other"], EngineKind.VLLM)
        if changed:
            self.fleet.touch()

    @rule(policy=st.sampled_from(policy_names()))
    def the_policy_changes(self, policy: str) -> None:
        new: AnyPolicy = policy_named(policy)
        self.scheduler.reconfigure(new, self.scheduler.retry, self.scheduler.admission)

    # Requests.

    @rule(
        model=st.sampled_from(MODELS),
        stream=st.booleans(),
        size=st.sampled_from([10, 100, 400]),
        blocks=st.integers(0, 4),
        deadline_s=st.none() | st.floats(0, 5),
    )
    def arrives(
        self, model: str, stream: bool, size: int, blocks: int, deadline_s: float | None
    ) -> None:
        chain = tuple(range(blocks))
        view = RequestView(
            request_id=str(len(self.exchanges)),
            api=Api.CHAT,
            model=model,
            prompt=Prompt(chain, 512.0 * blocks + 3, 512, blocks),
            stream=stream,
            arrived_at=self.now,
            slo_ttft_s=2.0,
            body_bytes=size,
            session=str(blocks),
            deadline_at=None if deadline_s is None else Monotonic(self.now + deadline_s),
        )
        exchange = Exchange(self.scheduler, view)
        self.exchanges.append(exchange)
        self.check(exchange, exchange.arrive(self.now))

    @precondition(lambda self: self.some(State.WAITING))
    @rule(data=st.data(), away=st.booleans())
    def is_woken_or_turned_away(self, data: st.DataObject, away: bool) -> None:
        exchange = self.draw(data, State.WAITING)
        if away:
            reject = Reject(RejectReason.SHUTTING_DOWN, "bye", Outcome.SHED)
            self.check(exchange, exchange.abandon(reject, self.now))
        else:
            self.check(exchange, exchange.wake(self.now))

    @precondition(lambda self: self.some(State.DISPATCHED))
    @rule(data=st.data(), ok=st.booleans())
    def first_byte_comes(self, data: st.DataObject, ok: bool) -> None:
        exchange = self.draw(data, State.DISPATCHED)
        exchange.first_byte(self.now, ok=ok)
        assert exchange.state is State.STREAMING

    @precondition(lambda self: self.some(*RUNNING))
    @rule(data=st.data(), failure=st.sampled_from(Failure))
    def fails(self, data: st.DataObject, failure: Failure) -> None:
        exchange = self.draw(data, *RUNNING)
        streaming = exchange.state is State.STREAMING
        action = self.fail(exchange, failure)
        assert (action is None) == streaming
        if streaming:
            assert exchange.outcome in (Outcome.CUT, Outcome.TIMEOUT)

    @precondition(lambda self: self.some(State.DISPATCHED))
    @rule(data=st.data(), failures=st.lists(st.sampled_from(Failure), min_size=2, max_size=6))
    def fails_again_and_again(self, data: st.DataObject, failures: list[Failure]) -> None:
        exchange = self.draw(data, State.DISPATCHED)
        for failure in failures:
            if exchange.state is State.DISPATCHED:
                self.fail(exchange, failure)

    @precondition(lambda self: self.some(*RUNNING))
    @rule(data=st.data(), outcome=st.sampled_from(ENDED), cached=st.none() | st.integers(0, 2000))
    def ends(self, data: st.DataObject, outcome: Outcome, cached: int | None) -> None:
        exchange = self.draw(data, *RUNNING)
        exchange.ended(outcome, self.now, Usage(2000, 10, cached))
        assert exchange.outcome is outcome

    @precondition(lambda self: self.exchanges)
    @rule(data=st.data(), event=st.sampled_from(["client_left", "deadline", "ended", "failed"]))
    def something_comes_that_may_be_too_late(self, data: st.DataObject, event: str) -> None:
        exchange = data.draw(st.sampled_from(self.exchanges), label="request")
        if event == "deadline":
            exchange.deadline(self.now)
        elif event == "client_left":
            exchange.client_left(self.now)
        elif exchange.state is State.DONE:
            if event == "ended":
                exchange.ended(Outcome.OK, self.now)
            else:
                assert exchange.failed(Failure.RESET, self.now) is None

    # The laws.

    def check(self, exchange: Exchange, action: Action | None) -> None:
        """The state says what the action says, and a dispatch goes where it may."""
        if isinstance(action, Forward):
            assert exchange.state is State.DISPATCHED
            assert exchange.lease is action.lease
            if exchange.attempts > self.asked[exchange]:
                self.check_dispatch(exchange, action.lease.endpoint)
        elif isinstance(action, Wait):
            assert exchange.state is State.WAITING
            assert action.until >= exchange.request.arrived_at
        elif isinstance(action, Reject):
            assert exchange.outcome is action.outcome

    def fail(self, exchange: Exchange, failure: Failure) -> Action | None:
        """Tell of a failure and note where nothing may be tried again."""
        assert exchange.lease is not None
        where = exchange.lease.endpoint
        self.broken[exchange] += failure in BREAKS and exchange.state is State.DISPATCHED
        stale = failure is Failure.STALE and exchange not in self.was_stale
        if stale and exchange.attempts == 1:
            self.was_stale.add(exchange)
        elif failure is not Failure.REFUSED:
            self.spoiled.add((exchange, where))
        action = exchange.failed(failure, self.now)
        self.check(exchange, action)
        return action

    def check_dispatch(self, exchange: Exchange, state: EndpointState) -> None:
        """The endpoint is a member, serves the model, is ready, and is new here or was full."""
        assert self.fleet.endpoints[state.id] is state
        assert exchange.request.model in state.models
        assert state.health.verdict(self.now) is not Verdict.NOT_READY
        assert (exchange, state) not in self.spoiled
        self.asked[exchange] += 1
        window = self.scheduler.admission.max_in_flight_per_endpoint
        assert not window or state.load.in_flight <= window

    @invariant()
    def a_request_has_one_outcome_once_it_is_done(self) -> None:
        for exchange in self.exchanges:
            assert (exchange.outcome is not None) == (exchange.state is State.DONE)
            assert (exchange.lease is not None) == (exchange.state in RUNNING)
            if exchange.outcome is not None:
                assert self.outcomes.setdefault(exchange, exchange.outcome) is exchange.outcome

    @invariant()
    def leases_are_the_requests_that_run(self) -> None:
        if not self.exchanges:
            return
        leases = [exchange.lease for exchange in self.exchanges if exchange.lease is not None]
        assert self.scheduler.ledger.open_leases == len(leases)
        for state in self.world.values():
            here = [lease for lease in leases if lease.endpoint is state]
            load = state.load
            assert load.in_flight == len(here)
            silent = [lease for lease in here if lease.first_token_at is None]
            assert set(load.waiting) == {lease for lease in silent if lease.request.stream}
            assert abs(load.context_tokens - sum(x.request.prompt.tokens for x in here)) < 1e-3
            tokens = sum(lease.work_tokens for lease in load.waiting)
            assert abs(load.waiting_tokens - tokens) < 1e-3
            if not here:
                assert (load.waiting_tokens, load.context_tokens, load.silent_tokens) == (0, 0, 0)

    @invariant()
    def the_queue_is_who_waits(self) -> None:
        if not self.exchanges:
            return
        waiting = [exchange for exchange in self.exchanges if exchange.state is State.WAITING]
        scheduler = self.scheduler
        assert list(scheduler.queue) == waiting  # in the order of arrival
        assert scheduler.queued_bytes == sum(exchange.request.body_bytes for exchange in waiting)
        assert len(waiting) <= scheduler.admission.max_queued_requests
        assert scheduler.queued_bytes <= scheduler.admission.max_queued_bytes

    @invariant()
    def limits_hold(self) -> None:
        for exchange in self.exchanges:
            retry = self.scheduler.retry
            assert exchange.attempts == self.asked[exchange] <= retry.max_attempts
            # A stale connection is counted late, together with the break that explains it.
            assert self.broken[exchange] <= exchange.breaks <= max(retry.max_breaks, 2)

    def teardown(self) -> None:
        """Everybody leaves: nothing is left behind."""
        for exchange in self.exchanges:
            exchange.client_left(self.now)
        self.a_request_has_one_outcome_once_it_is_done()
        self.leases_are_the_requests_that_run()
        self.the_queue_is_who_waits()

    def some(self, *states: State) -> list[Exchange]:
        """The requests in one of these states."""
        return [exchange for exchange in self.exchanges if exchange.state in states]

    def draw(self, data: st.DataObject, *states: State) -> Exchange:
        """One of them."""
        exchange: Exchange = data.draw(st.sampled_from(self.some(*states)), label="request")
        return exchange


Lives.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestLives: Any = Lives.TestCase
