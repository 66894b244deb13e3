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

Weights. The winner is the highest -w / ln(u / 2^64): it wins with probability w / sum of w, and a
weight that changes moves only keys to or from its own endpoint. With equal weights that order is
the order of u itself, so integers are compared and nothing depends on a logarithm.
"""

from __future__ import annotations

import math
import struct
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

    __slots__ = ("_endpoints", "_lanes", "_multipliers", "_unpack", "_weights")

    def __init__(
        self, endpoints: Sequence[EndpointState], multipliers: list[dict[int, bytes]]
    ) -> None:
        self._endpoints = endpoints
        self._multipliers = multipliers
        self._lanes: list[int] = []
        self._unpack = struct.Struct("<" + "Q8x" * len(endpoints)).unpack
        weights = [endpoint.weight for endpoint in endpoints]
        self._weights = weights if len(set(weights)) > 1 else None

    def pick(self, key: int, d: int) -> list[EndpointState]:
        """The winners for a mixed key."""
        chosen: list[int] = []
        for rank in range(min(d, len(self._endpoints))):
            scores = self._scores(key, rank)
            for taken in chosen:
                scores[taken] = -1
            chosen.append(scores.index(max(scores)))
        return [self._endpoints[index] for index in chosen]

    def _scores(self, key: int, rank: int) -> list[float]:
        while rank >= len(self._lanes):
            self._lanes.append(self._lane(len(self._lanes)))
        product = self._lanes[rank] * key
        draws = self._unpack(product.to_bytes(LANE_BYTES * len(self._endpoints), "little"))
        if self._weights is None:
            return list(draws)
        return [
            weight / -math.log(((draw >> 12) + 0.5) * 2.0**-52)  # 52 bits: never 0, never 1
            for weight, draw in zip(self._weights, draws, strict=True)
        ]

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
