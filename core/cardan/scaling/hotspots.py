"""Hot spots: a prefix that two endpoints cannot carry, an endpoint that is busier than the rest."""

from __future__ import annotations

import enum

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime


class MoveKind(enum.StrEnum):
    """What is done about a hot spot."""

    ADD = "add-owners"  # a key gets owners beside those that hashing gives it
    REHOME = "re-home"  # a key's owner is replaced by another endpoint
    REWEIGHT = "re-weight"  # an endpoint owns fewer keys


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A move in force, and why.

    `owners` are the added owners (ADD) or all owners in order (REHOME); `relieved` the endpoint
    that is too busy (REHOME, REWEIGHT). `cost_tokens` is what it was expected to prefill again.
    `calm_since` is set while its reason is gone.
    """

    kind: MoveKind
    at: WallTime
    key: str = ""
    owners: tuple[EndpointId, ...] = ()
    relieved: EndpointId = EndpointId("")
    factor: float = 1.0
    cost_tokens: float = 0.0
    calm_since: WallTime | None = None
    why: str = ""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """Tokens that moves made at one moment were expected to prefill again."""

    at: WallTime
    tokens: float


class HotSpotMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What outlives a tick: moves in force, endpoints that are hot and since when, the spending."""

    moves: tuple[Move, ...] = ()
    hot_since: dict[EndpointId, WallTime] = msgspec.field(default_factory=dict)
    spent: tuple[Spent, ...] = ()
