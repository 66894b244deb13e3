"""What discovery tells of itself: the counters and the log of its watchers."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan_router.logs import NEWS
from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_router.telemetry.registry import Registry


class Meter:
    """Counts for all watchers of one gateway process."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.news = logging.getLogger(NEWS)
        self._events = registry.counter(metrics.DISCOVERY_EVENTS)
        self._relists = registry.counter(metrics.DISCOVERY_RELISTS)
        self._errors = registry.counter(metrics.DISCOVERY_ERRORS)

    def event(self, kind: str) -> None:
        """An event of a watch, by its kind."""
        self._events.add((kind,))

    def relist(self, reason: str) -> None:
        """A list begins, and why."""
        self._relists.add((reason,))

    def error(self, reason: str) -> None:
        """Something failed."""
        self._errors.add((reason,))
