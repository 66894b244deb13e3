"""What a mapping from keys to endpoints is, and the one hash that both use."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan.fleet import EndpointState

MASK64 = 2**64 - 1
# splitmix64 (Steele, Lea, Flood 2014): its increment is 2^64 / golden ratio, its multipliers are
# Stafford's variant 13.
_GAMMA = 0x9E3779B97F4A7C15
_MULTIPLIER_1 = 0xBF58476D1CE4E5B9
_MULTIPLIER_2 = 0x94D049BB133111EB

# Remembered answers per mapping. One costs about 200 bytes; a fleet rarely has more live keys.
MEMO_KEYS = 8192


class Picker(Protocol):
    """A mapping at work, with what it remembers."""

    def pick(
        self, key: int, endpoints: Sequence[EndpointState], d: int, version: int | None
    ) -> list[EndpointState]:
        """The owners of a key: distinct, in order of preference, `min(d, len(endpoints))`.

        Equal `version`s promise equal `endpoints` and weights, so answers are remembered by it;
        None promises nothing and nothing is remembered. The list must not be changed.
        """
        ...


class MappingBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of every mapping's configuration entry; `type` in the entry names it."""

    def bind(self) -> Picker:
        """A picker with fresh memory."""
        raise NotImplementedError


def splitmix64(value: int) -> int:
    """A bijection of 64-bit integers in which each bit of the input flips half of the output."""
    value = (value + _GAMMA) & MASK64
    value = ((value ^ value >> 30) * _MULTIPLIER_1) & MASK64
    value = ((value ^ value >> 27) * _MULTIPLIER_2) & MASK64
    return value ^ value >> 31


def seed64(rank: int) -> int:
    """The seed of the rank-th choice (0 first), the same everywhere for ever."""
    return splitmix64(rank)
