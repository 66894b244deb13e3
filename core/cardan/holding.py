"""Requests for a model that is scaled to nothing wait, within bounds, for somebody to serve it.

The controller says which models sleep (`cardan.overlay.Dormant`), and how many requests of how many
bytes may wait for each, and for how long. These bounds stand beside those of the gateway's queue
(`AdmissionConfig`), which are for seconds without room: a model that takes minutes to wake up must
not take the places of those that are awake, nor be refused for want of them.

Who is held stands in the scheduler's queue like everybody who waits, so order, deadlines and
clients that leave are the queue's matter. Here it is only counted who is in it for this reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.lifecycle import Exchange
    from cardan.overlay import Dormant

# For a client that is turned away while a model wakes up. Engines load for half a minute to some
# minutes: to come again every second would be noise, every minute would leave them idle.
HOLD_RETRY_AFTER_S: Final = 10.0


class Holding:
    """Who is held, by model. `on_first` is told of each model that somebody begins to wait for."""

    def __init__(self) -> None:
        self.on_first: Callable[[str], None] = _nobody
        self._models: dict[str, _Held] = {}

    def __contains__(self, exchange: Exchange) -> bool:
        held = self._models.get(exchange.request.model)
        return held is not None and exchange in held.exchanges

    @property
    def requests(self) -> int:
        """How many are held."""
        return sum(len(held.exchanges) for held in self._models.values())

    @property
    def bytes(self) -> int:
        """How many bytes of body they have."""
        return sum(held.bytes for held in self._models.values())

    def models(self) -> list[str]:
        """The models that somebody is held for."""
        return list(self._models)

    def enter(self, exchange: Exchange, dormant: Dormant) -> bool:
        """Hold a request; False if there is no room."""
        model, size = exchange.request.model, exchange.request.body_bytes
        held = self._models.get(model) or _Held()
        if len(held.exchanges) >= dormant.hold_requests or held.bytes + size > dormant.hold_bytes:
            return False
        held.exchanges.add(exchange)
        held.bytes += size
        if model not in self._models:
            self._models[model] = held
            self.on_first(model)
        return True

    def leave(self, exchange: Exchange) -> None:
        """A request waits no longer; harmless if it is not held."""
        held = self._models.get(exchange.request.model)
        if held is not None and exchange in held.exchanges:
            held.exchanges.remove(exchange)
            held.bytes -= exchange.request.body_bytes
            if not held.exchanges:
                del self._models[exchange.request.model]


class _Held:
    """Those of one model."""

    __slots__ = ("bytes", "exchanges")

    def __init__(self) -> None:
        self.exchanges: set[Exchange] = set()
        self.bytes = 0


def _nobody(model: str) -> None:
    del model
