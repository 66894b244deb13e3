"""The fleets there are, as their watch tells."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    from cardan_controller.crds.documents import Fleet

Key = tuple[str, str]
"""Namespace and name."""


class Fleets:
    """All fleets, by namespace and name. `on_change` is told whose specification is another."""

    def __init__(self, on_change: Callable[[Key], None]) -> None:
        self._on_change = on_change
        self._fleets: dict[Key, Fleet] = {}
        self._gone: set[Key] = set()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._fleets)

    def __iter__(self) -> Iterator[tuple[Key, Fleet]]:
        """All, in the order of their names."""
        yield from sorted(self._fleets.items(), key=lambda item: item[0])

    def some(self, keys: Collection[Key] | None) -> list[tuple[Key, Fleet]]:
        """All of them, or those of these that are there; in the order of their names."""
        if keys is None:
            return list(self)
        return [(key, self._fleets[key]) for key in sorted(keys) if key in self._fleets]

    def get(self, key: Key) -> Fleet | None:
        """One of them."""
        return self._fleets.get(key)

    def changed(self, fleet: Fleet, *, deleted: bool = False) -> None:
        """A fleet is there, is another, or is gone: as its watch tells."""
        key = (fleet.meta.namespace, fleet.meta.name)
        if deleted or fleet.meta.deletion_timestamp:
            if self._fleets.pop(key, None) is not None:
                self._gone.add(key)
            return
        before = self._fleets.get(key)
        self._fleets[key] = fleet
        self._gone.discard(key)
        if before is None or _asks_otherwise(before, fleet):
            self._on_change(key)

    def departed(self) -> list[Key]:
        """Those that are gone since this was asked last."""
        gone = sorted(self._gone)
        self._gone.clear()
        return gone


def _asks_otherwise(before: Fleet, after: Fleet) -> bool:
    """Is anything different that its owner wrote?"""
    return (before.meta.uid, before.spec, before.problem, before.meta.annotations) != (
        after.meta.uid,
        after.spec,
        after.problem,
        after.meta.annotations,
    )
