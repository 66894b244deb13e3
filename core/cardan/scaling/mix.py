"""Several pools of one role: the cheapest integer mix whose speed covers the need.

min sum(cost_p * n_p), then min sum(|n_p - current_p|), with sum(speed_p * n_p) >= need and every
n_p within its pool's bounds. Two solves of a small integer program (`solver`), remembered: a fleet
asks the same question tick after tick. What bounds do not let be covered is covered as far as they
go.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import msgspec
from cardan.scaling import solver

# What sums of floats may be off by.
EPSILON: Final = 1e-6
# Needs are rounded up to a twentieth of a replica, from eight on to about a hundredth of the need,
# so that noise asks no new questions.
GRAIN: Final = 0.05
FINE_UP_TO: Final = 8.0
# Another mix is worth a cold start, a drain and a cold cache only if it saves a tenth.
WORTH: Final = 0.1


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """What one pool can give: `low` to `high` replicas, of which there are `current`."""

    cost: float
    speed: float
    low: int
    high: int
    current: int

    @property
    def kept(self) -> int:
        """What there is, within the bounds."""
        return min(max(self.current, self.low), self.high)


Offers = tuple[Offer, ...]


def mixed(offers: Offers, need: float, *, settled: bool) -> tuple[int, ...]:
    """Replicas of each pool for `need`, in units of speed 1.

    `settled`: what there is covers the need well enough, so it is kept unless another mix saves
    more than it is worth to change.
    """
    rounded = grained(need)
    if not settled:
        return cheapest(offers, rounded)
    kept = tuple(offer.kept for offer in offers)
    worth = (1.0 - WORTH) * cost(offers, kept)
    if len(offers) == 1 or fractional_cost(offers, rounded) >= worth:
        return kept
    other = cheapest(offers, rounded)
    return other if cost(offers, other) < worth else kept


def grained(need: float) -> float:
    """The need, rounded up a little."""
    doublings = max(0, 1 + math.floor(math.log2(max(need, EPSILON) / FINE_UP_TO)))
    grain = GRAIN * 2.0**doublings
    return math.ceil(need / grain - EPSILON) * grain


def cost(offers: Offers, mix: tuple[int, ...]) -> float:
    """What a mix costs."""
    return sum(offer.cost * n for offer, n in zip(offers, mix, strict=True))


def speed(offers: Offers, mix: tuple[int, ...]) -> float:
    """What a mix carries."""
    return sum(offer.speed * n for offer, n in zip(offers, mix, strict=True))


def fractional_cost(offers: Offers, need: float) -> float:
    """The least cost if parts of replicas could be had: no mix of whole ones is cheaper.

    It is filled from the cheapest speed up, so it costs no solve.
    """
    total = sum(offer.cost * offer.low for offer in offers)
    missing = need - sum(offer.speed * offer.low for offer in offers)
    for offer in sorted(offers, key=lambda offer: offer.cost / offer.speed):
        part = min(max(0.0, missing / offer.speed), offer.high - offer.low)
        total += offer.cost * part
        missing -= offer.speed * part
    return total


@lru_cache(maxsize=4096)
def cheapest(offers: Offers, need: float) -> tuple[int, ...]:
    """The cheapest mix; of equally cheap ones the one with the fewest changes."""
    most = tuple(offer.high for offer in offers)
    if speed(offers, most) <= need + EPSILON:
        return most
    least = tuple(offer.low for offer in offers)
    if speed(offers, least) >= need - EPSILON:
        return least
    if len(offers) == 1:
        return (math.ceil(need / offers[0].speed - EPSILON),)
    return _solved(offers, need)


def _solved(offers: Offers, need: float) -> tuple[int, ...]:
    """Two solves: the least cost, then the fewest changes at that cost."""
    costs = tuple(offer.cost for offer in offers)
    speeds = tuple(offer.speed for offer in offers)
    bounds = tuple((float(offer.low), float(offer.high)) for offer in offers)
    covered = solver.Row(speeds, low=need - EPSILON)
    first = solver.least(costs, bounds, (covered,))
    dearest = cost(offers, first) + EPSILON
    return _calmest(offers, bounds, (covered, solver.Row(costs, high=dearest)))


def _calmest(
    offers: Offers, bounds: tuple[tuple[float, float], ...], rows: tuple[solver.Row, ...]
) -> tuple[int, ...]:
    """With two more variables a pool, added and removed: n - added + removed = current."""
    count = len(offers)
    padding = (0.0,) * (2 * count)
    wide = [msgspec.structs.replace(row, coefficients=row.coefficients + padding) for row in rows]
    for index, offer in enumerate(offers):
        ones = [0.0] * (3 * count)
        ones[index], ones[count + index], ones[2 * count + index] = 1.0, -1.0, 1.0
        wide.append(solver.Row(tuple(ones), low=offer.current, high=offer.current))
    reach = tuple((0.0, float(max(offer.high, offer.current))) for offer in offers)
    costs = (0.0,) * count + (1.0,) * (2 * count)
    return solver.least(costs, (*bounds, *reach, *reach), wide)[:count]
