"""Disruption budgets that cover pools of several fleets: what one takes the others do not have.

Pools of one fleet share theirs where victims are chosen (`cardan.scaling.drain`); that sees no
other fleet. Victims of one fleet are chosen after those of another, so each sees what those before
it have taken, in this tick or an earlier one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan.scaling.drain import DrainMemory
    from cardan.scaling.orders import Limits

    from cardan_controller.fleets import Key

# A budget by its namespace and name.
_Budget = tuple[str, str]


class SharedDisruptions:
    """How many replicas each fleet has that are to go, by the budgets that cover them."""

    def __init__(self) -> None:
        self._taken: dict[Key, dict[_Budget, int]] = {}

    def note(self, key: Key, limits: Mapping[str, Limits], drains: DrainMemory) -> None:
        """These are to go in a fleet."""
        taken: dict[_Budget, int] = {}
        for pool, known in limits.items():
            for name in known.budgets:
                budget = (key[0], name)
                taken[budget] = taken.get(budget, 0) + len(drains.of(pool))
        self._taken[key] = taken

    def forget(self, key: Key) -> None:
        """A fleet is gone."""
        self._taken.pop(key, None)

    def left_for(self, key: Key, limits: Mapping[str, Limits]) -> dict[str, Limits]:
        """A fleet's limits, with what the others leave of its budgets."""
        others = [taken for other, taken in self._taken.items() if other != key]

        def left(known: Limits) -> Limits:
            if known.allowed_disruptions is None:
                return known
            elsewhere = (
                sum(taken.get((key[0], name), 0) for taken in others) for name in known.budgets
            )
            allowed = max(0, known.allowed_disruptions - max(elsewhere, default=0))
            return msgspec.structs.replace(known, allowed_disruptions=allowed)

        return {pool: left(known) for pool, known in limits.items()}
