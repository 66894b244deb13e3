"""Who waits for a model that nobody serves: a gateway's push, kept until a tick acts on it.

A gateway that holds a request for a fleet at zero says so once; the operator's next step is then
not up to fifteen seconds away but at once. Saying it again changes nothing, and a name that no
fleet answers to is forgotten after a minute.

A stranger with access to the port can wake fleets that may sleep, no more: the names of fleets are
as many as there are fleets and always have their place, while all others (made up, or of a fleet
that a new leader has not heard of yet) share a small one, and one sender a part of that. Who is
dropped is told so, and tries again. The chart's network policy lets gateways alone in.
"""

from __future__ import annotations

import enum
from collections import Counter
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import WallTime

# A push is acted on within a second. What is still here after a minute concerns nobody.
KEPT_S: Final = 60.0
# Models of fleets that are not known yet; a gateway with more that sleep says so again.
MAX_UNKNOWN: Final = 256
MAX_UNKNOWN_OF_ONE: Final = 32


class WakeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The push: the gateways' namespace and the model that is waited for."""

    namespace: str
    model: str


class Noted(enum.Enum):
    """What became of a push."""

    NEWS = "news"
    KNOWN = "known"
    DROPPED = "dropped"


class _Push(NamedTuple):
    at: WallTime
    sender: str


Key = tuple[str, str]
"""The gateways' namespace, and the model."""


class Wakes:
    """Pushes that are not acted on yet.

    `on_wake` is called for each one that is news, `on_drop` for each that found no place. `served`
    says whether any fleet has this model at gateways of this namespace.
    """

    def __init__(
        self,
        on_wake: Callable[[], None],
        served: Callable[[str, str], bool] = lambda *_: True,
        on_drop: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_wake = on_wake
        self._on_drop = on_drop
        self._served = served
        self._known: dict[Key, WallTime] = {}
        self._unknown: dict[Key, _Push] = {}

    def note(self, request: WakeRequest, now: WallTime, sender: str = "") -> Noted:
        """Somebody waits."""
        self._forget(now)
        key = (request.namespace, request.model)
        if key in self._known or key in self._unknown:
            return Noted.KNOWN
        if self._served(*key):
            self._known[key] = now
        elif self._has_room(sender):
            self._unknown[key] = _Push(now, sender)
        else:
            self._on_drop()
            return Noted.DROPPED
        self._on_wake()
        return Noted.NEWS

    def requested_at(self, namespace: str, model: str, now: WallTime) -> WallTime | None:
        """Since when somebody waits for this model; None if nobody does."""
        self._forget(now)
        key = (namespace, model)
        unknown = self._unknown.get(key)
        return unknown.at if unknown is not None else self._known.get(key)

    def done(self, namespace: str, model: str) -> None:
        """It was acted on: the next push is news again."""
        self._known.pop((namespace, model), None)
        self._unknown.pop((namespace, model), None)

    def _has_room(self, sender: str) -> bool:
        senders = Counter(push.sender for push in self._unknown.values())
        return len(self._unknown) < MAX_UNKNOWN and senders[sender] < MAX_UNKNOWN_OF_ONE

    def _forget(self, now: WallTime) -> None:
        """Both are in the order of their times: only the old ones at the front are looked at."""
        while self._known and now - next(iter(self._known.values())) > KEPT_S:
            del self._known[next(iter(self._known))]
        while self._unknown and now - next(iter(self._unknown.values())).at > KEPT_S:
            del self._unknown[next(iter(self._unknown))]
