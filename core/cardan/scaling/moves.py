"""Moves of hot prefixes: what they are, what is remembered of them, what they may cost."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.replicas import moment

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan.scaling.observation import KeyMass
    from cardan.scaling.spec import HotSpotSpec

NOBODY: Final = EndpointId("")
# What a prefix block stands for (`fleet.block_tokens`), where nobody has told what a key saves.
BLOCK_TOKENS: Final = 512.0


class MoveKind(enum.StrEnum):
    """What is done about a hot spot."""

    ADD = "add-owners"  # a key gets owners beside those that hashing gives it
    REHOME = "re-home"  # a key's owner is replaced by another endpoint
    REWEIGHT = "re-weight"  # an endpoint owns fewer keys


class Move(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A move in force, and why.

    `owners` are the added owners (ADD) or all owners, the new one first (REHOME). `relieved` is the
    endpoint that was too busy; empty if the key itself was too much for its owners. `share` is the
    part of the fleet's tokens that the key had then, or the endpoint at its full weight.
    `cost_tokens` is what the move was expected to prefill again. `calm_since` is set while its
    reason is gone. `warming` are new owners that are made warm first, until `warm_by` at the latest
    (`cardan.scaling.warming`).
    """

    kind: MoveKind
    at: WallTime
    key: str = ""
    owners: tuple[EndpointId, ...] = ()
    relieved: EndpointId = NOBODY
    factor: float = 1.0
    share: float = 0.0
    cost_tokens: float = 0.0
    calm_since: WallTime | None = None
    warming: tuple[EndpointId, ...] = ()
    warm_by: WallTime | None = None
    why: str = ""


class Spent(msgspec.Struct, frozen=True, array_like=True):
    """Tokens that a move was expected to prefill again, and when."""

    at: WallTime
    tokens: float


class HotSpotMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What outlives a tick: moves in force, who is hot and since when, the spending."""

    moves: tuple[Move, ...] = ()
    hot_keys: dict[str, WallTime] = msgspec.field(default_factory=dict)
    hot_endpoints: dict[EndpointId, WallTime] = msgspec.field(default_factory=dict)
    spent: tuple[Spent, ...] = ()

    def kept(self) -> HotSpotMemory:
        """What is persisted of it. Suspicions are one process's: they come and go by chance."""
        moves = (msgspec.structs.replace(move, calm_since=None) for move in self.moves)
        return HotSpotMemory(moves=tuple(moves), spent=self.spent)


class Purse:
    """The tokens that may be prefilled again: so many in any stretch of `interval_s`."""

    def __init__(self, spec: HotSpotSpec, spent: Iterable[Spent], now: WallTime) -> None:
        self.spent = tuple(s for s in spent if now - s.at < spec.interval_s)
        self._budget = spec.budget_tokens
        self._now = now

    @property
    def left(self) -> float:
        """What is left of it."""
        return max(0.0, self._budget - sum(spent.tokens for spent in self.spent))

    def pay(self, tokens: float) -> bool:
        """Take so many, if there are."""
        if tokens > self.left:
            return False
        at = moment(self._now)
        if self.spent and self.spent[-1].at == at:
            self.spent = (*self.spent[:-1], Spent(at, self.spent[-1].tokens + tokens))
        elif tokens:
            self.spent += (Spent(at, tokens),)
        return True


def cost_of(key: KeyMass) -> float:
    """Tokens that a new owner prefills before a key is as warm there."""
    return float(round(key.hit_tokens or key.blocks * BLOCK_TOKENS))


def digits(share: float) -> float:
    """A share as memory keeps it."""
    return round(share, 4)


def name_of(move: Move) -> str:
    """What a move does, in words."""
    what = {
        MoveKind.ADD: f"more owners of {move.key}",
        MoveKind.REHOME: f"re-homing {move.key}",
        MoveKind.REWEIGHT: f"less weight for {move.relieved}",
    }
    return what[move.kind]
