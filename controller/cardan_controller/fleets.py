"""The fleets there are, as kopf tells of them, and as our own watch confirms.

Words of a fleet and of its successor under the same name may come in any order: kopf keeps them
apart by their uid. And kopf says nothing of a fleet that went while nobody watched: it lists anew,
and looks only at those that are there. So the watch of the cluster's view, which does know who is
there no more, has its say once a tick.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping

    from cardan_controller.crds.documents import Fleet

Key = tuple[str, str]
"""Namespace and name."""


class Fleets:
    """All fleets, by namespace and name. `on_change` is told whose specification is another."""

    def __init__(self, on_change: Callable[[Key], None]) -> None:
        self._on_change = on_change
        self._fleets: dict[Key, Fleet] = {}
        self._ghosts: dict[Key, Fleet] = {}
        self._heard: dict[Key, str] = {}  # the uid that each name was told with last
        self._new: set[Key] = set()  # since it was confirmed last who is there
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
        before = self._fleets.get(key)
        gone = deleted or bool(fleet.meta.deletion_timestamp)
        if before is not None and _is_of_a_former_one(fleet, before, gone=gone):
            return
        self._heard[key] = fleet.meta.uid
        self._ghosts.pop(key, None)
        if gone:
            if self._fleets.pop(key, None) is not None:
                self._gone.add(key)
            return
        self._put(key, fleet)
        if before is None or _asks_otherwise(before, fleet):
            self._on_change(key)

    def unheard(self, there: Mapping[Key, str]) -> list[Key]:
        """Those that are there by our own watch, and that kopf has not told of yet."""
        return [key for key, uid in there.items() if not self._is_heard(key, uid)]

    def _is_heard(self, key: Key, uid: str) -> bool:
        heard = self._heard.get(key)
        return heard is not None and uid in (heard, "")

    def confirm(self, there: Mapping[Key, str]) -> None:
        """Who is there by our own watch, with its uid if it tells: others are looked after no more.

        Not those that are new here: the two watches need not be equally fast. One that is there
        after all is looked after again.
        """
        for key, fleet in self:
            if there.get(key) not in (fleet.meta.uid, "") and key not in self._new:
                self._ghosts[key] = self._fleets.pop(key)
                self._gone.add(key)
        self._new.clear()
        self._heard = {key: uid for key, uid in self._heard.items() if key in there}
        for key, ghost in list(self._ghosts.items()):
            if there.get(key) == ghost.meta.uid:
                self._put(key, self._ghosts.pop(key))
                self._on_change(key)

    def departed(self) -> list[Key]:
        """Those that are gone since this was asked last."""
        gone = sorted(self._gone)
        self._gone.clear()
        return gone

    def _put(self, key: Key, fleet: Fleet) -> None:
        before = self._fleets.get(key)
        if before is None or before.meta.uid != fleet.meta.uid:
            self._new.add(key)
        self._fleets[key] = fleet
        self._gone.discard(key)


def _is_of_a_former_one(fleet: Fleet, known: Fleet, *, gone: bool) -> bool:
    """Is this the late word of a fleet that had the name before the one that is known?"""
    if fleet.meta.uid == known.meta.uid:
        return False
    then, now = _age(fleet), _age(known)
    return then < now or (gone and then == now)


def _age(fleet: Fleet) -> tuple[str, int]:
    """What is smaller of an earlier fleet: creations have whole seconds, versions only grow."""
    version = fleet.meta.resource_version
    return fleet.meta.creation_timestamp, int(version) if version.isdecimal() else 0


def _asks_otherwise(before: Fleet, after: Fleet) -> bool:
    """Is anything different that its owner wrote?"""
    return (before.meta.uid, before.spec, before.problem, before.meta.annotations) != (
        after.meta.uid,
        after.spec,
        after.problem,
        after.meta.annotations,
    )
