"""Requests at a scheduler over a few endpoints, and what is done to them, for tests."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from cardan.endpoint import Endpoint
from cardan.fleet import Fleet, FleetConfig
from cardan.instants import Monotonic
from cardan.lifecycle import Action, Exchange, Failure, Forward, Reject
from cardan.policies import LeastRequest
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import AdmissionConfig, Scheduler

if TYPE_CHECKING:
    from cardan.endpoint import EndpointId
    from cardan.fleet import EndpointState
    from cardan.retries import RetryConfig

T0 = Monotonic(100.0)


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


def scheduler_of(
    n: int, *, retry: RetryConfig | None = None, admission: AdmissionConfig | None = None
) -> Scheduler:
    """A scheduler over `n` endpoints that serve the model `m`."""
    fleet = Fleet(FleetConfig())
    fleet.update(
        [Endpoint(url=f"http://127.0.0.1:{1 + i}", name=f"e{i}", models=("m",)) for i in range(n)],
        T0,
    )
    return Scheduler(fleet, LeastRequest(), random.Random(1), retry=retry, admission=admission)


def request_of(model: str = "m", *, deadline_at: Monotonic | None = None) -> RequestView:
    """A streamed request without a known prompt."""
    return RequestView(
        request_id="r",
        api=Api.CHAT,
        model=model,
        prompt=EMPTY,
        stream=True,
        arrived_at=T0,
        slo_ttft_s=5.0,
        body_bytes=100,
        deadline_at=deadline_at,
    )


def exchange_of(scheduler: Scheduler, model: str = "m") -> Exchange:
    """A new request at this scheduler."""
    return Exchange(scheduler, request_of(model))


def forwarded(action: Action | None) -> EndpointState:
    """The endpoint that an action sends to."""
    assert isinstance(action, Forward)
    return action.lease.endpoint


def rejected(action: Action | None) -> Reject:
    """The rejection that an action is."""
    assert isinstance(action, Reject)
    return action


def visit_until_done(exchange: Exchange, failures: list[Failure]) -> list[EndpointId]:
    """Let the dispatches of a request fail one after the other; the endpoints that were asked."""
    action: Action | None = exchange.arrive(T0)
    visited = []
    for step, failure in enumerate(failures):
        if not isinstance(action, Forward):
            break
        visited.append(action.lease.endpoint.id)
        action = exchange.failed(failure, after(step / 1000))
    return visited


def assert_at_rest(scheduler: Scheduler) -> None:
    """Nothing is in flight, nothing waits."""
    assert scheduler.ledger.open_leases == 0
    assert (len(scheduler.queue), scheduler.queued_bytes) == (0, 0)
    for state in scheduler.fleet.endpoints.values():
        load = state.load
        assert (load.in_flight, load.waiting_tokens, load.context_tokens) == (0, 0, 0)
        assert not load.waiting
