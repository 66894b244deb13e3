"""Disruption budgets that several pools share.

A PodDisruptionBudget says how many of its pods may be missing, and knows nothing of pools. What it
allows is told as of now: replicas that drain still count as healthy there. So whoever drains is
counted against it here, in whatever pool it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping


class Disruptions:
    """How many replicas of each pool are to go (`taken`), and which budgets cover which pools."""

    def __init__(
        self, budgets: Mapping[str, Collection[str]], taken: Mapping[str, int] | None = None
    ) -> None:
        self._budgets = {pool: frozenset(names) for pool, names in budgets.items()}
        self.taken = dict(taken or {})

    def left_for(self, pool: str, allowed: int | None) -> int | None:
        """What the other pools leave of what its budgets allow; None if it has none."""
        if allowed is None:
            return None
        mine = self._budgets.get(pool, frozenset())
        elsewhere = sum(
            taken
            for other, taken in self.taken.items()
            if other != pool and not mine.isdisjoint(self._budgets.get(other, ()))
        )
        return max(0, allowed - elsewhere)
