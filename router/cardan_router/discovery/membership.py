"""The lists of all sources, joined into the fleet."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan.instants import Monotonic

from cardan_router.logs import NEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from cardan.endpoint import Endpoint, EndpointId
    from cardan.fleet import EndpointState, Fleet

news = logging.getLogger(NEWS)


class Membership:
    """Takes each source's list and updates the fleet when the sum changes.

    Where two sources name the same endpoint, the source that comes first in `order` wins: what an
    operator wrote into the configuration beats what was found. The same URL under two names would
    be one engine that is believed to be two; only the first name is used. Either is a mistake in
    what was written, and is said once.
    """

    def __init__(
        self,
        fleet: Fleet,
        clock: Callable[[], float],
        on_change: Callable[[list[EndpointState]], None],
        order: tuple[str, ...] = ("config", "file", "kubernetes"),
        on_release: Callable[[EndpointId], None] = lambda _: None,
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._on_change = on_change
        self._lists: dict[str, tuple[Endpoint, ...]] = dict.fromkeys(order, ())
        self._held: dict[str, frozenset[EndpointId]] = {}
        self._source_of: dict[EndpointId, str] = {}
        self._on_release = on_release
        self._complaints: set[str] = set()

    def report(
        self,
        source: str,
        endpoints: Iterable[Endpoint],
        held: frozenset[EndpointId] = frozenset(),
    ) -> None:
        """A source says who exists, and who of them is held; `KeyError` if there is none such."""
        fresh = tuple(endpoints)
        before = self._all_held()
        if fresh != self._lists[source]:
            self._replace({source: fresh})
        self._held[source] = held
        after = self._all_held()
        self._hold(after)
        for id_ in (before - after) & self._fleet.endpoints.keys():
            self._on_release(id_)

    def report_all(self, lists: Mapping[str, tuple[Endpoint, ...]]) -> None:
        """Several sources at once: an endpoint that moves from one to another stays who it is."""
        fresh = {name: listed for name, listed in lists.items() if listed != self._lists[name]}
        if fresh:
            self._replace(fresh)

    def holds(self, state: EndpointState) -> bool:
        """Must this endpoint not be asked now, however well it is?"""
        return state.id in self._held.get(self._source_of.get(state.id, ""), ())

    def _all_held(self) -> set[EndpointId]:
        """Each source holds what is its own: whose an endpoint is changes with any list."""
        own = self._source_of
        return {id_ for source, ids in self._held.items() for id_ in ids if own.get(id_) == source}

    def _replace(self, fresh: Mapping[str, tuple[Endpoint, ...]]) -> None:
        self._lists.update(fresh)
        joined = self._joined()
        before = dict(self._fleet.endpoints)
        gone = self._fleet.update(joined.values(), Monotonic(self._clock()))
        self._hold_back(before)
        news.info(
            "%d endpoints (%s): %d new, %d gone",
            len(joined),
            " and ".join(fresh),
            len(joined.keys() - before.keys()),
            len(gone),
        )
        self._on_change(gone)

    def _joined(self) -> dict[EndpointId, Endpoint]:
        """All lists as one, and a line in the log for each contradiction that is new."""
        joined: dict[EndpointId, Endpoint] = {}
        sources: dict[EndpointId, str] = {}
        name_of: dict[str, EndpointId] = {}
        complaints: dict[str, int] = {}
        for source, listed in self._lists.items():
            for endpoint in listed:
                known = joined.get(endpoint.id)
                url = endpoint.url.lower()
                if known is not None and known.url != endpoint.url:
                    complaints[
                        f"two endpoints are called {endpoint.id!r}: {known.url}"
                        f" ({sources[endpoint.id]}) and {endpoint.url} ({source}); only the first"
                        " is used"
                    ] = logging.ERROR
                elif known is None and url in name_of:
                    complaints[
                        f"{endpoint.url} is listed twice: as {name_of[url]!r}"
                        f" ({sources[name_of[url]]}) and as {endpoint.id!r} ({source}); only the"
                        " first is used"
                    ] = logging.WARNING
                elif known is None:
                    joined[endpoint.id], sources[endpoint.id] = endpoint, source
                    name_of[url] = endpoint.id
        for complaint, level in complaints.items():
            if complaint not in self._complaints:
                news.log(level, "%s", complaint)
        self._complaints = set(complaints)
        self._source_of = sources
        return joined

    def _hold(self, held: set[EndpointId]) -> None:
        """From now on; a probe that succeeds after the release ends it."""
        changed = False
        for id_ in held & self._fleet.endpoints.keys():
            changed |= self._fleet.endpoints[id_].health.engine_not_ready()
        if changed:
            self._fleet.touch()

    def _hold_back(self, before: dict[EndpointId, EndpointState]) -> None:
        """Nobody is asked before it has answered a probe, even if its models are known."""
        for id_, state in self._fleet.endpoints.items():
            if before.get(id_) is not state:
                state.health.engine_not_ready()
