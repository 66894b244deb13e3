"""The lists of all sources, joined into the fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan.instants import Monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.endpoint import Endpoint, EndpointId
    from cardan.fleet import EndpointState, Fleet

log = logging.getLogger(__name__)


class Membership:
    """Takes each source's list and updates the fleet when the sum changes.

    Where two sources name the same endpoint, the source that comes first in `order` wins: what an
    operator wrote into the configuration beats what was found.
    """

    def __init__(
        self,
        fleet: Fleet,
        clock: Callable[[], float],
        on_change: Callable[[list[EndpointState]], None],
        order: tuple[str, ...] = ("config", "file"),
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._on_change = on_change
        self._lists: dict[str, tuple[Endpoint, ...]] = dict.fromkeys(order, ())

    def report(self, source: str, endpoints: Iterable[Endpoint]) -> None:
        """A source says who exists; `KeyError` if there is no such source."""
        fresh = tuple(endpoints)
        if fresh == self._lists[source]:
            return
        self._lists[source] = fresh
        joined: dict[str, Endpoint] = {}
        for listed in self._lists.values():
            for endpoint in listed:
                joined.setdefault(endpoint.id, endpoint)
        before = dict(self._fleet.endpoints)
        gone = self._fleet.update(joined.values(), Monotonic(self._clock()))
        self._hold_back(before)
        log.info(
            "%d endpoints (%s): %d new, %d gone",
            len(joined),
            source,
            len(joined.keys() - before.keys()),
            len(gone),
        )
        self._on_change(gone)

    def _hold_back(self, before: dict[EndpointId, EndpointState]) -> None:
        """Nobody is asked before it has answered a probe, even if its models are known."""
        for id_, state in self._fleet.endpoints.items():
            if before.get(id_) is not state:
                state.health.engine_not_ready()
