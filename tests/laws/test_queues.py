"""Laws of queues that the gateway holds: nobody is lost, order and windows hold, nothing is left.

- Who is assigned waits in the scheduler's queue, stands in one endpoint's queue and holds no lease.
- An endpoint's assigned work is the sum of its turns', and exactly zero without any.
- A queue is in its order; nobody is moved more often than twice.
- After those who may be woken were woken, no endpoint that has room has anybody waiting, and nobody
  waits for an endpoint that may not be asked. So nobody waits for ever.
- Nothing is sent beyond the window but what failed elsewhere, or what breaks a silence.
- When all is over, everything is zero.

Whatever clients, engines, discovery and time do, in any order.
"""

from __future__ import annotations

import random
from typing import Any

import pytest
from cardan.endpoint import Endpoint
from cardan.fleet import Fleet, FleetConfig
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.lifecycle import Exchange, Failure, Forward, State, Wait
from cardan.migration import MAX_HOPS
from cardan.policies import policy_named
from cardan.prompt import Prompt
from cardan.queues import QueuesConfig
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

NAMES = [f"e{index}" for index in range(4)]
POLICIES = ["dualmap", "min-ttft", "least-request", "round-robin"]
RUNNING = (State.DISPATCHED, State.STREAMING)


class Turns(RuleBasedStateMachine):
    """Requests that wait for their turn, at endpoints that come and go."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Monotonic(50.0)
        self.fleet = Fleet(FleetConfig(cache_tokens=20_000))
        self.exchanges: list[Exchange] = []
        self.looks = 0

    @initialize(
        policy=st.sampled_from(POLICIES),
        window=st.sampled_from([(1, 0), (2, 0), (0, 4096), (2, 3000)]),
        migrate=st.booleans(),
        limit=st.sampled_from([0, 0, 2]),
    )
    def start(self, policy: str, window: tuple[int, int], migrate: bool, limit: int) -> None:
        queues = QueuesConfig(
            window=window[0], window_tokens=window[1], migrate=migrate, max_wait_s=30.0
        )
        self.scheduler = Scheduler(
            self.fleet,
            policy_named(policy),
            random.Random(1),
            retry=RetryConfig(budget_per_s=1.0),
            admission=AdmissionConfig(
                max_queued_requests=12, max_in_flight_per_endpoint=limit, queues=queues
            ),
        )
        self.scheduler.on_room.append(self.look)
        self.members(set(NAMES[:3]))

    def look(self) -> None:
        self.looks += 1

    # What happens.

    @rule(seconds=st.sampled_from([0.01, 0.3, 1.0, 4.0, 40.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Monotonic(self.now + seconds)
        self.fleet.tick(self.now)
        for exchange in self.some(State.WAITING):
            if exchange.queued_until is not None and self.now >= exchange.queued_until:
                exchange.wake(self.now)

    @rule(names=st.sets(st.sampled_from(NAMES)))
    def members(self, names: set[str]) -> None:
        self.fleet.update(
            [Endpoint(url=f"http://{name}:1", name=name, models=("m",)) for name in names], self.now
        )

    @precondition(lambda self: self.fleet.endpoints)
    @rule(data=st.data(), draining=st.booleans())
    def drains(self, data: st.DataObject, draining: bool) -> None:
        state = data.draw(st.sampled_from(list(self.fleet.endpoints.values())))
        drain(self.fleet, state.id, draining=draining)

    @rule(window=st.sampled_from([0, 1, 3]))
    def configured(self, window: int) -> None:
        scheduler = self.scheduler
        admission = AdmissionConfig(max_queued_requests=12, queues=QueuesConfig(window=window))
        scheduler.reconfigure(scheduler.policy, scheduler.retry, admission)

    @rule(
        stream=st.sampled_from([True, True, False]),
        conversation=st.integers(0, 3),
        blocks=st.integers(0, 40),
        count=st.integers(1, 4),
    )
    def arrive(self, stream: bool, conversation: int, blocks: int, count: int) -> None:
        chain = tuple(1000 * conversation + block for block in range(blocks))
        for _ in range(count):
            view = RequestView(
                request_id=str(len(self.exchanges)),
                api=Api.CHAT,
                model="m",
                prompt=Prompt(chain, 512.0 * blocks + 3, 512, blocks),
                stream=stream,
                arrived_at=self.now,
                slo_ttft_s=2.0,
                body_bytes=100,
            )
            exchange = Exchange(self.scheduler, view)
            self.exchanges.append(exchange)
            action = exchange.arrive(self.now)
            assert isinstance(action, Wait) == (exchange.state is State.WAITING)

    @precondition(lambda self: self.some(*RUNNING))
    @rule(
        data=st.data(), what=st.sampled_from(["first", "first", "end", "fail", "refuse", "leave"])
    )
    def something_comes_back(self, data: st.DataObject, what: str) -> None:
        exchange = data.draw(st.sampled_from(self.some(*RUNNING)))
        if what == "first":
            exchange.first_byte(self.now)
        elif what == "end":
            exchange.ended(Outcome.OK, self.now)
        elif what == "leave":
            exchange.client_left(self.now)
        else:
            exchange.failed(Failure.REFUSED if what == "refuse" else Failure.RESET, self.now)

    @precondition(lambda self: len(self.fleet.endpoints) > 1)
    @rule(data=st.data(), conversation=st.integers(0, 3), blocks=st.integers(1, 8))
    def an_endpoint_stops_with_many_waiting(
        self, data: st.DataObject, conversation: int, blocks: int
    ) -> None:
        """The others are done with all they have: what waits for it has somewhere else to go."""
        for _ in range(3):
            self.arrive(True, conversation, blocks, 3)
        stopped = data.draw(st.sampled_from(list(self.fleet.endpoints.values())))
        self.now = Monotonic(self.now + 3.5)
        queues = self.scheduler.queues
        turns = [] if queues is None else queues.turns()
        for exchange in [turn.exchange for turn in turns if turn.state is not stopped]:
            exchange.client_left(self.now)
        for exchange in self.some(*RUNNING):
            if exchange.lease is not None and exchange.lease.endpoint is not stopped:
                exchange.ended(Outcome.OK, self.now)
        self.they_are_woken()

    @precondition(lambda self: self.some(State.WAITING))
    @rule(data=st.data())
    def one_that_waits_leaves(self, data: st.DataObject) -> None:
        data.draw(st.sampled_from(self.some(State.WAITING))).client_left(self.now)

    @rule()
    def they_are_woken(self) -> None:
        for exchange in self.scheduler.wakeable(self.now):
            first = not exchange.attempts
            action = exchange.wake(self.now)
            if isinstance(action, Forward) and first and self.scheduler.queues is not None:
                self.check_window(action)
        queues = self.scheduler.queues
        if queues is None:
            return
        for queue in queues.all():
            assert not queues.has_room(queue.state, queue.turns[0].work_tokens, self.now)
            for turn in queue.turns:
                assert not queues.is_stranded(turn, self.now)

    # The laws.

    def check_window(self, action: Forward) -> None:
        """What was just sent is alone, within the window, or breaks a silence."""
        load = action.lease.endpoint.load
        config = self.scheduler.admission.queues
        before = [lease for lease in load.waiting if lease is not action.lease]
        if not before or not action.lease.request.stream:
            return
        is_within = (not config.window or len(before) < config.window) and (
            not config.window_tokens or load.waiting_tokens <= config.window_tokens
        )
        assert is_within or self.now - before[-1].opened_at > 2.0

    @invariant()
    def who_is_assigned_waits(self) -> None:
        if not hasattr(self, "scheduler"):
            return
        scheduler = self.scheduler
        waiting = self.some(State.WAITING)
        assert set(scheduler.queue) == set(waiting)
        assert scheduler.queued_bytes == 100 * len(waiting)
        assert len(waiting) <= 12
        queues = scheduler.queues
        turns = [] if queues is None else queues.turns()
        assert {turn.exchange for turn in turns} <= set(waiting)
        assert all(turn.exchange.lease is None and turn.hops <= MAX_HOPS for turn in turns)
        for state in self.fleet.endpoints.values():
            here = [turn for turn in turns if turn.state is state]
            queue = None if queues is None else queues.at(state)
            assert (queue is None) == (not here)
            assert state.load.assigned_tokens == pytest.approx(sum(t.work_tokens for t in here))
            if queue is None:
                assert state.load.assigned_tokens == 0.0
            else:
                keys = [(turn.order, turn.serial) for turn in queue.turns]
                assert set(queue.turns) == set(here)
                assert keys == sorted(keys)

    @invariant()
    def leases_are_the_requests_that_run(self) -> None:
        if self.exchanges:
            assert self.scheduler.ledger.open_leases == len(self.some(*RUNNING))

    def teardown(self) -> None:
        """Everybody leaves: nothing is left behind."""
        for exchange in self.exchanges:
            exchange.client_left(self.now)
        if self.exchanges:
            self.who_is_assigned_waits()
            assert not self.scheduler.queue
            assert not self.scheduler.queues
            assert self.scheduler.ledger.open_leases == 0

    def some(self, *states: State) -> list[Exchange]:
        """The requests that are in one of these states."""
        return [exchange for exchange in self.exchanges if exchange.state in states]


Turns.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestTurns: Any = Turns.TestCase
