"""The fleets there are, as their watch tells."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from cardan_controller.crds.documents import Fleet, read_fleet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Key = tuple[str, str]
"""Namespace and name."""


class Fleets:
    """All fleets, by namespace and name. `on_change` is called when a specification is another."""

    def __init__(self, on_change: Callable[[], None]) -> None:
        self._on_change = on_change
        self._fleets: dict[Key, Fleet] = {}
        self._gone: set[Key] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._fleets)

    def __iter__(self) -> Iterator[tuple[Key, Fleet]]:
        """All, in the order of their names."""
        yield from sorted(self._fleets.items())

    def get(self, key: Key) -> Fleet | None:
        """One of them."""
        return self._fleets.get(key)

    def changed(self, type_: str | None, manifest: Mapping[str, Any]) -> None:
        """An event of the watch; without a type the object is one that was there at the start."""
        fleet = read_fleet(msgspec.json.encode(manifest))
        key = (fleet.meta.namespace, fleet.meta.name)
        if type_ == "DELETED" or fleet.meta.deletion_timestamp:
            if self._fleets.pop(key, None) is not None:
                self._gone.add(key)
            return
        before = self._fleets.get(key)
        self._fleets[key] = fleet
        self._gone.discard(key)
        if before is None or before.spec != fleet.spec:
            self._on_change()

    def departed(self) -> list[Key]:
        """Those that are gone since this was asked last."""
        gone = sorted(self._gone)
        self._gone.clear()
        return gone
