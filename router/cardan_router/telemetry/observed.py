"""The scheduler, with what fails, is tried again or shed counted where it happens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.ledger import Outcome
from cardan.lifecycle import Failure, Reject, RejectReason
from cardan.scheduler import Scheduler

from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Collection

    from cardan.decision import Decision
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange, Wait
    from cardan.request import RequestView

    from cardan_router.telemetry.registry import Registry


# The reasons of `Scheduler.place` for outcome `shed`.
SHED_BECAUSE: Final = (
    RejectReason.NO_ENDPOINT,
    RejectReason.QUEUE_FULL,
    RejectReason.QUEUE_TIMEOUT,
)


class ObservedScheduler(Scheduler):
    """A scheduler whose failures, retries and sheds are counted where they happen."""

    _failure: Failure | None = None  # of the request for which a decision is asked for
    _registry: Registry | None = None

    def observe_with(self, registry: Registry) -> None:
        """Count from now on, from zero."""
        self._registry = registry
        for failure in Failure:
            registry.counter(metrics.RETRIES).add((failure.value,), 0)
        for reason in SHED_BECAUSE:
            registry.counter(metrics.SHED).add((reason.value,), 0)

    def place(self, exchange: Exchange, now: Monotonic) -> Decision | Wait | Reject:
        """See `Scheduler`; counted where it sheds."""
        self._failure = exchange.failure
        placed = super().place(exchange, now)
        if (
            isinstance(placed, Reject)
            and placed.outcome is Outcome.SHED
            and self._registry is not None
        ):
            self._registry.counter(metrics.SHED).add((placed.reason.value,))
        return placed

    def endpoint_failed(self, endpoint: EndpointState, failure: Failure, now: Monotonic) -> None:
        """See `Scheduler`; counted."""
        self._failure = failure  # the exchange asks for another endpoint in the same step
        left = endpoint.id not in self.fleet.endpoints  # nobody would ever drop that series
        if self._registry is not None and not left:
            self._registry.counter(metrics.FAILURES).add((endpoint.id, failure.value))
        super().endpoint_failed(endpoint, failure, now)

    def decide(
        self, request: RequestView, now: Monotonic, exclude: Collection[str] = ()
    ) -> Decision | None:
        """See `Scheduler`; a decision after a failure is a retry, and counted."""
        decision = super().decide(request, now, exclude)
        if self._failure is not None and decision is not None and self._registry is not None:
            self._registry.counter(metrics.RETRIES).add((self._failure.value,))
        return decision
