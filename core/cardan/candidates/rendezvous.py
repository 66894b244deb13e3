"""Weighted rendezvous hashing with one seed per choice.

Every endpoint draws a number for the key, the highest wins: c1 with the numbers of seed 1, c2 with
those of seed 2 among the rest, and so on. An endpoint that joins takes only the keys whose highest
number it draws, 1/(n+1) of each choice; one that leaves gives up only its own.

The numbers. Endpoint i has for seed s an odd 64-bit multiplier a = splitmix64(hash_i ^ seed_s) | 1;
its number for a key is u = a * splitmix64(key) mod 2^64. For one key the multipliers make u_1..u_n
independent and uniform; for one fleet the keys do, because two 64-bit multipliers have no small
linear relation. The choices of two seeds are as independent as two multipliers. (Multiplicative
hashing, Dietzfelbinger 1997, with a mixed key so that keys 1, 2, 3 are no exception.)

Why this one: the multipliers are known before the key, so they lie side by side in one big integer
with 128 bits for each, and a single multiplication gives all n numbers. 1,000 endpoints cost 65 µs
a seed; mixing each key with each endpoint in Python costs 400 µs.

Weights. The winner is the highest -w / ln(u / 2^64): it wins with probability w / sum of w, and of
each draw a weight that changes moves only keys to or from its own endpoint. Among equal weights
that order is the order of u itself: integers are compared, and a logarithm is taken only of the
best of each weight.
"""

from __future__ import annotations

import math
import struct
from itertools import groupby
from typing import TYPE_CHECKING

from cardan.candidates.base import MEMO_KEYS, MappingBase, Picker, seed64, splitmix64

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan.fleet import EndpointState

LANE_BYTES = 16  # a product of two 64-bit integers fits, so lanes do not run into each other


class Rendezvous(MappingBase, tag="rendezvous", frozen=True):
    """Highest random weight: exact shares, no memory, O(n) per new key."""

    def bind(self) -> Picker:
        """A picker with fresh memory."""
        return _Rendezvous()


class _Rendezvous:
    """Remembers multipliers by endpoint, the current membership's lanes, and its answers."""

    __slots__ = ("_answers", "_d", "_draws", "_multipliers", "_version")

    def __init__(self) -> None:
        self._multipliers: list[dict[int, bytes]] = []
        self._draws: _Draws | None = None
        self._version: int | None = None
        self._d = 0
        self._answers: dict[int, list[EndpointState]] = {}

    def pick(
        self, key: int, endpoints: Sequence[EndpointState], d: int, version: int | None
    ) -> list[EndpointState]:
        """The winners of the key's `d` draws, in the order of the seeds."""
        if version is None:
            return _Draws(endpoints, self._multipliers).pick(splitmix64(key), d)
        if version != self._version or d != self._d or self._draws is None:
            self._version, self._d = version, d
            self._draws = _Draws(endpoints, self._multipliers)
            self._answers.clear()
        answer = self._answers.get(key)
        if answer is None:
            if len(self._answers) >= MEMO_KEYS:
                self._answers.clear()
            answer = self._answers[key] = self._draws.pick(splitmix64(key), d)
        return answer


class _Draws:
    """One membership's numbers: all that can be computed before the key is known."""

    __slots__ = ("_endpoints", "_groups", "_lanes", "_multipliers", "_unpack")

    def __init__(
        self, endpoints: Sequence[EndpointState], multipliers: list[dict[int, bytes]]
    ) -> None:
        self._endpoints = sorted(endpoints, key=_weight)  # equal weights side by side
        self._groups = _runs(self._endpoints)
        self._multipliers = multipliers
        self._lanes: list[int] = []
        self._unpack = struct.Struct("<" + "Q8x" * len(endpoints)).unpack

    def pick(self, key: int, d: int) -> list[EndpointState]:
        """The winners for a mixed key."""
        chosen: list[int] = []
        for rank in range(min(d, len(self._endpoints))):
            draws = self._draw(key, rank)
            for taken in chosen:
                draws[taken] = -1
            chosen.append(self._winner(draws))
        return [self._endpoints[index] for index in chosen]

    def _draw(self, key: int, rank: int) -> list[int]:
        while rank >= len(self._lanes):
            self._lanes.append(self._lane(len(self._lanes)))
        product = self._lanes[rank] * key
        return list(self._unpack(product.to_bytes(LANE_BYTES * len(self._endpoints), "little")))

    def _winner(self, draws: list[int]) -> int:
        """The index of the highest draw, each group's own highest weighed against the others'."""
        if len(self._groups) == 1:
            return draws.index(max(draws))
        winner, best = 0, -1.0
        for weight, start, stop in self._groups:
            highest = max(draws[start:stop])
            if highest < 0:  # all of this weight are taken
                continue
            score = weight / -math.log(((highest >> 12) + 0.5) * 2.0**-52)  # never ln 0, ln 1
            if score > best:
                winner, best = draws.index(highest, start, stop), score
        return winner

    def _lane(self, rank: int) -> int:
        """All multipliers of a rank side by side in one integer."""
        while rank >= len(self._multipliers):
            self._multipliers.append({})
        known = self._multipliers[rank]
        if len(known) > 2 * len(self._endpoints) + 1024:  # endpoints that are long gone
            known.clear()
        for endpoint in self._endpoints:
            if endpoint.hash64 not in known:
                multiplier = splitmix64(endpoint.hash64 ^ seed64(rank)) | 1
                known[endpoint.hash64] = multiplier.to_bytes(LANE_BYTES, "little")
        return int.from_bytes(
            b"".join([known[endpoint.hash64] for endpoint in self._endpoints]), "little"
        )


def _weight(endpoint: EndpointState) -> float:
    return endpoint.weight


def _runs(endpoints: Sequence[EndpointState]) -> list[tuple[float, int, int]]:
    """Runs of equal weight: the weight, where it starts, where it stops."""
    runs = []
    start = 0
    for weight, run in groupby(endpoints, _weight):
        stop = start + len(list(run))
        runs.append((weight, start, stop))
        start = stop
    return runs
