"""What discovery tells of itself, and the line in the log when the API is lost or back."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan_router.logs import NEWS
from cardan_router.telemetry import metrics

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_router.discovery.kubernetes.reflector import Fault
    from cardan_router.telemetry.registry import Registry

news = logging.getLogger(NEWS)


class Meter:
    """Counts for all watchers of one gateway process."""

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self.clock = clock
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


class Link:
    """One watcher's connection: is it there, and when did it last bring something?

    It counts as lost when a request for a list or a watch fails, not when a watch that worked
    breaks: the next try is a quarter of a second away, and says which of the two it was. Lost by a
    watch, it is back with a watch: an API that lists and refuses to watch is not one that works.
    """

    def __init__(self, what: str, meter: Meter) -> None:
        self.what = what
        self.meter = meter
        self.connected = False
        self.trouble = ""
        self.fault = ""
        self.last_word_at: float | None = None
        self._lost_at: float | None = None
        self._lost_by_watch = False
        self._said: set[str] = set()

    def heard(self, *, watching: bool) -> None:
        """The API said something good, in a watch or in a list."""
        now = self.meter.clock()
        self.last_word_at = now
        if self._lost_at is None:
            self.connected = True
        elif watching or not self._lost_by_watch:
            news.info("%s: the API answers again after %.1f s", self.what, now - self._lost_at)
            self.connected = True
            self._lost_at, self.trouble, self.fault = None, "", ""

    def lost(self, fault: Fault, trouble: str, *, watching: bool) -> None:
        """It does not answer, or refuses; said once for each outage and reason."""
        if self._lost_at is None:
            self._lost_at = self.meter.clock()
            self._said = set()
        if trouble not in self._said:
            news.warning("%s: %s; what is known stays in force", self.what, trouble)
            self._said.add(trouble)
        self.connected, self._lost_by_watch = False, watching
        self.trouble, self.fault = trouble, fault.value
