"""A week of one rate in a short string: a polyline over quarters of an hour.

A record is four characters: two for the slot, counted from `origin`, two for the rate on a log
scale with steps of two percent. The alphabet is in ASCII order, so records sort as strings. A point
is written where the mean of a slot has left a tenth about the last one; when it had held for longer
than a slot, where it held last is written too, so that a flat stretch is flat and a step is a step.
"""

from __future__ import annotations

from bisect import bisect_right
from math import exp, log
from typing import Final

SLOT_S: Final = 900
# One week, and a day to look ahead in it.
KEPT_SLOTS: Final = 8 * 86_400 // SLOT_S
# A change that is worth a point; less than what a forecast is good for.
DEAD_BAND: Final = 0.1
MOST_PERIODS: Final = 3
_DIGITS: Final = "-0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz"
_VALUE: Final = {digit: place for place, digit in enumerate(_DIGITS)}
_MOST: Final = 64 * 64 - 1
_STEP: Final = log(1.02)
_LEAST: Final = 1e-4
_RECORD: Final = 4


def slot_of(at: float) -> int:
    """The quarter of an hour that a time falls in."""
    return int(at // SLOT_S)


def record(origin: int, points: str, slot: int, rate: float) -> tuple[int, str]:
    """`origin` and `points` with the mean rate of one more slot; old slots go."""
    if not points:
        return slot, _pack(0, rate)
    last, held = _unpack(points, len(points) // _RECORD - 1)
    if slot <= origin + last or abs(rate - held) <= DEAD_BAND * max(held, rate):
        return origin, points
    origin, points = _forget(origin, points, slot)
    last, _ = _unpack(points, len(points) // _RECORD - 1)
    place = slot - origin
    if place > last + 1:
        points += _pack(place - 1, held)
    return origin, points + _pack(place, rate)


def mean_before(origin: int, points: str, at: float, period_s: float) -> float | None:
    """Mean rate at this time of up to three earlier periods; None where history has none."""
    rates = []
    for periods in range(1, MOST_PERIODS + 1):
        if periods * period_s > KEPT_SLOTS * SLOT_S:
            break
        rate = rate_at(origin, points, at - periods * period_s)
        if rate is not None:
            rates.append(rate)
    return sum(rates) / len(rates) if rates else None


def rate_at(origin: int, points: str, at: float) -> float | None:
    """The rate at a time in the past: between the middles of slots it is a line."""
    if not points:
        return None
    place = at / SLOT_S - 0.5 - origin
    count = len(points) // _RECORD
    after = bisect_right(range(count), place, key=lambda index: _unpack(points, index)[0])
    if after == 0:
        return None
    slot, rate = _unpack(points, after - 1)
    if after == count:
        return rate
    next_slot, next_rate = _unpack(points, after)
    return rate + (next_rate - rate) * (place - slot) / (next_slot - slot)


def _forget(origin: int, points: str, slot: int) -> tuple[int, str]:
    """Without what is older than a week, but for the point that holds at its edge."""
    edge = slot - KEPT_SLOTS - origin
    count = len(points) // _RECORD
    first = bisect_right(range(count), edge, key=lambda index: _unpack(points, index)[0]) - 1
    if first <= 0 and slot - origin <= _MOST:
        return origin, points
    first = max(first, 0)
    kept = [_unpack(points, index) for index in range(first, count)]
    moved = max(kept[0][0], edge)
    return origin + moved, "".join(_pack(max(0, at - moved), rate) for at, rate in kept)


def _pack(place: int, rate: float) -> str:
    code = 0 if rate < _LEAST else min(1 + round(log(rate / _LEAST) / _STEP), _MOST)
    return _digits(place) + _digits(code)


def _digits(number: int) -> str:
    return _DIGITS[number // 64] + _DIGITS[number % 64]


def _unpack(points: str, index: int) -> tuple[int, float]:
    at = index * _RECORD
    place = _VALUE[points[at]] * 64 + _VALUE[points[at + 1]]
    code = _VALUE[points[at + 2]] * 64 + _VALUE[points[at + 3]]
    return place, _LEAST * exp((code - 1) * _STEP) if code else 0.0
