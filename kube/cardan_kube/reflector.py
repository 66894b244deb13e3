"""List and watch as a state machine: what to ask next, and what is known.

    list, page by page ──► watch from the list's version ──► each event moves the version on
      ▲   a page fails: anew          │ ends, or the connection breaks: watch again from there
      └───────────────────────────────┘ the version has expired (410), an event cannot be read,
                                        or it has been long: list again

What is known is replaced only by a whole list, all pages of one version, and changed only by events
in their order. So `objects` is at any moment exactly what the server had at `version`: never half a
list, never empty because something failed. Nothing here does I/O; `now` and the randomness come
from outside. A list asks for no version, which the API answers with the present state, never
with a cache that lags (a gateway that restarts must not go back in time).

Failures back off, doubling with jitter, and start over when the API has proved itself: a watch that
brings an event or lives for a while, not a list alone, or a server that lists well and refuses to
watch would be listed without pause. What may well be missing for days (a kind that nobody has
installed) has a pause of its own (`patience_s`).
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

from cardan_kube.frames import Bookmark, Gone, Page, Put, Reading

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from random import Random

T = TypeVar("T")

FIRST_BACKOFF_S: Final = 0.25
# An outage changes nothing for requests; what comes after it should be seen soon. A few gateways
# asking every few seconds are nothing to an API server.
MAX_BACKOFF_S: Final = 5.0
# A compaction expires all watches at once; lists are the dearest requests there are.
EXPIRED_SPREAD_S: Final = 0.5
# A server may ask for patience (Retry-After), but not for more than an operator would have.
MAX_RETRY_AFTER_S: Final = 30.0
# The server ends a watch after this time (client-go uses 5 to 10 minutes too), so that load
# balancers before several API servers get a chance, and credentials are looked at anew.
WATCH_S: Final = (300.0, 600.0)
# A watch promises everything; a list now and then heals what a broken promise would leave (an etcd
# restored from a backup counts versions again from below). 1,000 pods are 10 ms of work.
RELIST_S: Final = (600.0, 900.0)
# A watch that lived so long, or brought something, was a good one.
PROVEN_S: Final = 5.0


class Fault(enum.StrEnum):
    """What can go wrong; the words are those of the metric."""

    UNREACHABLE = "unreachable"  # no connection, or no TLS with it
    TIMEOUT = "timeout"
    BROKEN = "broken"  # a connection that worked has ended in the middle of something
    STALLED = "stalled"  # a watch on which not even a bookmark came
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    NOT_FOUND = "not-found"
    CONFLICT = "conflict"  # somebody else was faster, or holds what was to be written
    INVALID = "invalid"  # the server does not take what was written
    EXPIRED = "expired"
    OVERLOADED = "overloaded"
    REFUSED = "refused"  # any other status
    GARBAGE = "garbage"
    CREDENTIALS = "credentials"  # none could be loaded


# After these the version is as good as before.
_HARMLESS: Final = frozenset(
    {
        *(Fault.UNREACHABLE, Fault.TIMEOUT, Fault.BROKEN, Fault.STALLED),
        *(Fault.OVERLOADED, Fault.UNAUTHORIZED, Fault.CREDENTIALS),
    }
)


class ListPage(NamedTuple):
    """Ask for a page; the first has no token."""

    token: str


class Watch(NamedTuple):
    """Watch from a version; the server is to end it after `timeout_s`."""

    version: str
    timeout_s: int


class Pause(NamedTuple):
    """Wait."""

    seconds: float


Step = ListPage | Watch | Pause


class Reflector(Generic[T]):
    """The state of one list and watch.

    `objects` are what was read, by key, None where nothing could be; `version` is theirs. `synced`
    says that there has been a whole list. `on_relist` is told why each list begins. `patience_s` is
    how long to wait at least after some faults.
    """

    def __init__(
        self,
        rng: Random,
        on_relist: Callable[[str], None] | None = None,
        patience_s: Mapping[Fault, float] | None = None,
    ) -> None:
        self.objects: dict[str, T | None] = {}
        self.complaints: dict[str, str] = {}
        self.version = ""
        self.synced = False
        self._rng = rng
        self._on_relist = on_relist or (lambda _: None)
        self._patience_s = patience_s or {}
        self._why = "start"
        self._pages: list[Reading[T]] = []
        self._token = ""
        self._pause_s = 0.0
        self._backoff_s = FIRST_BACKOFF_S
        self._relist_at = float("inf")
        self._watching_since = 0.0

    def step(self, now: float) -> Step:
        """What to do next."""
        if self._pause_s > 0:
            pause_s, self._pause_s = self._pause_s, 0.0
            return Pause(pause_s)
        if self.version and now >= self._relist_at:
            self._forget_version("period")
        if not self.version:
            if not self._token:
                self._on_relist(self._why)
            return ListPage(self._token)
        self._watching_since = now
        return Watch(self.version, round(self._rng.uniform(*WATCH_S)))

    def page(self, page: Page[T], now: float) -> bool:
        """A page came; True if what is known has changed."""
        self._pages += page.readings
        self._token = page.token
        if page.token:
            return False
        pages, self._pages = self._pages, []
        fresh = {reading.key: reading.value for reading in pages}
        complaints = {reading.key: reading.complaint for reading in pages if reading.complaint}
        changed = (fresh, complaints) != (self.objects, self.complaints) or not self.synced
        self.objects, self.complaints = fresh, complaints
        self.version, self.synced = page.version, True
        self._relist_at = now + self._rng.uniform(*RELIST_S)
        return changed

    def event(self, event: Put[T] | Gone | Bookmark) -> bool:
        """An event of the watch came; True if what is known has changed."""
        self._prove()
        if isinstance(event, Bookmark):
            self.version = event.version
            return False
        if isinstance(event, Gone):
            self.version = event.version
            self.complaints.pop(event.key, None)
            return event.key in self.objects and self.objects.pop(event.key, None) is not None
        return self._put(event.reading)

    def ended(self, now: float) -> None:
        """The watch ended as watches do."""
        if now - self._watching_since >= PROVEN_S:
            self._prove()
        if self._backoff_s > FIRST_BACKOFF_S or now - self._watching_since < 1.0:
            self._back_off()

    def failed(self, fault: Fault, now: float, retry_after_s: float = 0.0) -> None:
        """A list or a watch failed."""
        watched = bool(self.version)
        if watched and now - self._watching_since >= PROVEN_S:
            self._prove()
        self._pages, self._token = [], ""
        if not watched or fault not in _HARMLESS:
            self._forget_version(fault.value)
        if fault is Fault.EXPIRED and self._backoff_s == FIRST_BACKOFF_S:
            self._back_off()
            self._pause_s = self._rng.uniform(0.0, EXPIRED_SPREAD_S)
        else:
            self._back_off()
        patience_s = self._patience_s.get(fault, 0.0) * self._rng.uniform(0.5, 1.0)
        self._pause_s = max(self._pause_s, patience_s, min(retry_after_s, MAX_RETRY_AFTER_S))

    def _put(self, reading: Reading[T]) -> bool:
        self.version = reading.version
        key, value = reading.key, reading.value
        said = self.complaints.get(key, "")
        if reading.complaint:
            self.complaints[key] = reading.complaint
        else:
            self.complaints.pop(key, None)
        changed = self.objects.get(key) != value or said != reading.complaint
        self.objects[key] = value
        return changed

    def _forget_version(self, why: str) -> None:
        if self.version or self.synced:
            self._why = why
        self.version = ""

    def _prove(self) -> None:
        self._backoff_s = FIRST_BACKOFF_S

    def _back_off(self) -> None:
        self._pause_s = self._backoff_s * self._rng.uniform(0.5, 1.0)
        self._backoff_s = min(self._backoff_s * 2, MAX_BACKOFF_S)
