"""Who waits for a model that nobody serves: a gateway's push, kept until a tick acts on it.

A gateway that holds a request for a fleet at zero says so once; the operator's next step is then
not up to fifteen seconds away but at once. Saying it again changes nothing, and a name that no
fleet answers to is forgotten after a minute. A stranger with access to the port can wake fleets
that may sleep, and by many made-up names crowd out pushes until the next tick finds who is held:
the chart's network policy lets gateways alone in.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import WallTime

# A push is acted on within a second. What is still here after a minute concerns nobody.
KEPT_S: Final = 60.0
MAX_WAKES: Final = 1024


class WakeRequest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The push: the gateways' namespace and the model that is waited for."""

    namespace: str
    model: str


class Wakes:
    """Pushes that are not acted on yet. `on_wake` is called for each one that is news."""

    def __init__(self, on_wake: Callable[[], None]) -> None:
        self._on_wake = on_wake
        self._at: dict[tuple[str, str], WallTime] = {}

    def note(self, request: WakeRequest, now: WallTime) -> bool:
        """Somebody waits; True if that is news."""
        self._forget(now)
        key = (request.namespace, request.model)
        if key in self._at or len(self._at) >= MAX_WAKES:
            return False
        self._at[key] = now
        self._on_wake()
        return True

    def requested_at(self, namespace: str, model: str, now: WallTime) -> WallTime | None:
        """Since when somebody waits for this model; None if nobody does."""
        self._forget(now)
        return self._at.get((namespace, model))

    def done(self, namespace: str, model: str) -> None:
        """It was acted on: the next push is news again."""
        self._at.pop((namespace, model), None)

    def _forget(self, now: WallTime) -> None:
        for key in [key for key, at in self._at.items() if now - at > KEPT_S]:
            del self._at[key]
