"""The largest load that is still served well, and the smallest fleet that serves it.

Both by bisection: what is served well at one rate is at every lower one, but for chance, and that
is what seeds and intervals are for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

# How far a first guess may be off: eight widenings are a factor of 25.
WIDEN: Final = 1.5
MAX_WIDENINGS: Final = 8


def highest_rate(
    serves: Callable[[float], bool], low: float, high: float, tolerance: float
) -> float:
    """The highest rate that is served well, within `tolerance` of it; 0 if none that was tried.

    The bracket is widened where it does not hold the answer; if all of that is served well, its
    upper end is returned.
    """
    for _ in range(MAX_WIDENINGS):
        if serves(low):
            break
        low, high = low / WIDEN, low
    else:
        return 0.0
    for _ in range(MAX_WIDENINGS):
        if not serves(high):
            break
        low, high = high, high * WIDEN
    else:
        return low
    while high - low > tolerance * high:
        middle = (low + high) / 2
        if serves(middle):
            low = middle
        else:
            high = middle
    return low


def smallest_fleet(serves: Callable[[int], bool], start: int, highest: int) -> int | None:
    """The fewest engines that serve well; None if not even `highest` do."""
    failing, passing = 0, max(1, min(start, highest))
    while not serves(passing):
        if passing >= highest:
            return None
        failing, passing = passing, min(2 * passing, highest)
    while passing - failing > 1:
        middle = (failing + passing) // 2
        if serves(middle):
            passing = middle
        else:
            failing = middle
    return passing
