"""Laws of waiting for a model that sleeps: nobody is lost, order is kept, bounds hold.

Whatever the controller says and when, whoever joins or leaves, in any order.
"""

from __future__ import annotations

import random
from typing import Any

from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.lifecycle import Exchange, Forward, Reject, State, Wait
from cardan.overlay import NO_OVERLAY, Dormant, ModelOverlay, RoutingOverlay
from cardan.policies import LeastRequest
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig, Scheduler
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

MODELS = ("a", "b")
ADMISSION = AdmissionConfig(max_queued_requests=3, max_in_flight_per_endpoint=2, max_wait_s=5.0)
DORMANT = Dormant(hold_requests=4, hold_bytes=350, hold_s=20.0)


class Nights(RuleBasedStateMachine):
    """Two models that fall asleep and wake up while requests come."""

    def __init__(self) -> None:
        super().__init__()
        self.now = Monotonic(0.0)
        self.fleet = Fleet()
        self.scheduler = Scheduler(
            self.fleet, LeastRequest(), random.Random(1), admission=ADMISSION
        )
        self.waiting: list[Exchange] = []  # in the order in which they began to
        self.running: list[Exchange] = []
        self.told: list[str] = []
        self.scheduler.holding.on_first = self.told.append

    @initialize()
    def somebody_is_there(self) -> None:
        self.served(frozenset({"a"}))

    @rule(models=st.frozensets(st.sampled_from(MODELS)))
    def served(self, models: frozenset[str]) -> None:
        self.fleet.update(
            [Endpoint(url=f"http://{m}:1", name=m, models=(m,)) for m in models], self.now
        )

    @rule(models=st.frozensets(st.sampled_from(MODELS)))
    def sleep(self, models: frozenset[str]) -> None:
        parts = {model: ModelOverlay(dormant=DORMANT) for model in models}
        self.fleet.apply(RoutingOverlay(models=parts) if parts else NO_OVERLAY, self.now)

    @rule(model=st.sampled_from(MODELS), size=st.sampled_from([50, 100, 200]))
    def arrives(self, model: str, size: int) -> None:
        view = RequestView("r", Api.CHAT, model, EMPTY, True, self.now, 5.0, size)
        exchange = Exchange(self.scheduler, view)
        first = not any(other.request.model == model for other in self.waiting)
        action = exchange.arrive(self.now)
        if isinstance(action, Wait):
            self.waiting.append(exchange)
            assert action.until > self.now
        elif isinstance(action, Forward):
            assert first, "nobody overtakes who waits for the same model"
            self.running.append(exchange)
        else:
            assert action.retry_after_s is not None or "exist" in action.message

    @rule()
    def looks(self) -> None:
        """As the gateway does: oldest first, until each model's first one has no luck."""
        stuck: set[str] = set()
        for exchange in list(self.scheduler.queue):
            model = exchange.request.model
            if model in stuck:
                continue
            action = exchange.wake(self.now)
            if isinstance(action, Wait):
                stuck.add(model)
                continue
            mine = [other for other in self.waiting if other.request.model == model]
            assert mine[0] is exchange, "the one that has waited longest comes first"
            self.waiting.remove(exchange)
            if isinstance(action, Forward):
                self.running.append(exchange)
            else:
                assert isinstance(action, Reject)
                assert exchange.state is State.DONE

    @rule(seconds=st.sampled_from([0.2, 4.0, 15.0]))
    def time_passes(self, seconds: float) -> None:
        self.now = Monotonic(self.now + seconds)

    @rule(data=st.data())
    def leaves(self, data: st.DataObject) -> None:
        everybody = self.waiting + self.running
        if everybody:
            exchange = data.draw(st.sampled_from(everybody))
            exchange.client_left(self.now)
            (self.waiting if exchange in self.waiting else self.running).remove(exchange)

    @invariant()
    def the_queue_is_who_waits_in_order(self) -> None:
        assert list(self.scheduler.queue) == self.waiting
        assert all(exchange.state is State.WAITING for exchange in self.waiting)
        size = sum(exchange.request.body_bytes for exchange in self.waiting)
        assert self.scheduler.queued_bytes == size

    @invariant()
    def bounds_hold(self) -> None:
        holding = self.scheduler.holding
        held = [exchange for exchange in self.waiting if exchange in holding]
        assert holding.requests == len(held)
        assert holding.bytes == sum(exchange.request.body_bytes for exchange in held)
        assert set(holding.models()) == {exchange.request.model for exchange in held}
        for model in MODELS:
            mine = [exchange for exchange in held if exchange.request.model == model]
            assert len(mine) <= DORMANT.hold_requests
            assert sum(exchange.request.body_bytes for exchange in mine) <= DORMANT.hold_bytes
        assert len(self.waiting) - len(held) <= ADMISSION.max_queued_requests
        assert set(holding.models()) <= set(self.told)


Nights.TestCase.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)
TestNights: Any = Nights.TestCase
