"""The scheduler, with failed dispatches counted where they happen.

They belong to an endpoint, and a request may meet several. All else is counted of a request that is
over (`cardan_router.telemetry.recorder`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.scheduler import Scheduler

from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Failure

    from cardan_router.telemetry.registry import Registry


class ObservedScheduler(Scheduler):
    """A scheduler whose failed dispatches are counted."""

    _registry: Registry | None = None

    def observe_with(self, registry: Registry) -> None:
        """Count from now on."""
        self._registry = registry

    def endpoint_failed(self, endpoint: EndpointState, failure: Failure, now: Monotonic) -> None:
        """See `Scheduler`; counted."""
        left = endpoint.id not in self.fleet.endpoints  # nobody would ever drop that series
        if self._registry is not None and not left:
            self._registry.counter(metrics.FAILURES).add((endpoint.id, failure.value))
        super().endpoint_failed(endpoint, failure, now)
