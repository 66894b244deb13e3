"""A watcher's connection to the API, and the line in the log when it is lost or back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import logging

    from cardan_kube.reflector import Fault


class Meter(Protocol):
    """What a process lends its watchers: a clock, a log, and what it counts of them."""

    news: logging.Logger

    def clock(self) -> float:
        """Now, in seconds that only grow."""

    def event(self, kind: str) -> None:
        """An event of a watch, by its kind."""

    def relist(self, reason: str) -> None:
        """A list begins, and why."""

    def error(self, reason: str) -> None:
        """Something failed."""


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

    @property
    def away_s(self) -> float:
        """How long it has been lost; 0 while it is there."""
        return 0.0 if self._lost_at is None else self.meter.clock() - self._lost_at

    def heard(self, *, watching: bool) -> None:
        """The API said something good, in a watch or in a list."""
        now = self.meter.clock()
        self.last_word_at = now
        if self._lost_at is None:
            self.connected = True
        elif watching or not self._lost_by_watch:
            away_s = now - self._lost_at
            self.meter.news.info("%s: the API answers again after %.1f s", self.what, away_s)
            self.connected = True
            self._lost_at, self.trouble, self.fault = None, "", ""

    def lost(self, fault: Fault, trouble: str, *, watching: bool) -> None:
        """It does not answer, or refuses; said once for each outage and reason."""
        if self._lost_at is None:
            self._lost_at = self.meter.clock()
            self._said = set()
        if trouble not in self._said:
            self.meter.news.warning("%s: %s; what is known stays in force", self.what, trouble)
            self._said.add(trouble)
        self.connected, self._lost_by_watch = False, watching
        self.trouble, self.fault = trouble, fault.value
