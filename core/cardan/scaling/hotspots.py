"""Hot spots: a prefix that its owners cannot carry, an endpoint that is busier than the rest.

Hashing spreads keys evenly, not work: one key may be a tenth of all tokens. Three moves help, and
each makes somebody prefill again what was warm elsewhere, so they are few, paid from a budget of
tokens, made for what lasts (`hold_s`), and taken back when their reason has gone (`cool_s`).

*A key above its pair's share.* With n endpoints a key of share p is p n endpoints' worth of work,
and its pair is to carry it at RHO, the utilisation up to which two choices still balance. Above
2 RHO it gets owners until there are ceil(p n / RHO) (docs: Hot spots and drains). It loses
them again when 25 % more than it has now would need fewer.

*An endpoint over the mean* (`cardan.scaling.balance`). The heaviest of its keys that is at most
half of the difference to the least loaded endpoint goes there: more would only move the hot spot.
If all are heavier than that, the heaviest gets an owner more. If no key explains it, or it is asked
no more than others (it is slow), its weight is lowered, so that it owns fewer of all keys. Such a
move is taken back when half of what was moved is gone. Not when all looks well: that is what the
move is for.

A move whose new owner has gone is void: hashing has placed the key anew. A new owner may be made
warm before it takes traffic (`cardan.scaling.warming`).
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.scaling.balance import Balance, prefilling
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.moves import (
    NOBODY,
    HotSpotMemory,
    Move,
    MoveKind,
    Purse,
    cost_of,
    digits,
    name_of,
)
from cardan.scaling.replicas import moment
from cardan.scaling.warming import begun, gone_on, progress

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from cardan.endpoint import EndpointId, Role
    from cardan.instants import WallTime
    from cardan.scaling.observation import KeyMass, Observation
    from cardan.scaling.spec import HotSpotSpec

__all__ = ["HotSpotMemory", "Move", "MoveKind", "decide"]

# The utilisation that owners of a hot key are to have. With two choices 96 % of first tokens are in
# time there (simulated: 97 % at 0.67, 95 % at 0.74), and it falls fast above.
RHO: Final = 0.7
# A key loses owners when so much more than it is now would need fewer.
KEEP: Final = 1.25
# A move is taken back when what it moved is at most this part of what it was. (Keys that gateways
# deepen are let go at half of their bound, too.)
COLD: Final = 0.5
# A key that is less than this part of what makes an endpoint hot is not worth moving.
CRUMB: Final = 0.1
# A weight goes down in steps of a tenth, to half: what does not help then is not in the keys.
STEP: Final = 0.1
LEAST_FACTOR: Final = 0.5
# What lies in a cache is asked for again within about two minutes, or not at all: the dip of the
# hit rate after a change of membership lasts so long.
REFILL_S: Final = 120.0
# Memory lives in an object of the API: so many moves of one fleet are in force at once.
MAX_MOVES: Final = 12
# Who may be under suspicion at once; a fleet with more hot endpoints is not uneven, it is full.
MAX_HOT: Final = 16


def decide(
    spec: HotSpotSpec,
    observation: Observation,
    memory: HotSpotMemory,
    now: WallTime,
    *,
    avoid: Collection[EndpointId] = (),
    roles: Mapping[str, Role] | None = None,
) -> tuple[tuple[Move, ...], HotSpotMemory, tuple[ScalingReason, ...]]:
    """The moves that are to be in force, old and new.

    `avoid` are endpoints that are to get nothing (cordoned, draining). `roles` are those of the
    pools by name; endpoints that only decode hold no prefix.
    """
    if not spec.enabled:
        return (), HotSpotMemory(), ()
    if not observation.endpoints and any(pool.ready for pool in observation.pools.values()):
        return memory.moves, memory, ()  # there are endpoints, and nothing is known of them
    balance = Balance(prefilling(observation, avoid, roles or {}), spec.imbalance)
    tick = _Tick(spec, observation, memory, balance, now)
    tick.drop()
    tick.cool()
    tick.warm()
    tick.heat_keys()
    tick.heat_endpoints()
    moves = tuple(sorted(tick.moves, key=lambda m: (m.at, m.kind, m.key, m.relieved)))
    kept = HotSpotMemory(
        moves=moves,
        hot_keys=tick.hot_keys,
        hot_endpoints=tick.hot_endpoints,
        spent=tick.purse.spent,
    )
    return moves, kept, tuple(tick.notes)


class _Tick:
    """One look at a fleet: what of the moves stays, what is new."""

    def __init__(
        self,
        spec: HotSpotSpec,
        observation: Observation,
        memory: HotSpotMemory,
        balance: Balance,
        now: WallTime,
    ) -> None:
        self.spec = spec
        self.balance = balance
        self.now = now
        self.moves = list(memory.moves)
        self.hot_keys: dict[str, WallTime] = {}
        self.hot_endpoints: dict[EndpointId, WallTime] = {}
        self.purse = Purse(spec, memory.spent, now)
        self.notes: list[ScalingReason] = []
        self._memory = memory
        self._eased: set[EndpointId] = set()  # owners of keys that have just got more
        self._present = {endpoint.id for endpoint in observation.endpoints}
        self._keys = {key.key: key for key in observation.keys}
        # No key at all: nobody asks, or nobody tells.
        self._keys_known = bool(self._keys) or observation.demand.requests_per_s.known == 0

    # Moves in force.

    def drop(self) -> None:
        """Moves lose the endpoints that have gone, and end with the last new one."""
        for move in list(self.moves):
            owners = tuple(id_ for id_ in move.owners if id_ in self._present)
            new = {MoveKind.ADD: move.owners, MoveKind.REHOME: move.owners[:1]}
            if self._present.isdisjoint(new.get(move.kind, (move.relieved,))):
                self.moves.remove(move)
                self._say(ReasonCode.MOVE_DROPPED, f"{name_of(move)}: its endpoint has gone")
            elif owners != move.owners:
                self._swap(move, msgspec.structs.replace(move, owners=owners))

    def cool(self) -> None:
        """Moves whose reason has been gone for long enough are taken back, one an endpoint."""
        undone: set[EndpointId] = set()
        for known in list(self.moves):
            is_calm = self._is_calm(known) and known.relieved not in undone
            since = (known.calm_since or moment(self.now)) if is_calm else None
            move = msgspec.structs.replace(known, calm_since=since)
            self._swap(known, move)
            is_over = since is not None and self.now - since >= self.spec.cool_s
            if is_over and self._undo(move) and move.relieved:
                undone.add(move.relieved)

    def _is_calm(self, move: Move) -> bool:
        """Is the reason of a move gone, as far as is known?"""
        if move.key and not self._keys_known:
            return False
        if not move.relieved:
            return self._surplus(move) > 0
        load = self.balance.loads.get(move.relieved)
        if load is None:
            return True
        if move.kind is MoveKind.REWEIGHT:
            share = self.balance.traffic.get(move.relieved, 1.0) / move.factor
        else:
            share = self._share(move.key)
        return share <= COLD * move.share and self.balance.is_known and self.balance.is_calm(load)

    def _surplus(self, move: Move) -> int:
        """How many of a key's added owners it would not need with a quarter more work."""
        key = self._keys.get(move.key)
        added = {id_ for m in self._adds(move.key) for id_ in m.owners}
        own = len(set(key.endpoints) - added) if key else 0
        needed = ceil(KEEP * self._share(move.key) * self.balance.n / RHO) - max(own, 2)
        return len(move.owners) - max(0, needed)

    def _undo(self, move: Move) -> bool:
        """Take a move back, as far as its reason has gone; False if that must wait.

        Who gets a key back must prefill it again, if anybody still asks for it.
        """
        is_warm = move.key in self._keys or move.kind is MoveKind.REWEIGHT
        cost = move.cost_tokens if is_warm and move.kind is not MoveKind.ADD else 0.0
        if not self._pay(min(cost, self.spec.budget_tokens), f"taking back {name_of(move)}"):
            return False
        left = 0 if move.relieved else len(move.owners) - self._surplus(move)
        self._say(
            ReasonCode.COOLED,
            f"{name_of(move)} is taken back: its reason has been gone for {self.spec.cool_s:.0f} s",
        )
        if left > 0:
            fewer = msgspec.structs.replace(move, owners=move.owners[:left], calm_since=None)
            self._swap(move, fewer)
        else:
            self.moves.remove(move)
        return True

    def warm(self) -> None:
        """New owners that are warm, or have had their time to get so, take traffic."""
        for move in [move for move in self.moves if move.warming]:
            key = self._keys.get(move.key)
            warmed = key.warmed if key else ()
            then = gone_on(move, warmed, self.spec, self.now)
            self._swap(move, then)
            self._eased.update((move.relieved, *(key.endpoints if key else ())))
            if then != move:
                self._say(
                    ReasonCode.MOVE_WARMED, f"{name_of(move)}: {progress(move, then, warmed)}"
                )

    # New moves.

    def heat_keys(self) -> None:
        """Keys that are more than their owners can carry get owners."""
        for key in sorted(self._keys.values(), key=lambda key: (-key.share, key.key)):
            worth = key.share * self.balance.n
            if worth <= 2 * RHO or len(self.hot_keys) >= MAX_HOT:
                return  # so are all that follow
            owners = self._owners(key)
            wanted = min(ceil(worth / RHO), self.spec.max_owners, self.balance.n)
            if not owners or wanted <= len(owners):
                continue
            since = self.hot_keys[key.key] = self._memory.hot_keys.get(key.key, moment(self.now))
            if self.now - since >= self.spec.hold_s:
                why = (
                    f"{key.share:.1%} of the tokens are {worth:.1f} endpoints' worth of work: it"
                    f" wants {wanted} owners at {RHO:.0%}, and has {len(owners)}"
                )
                self._add(key, wanted - len(owners), ReasonCode.HOT_PREFIX, why)

    def heat_endpoints(self) -> None:
        """Endpoints that stay busier than the others are relieved, one move each at a time."""
        for id_ in self.balance.hottest_first()[:MAX_HOT]:
            since = self._memory.hot_endpoints.get(id_, moment(self.now))
            is_due = self.now - since >= self.spec.hold_s
            if id_ in self._eased or (is_due and self._relieve(id_)):
                since = moment(self.now)  # it has as long again to show whether that was enough
            self.hot_endpoints[id_] = since

    def _relieve(self, id_: EndpointId) -> bool:
        load, mean = self.balance.loads[id_], self.balance.mean
        why = f"{id_} has {load:.1f} in flight against a mean of {mean:.1f}"
        if not self.balance.is_popular(id_):
            return self._reweight(id_, f"{why}, and is asked no more than others")
        own = [key for key in self._keys.values() if id_ in self._owners(key)]
        parts = [(part, key) for key in own if (part := self._part(key)) * self.balance.n >= CRUMB]
        parts.sort(key=lambda item: (-item[0], item[1].key))
        told = [(*it, f"{why}; {it[0]:.1%} of all work is this key's there") for it in parts]
        if any(self._rehome(key, part, id_, why) for part, key, why in told):
            return True
        if any(self._add(key, 1, ReasonCode.HOT_ENDPOINT, why, id_) for _, key, why in told):
            return True
        return self._reweight(id_, f"{why}, and no key explains it")

    def _rehome(self, key: KeyMass, part: float, id_: EndpointId, why: str) -> bool:
        """Give the key's place on a busy endpoint to the least loaded one that does not own it."""
        owners = self._owners(key)
        to = self.balance.coolest(owners)
        is_moved = any(m.key == key.key and m.kind is MoveKind.REHOME for m in self.moves)
        if to is None or is_moved or part > self.balance.gap(id_, to) / 2 or self._is_full():
            return False
        if not self._pay(cost_of(key), f"re-homing {key.key}"):
            return False
        added = {id_ for move in self._adds(key.key) for id_ in move.owners}
        move = Move(
            kind=MoveKind.REHOME,
            at=moment(self.now),
            key=key.key,
            owners=(to, *(own for own in owners if own != id_ and own not in added)),
            relieved=id_,
            share=digits(key.share),
            cost_tokens=cost_of(key),
            why=f"{why}, and goes to {to}",
        )
        self.balance.shift(part, to)
        return self._make(begun(move, (to,), self.spec, self.now), ReasonCode.HOT_ENDPOINT)

    def _add(
        self,
        key: KeyMass,
        count: int,
        code: ReasonCode,
        why: str,
        relieved: EndpointId = NOBODY,
    ) -> bool:
        """Give a key so many owners more, as far as limits and budget go."""
        owners = self._owners(key)
        known = next((m for m in self._adds(key.key) if m.relieved == relieved), None)
        if known is None and self._is_full():
            return False
        count = min(count, self.spec.max_owners - len({*owners, *key.endpoints}))
        new: list[EndpointId] = []
        for _ in range(count):
            to = self.balance.coolest({*owners, *key.endpoints, *new})
            if to is None or not self._pay(cost_of(key), f"another owner of {key.key}"):
                break
            new.append(to)
            self.balance.shift(key.share / (len(owners) + len(new)), to)
        if not new:
            return False
        self._eased.update(owners)
        move = Move(
            kind=MoveKind.ADD,
            at=moment(self.now),
            key=key.key,
            owners=((known.owners if known else ()) + tuple(new)),
            relieved=relieved,
            share=digits(key.share),
            cost_tokens=cost_of(key) * len(new) + (known.cost_tokens if known else 0.0),
            warming=known.warming if known else (),
            warm_by=known.warm_by if known else None,
            why=why,
        )
        return self._make(begun(move, tuple(new), self.spec, self.now), code, known)

    def _reweight(self, id_: EndpointId, why: str) -> bool:
        """Let an endpoint own fewer of all keys."""
        moves = (m for m in self.moves if m.kind is MoveKind.REWEIGHT and m.relieved == id_)
        known = next(moves, None)
        old = known.factor if known else 1.0
        fair = old * self.balance.mean / self.balance.loads[id_]
        factor = max(LEAST_FACTOR, round(min(old - STEP, fair), 1))
        if factor >= old or not self.balance.traffic or (known is None and self._is_full()):
            return False
        saved = self.balance.saved_tokens_per_s(id_)
        cost = round((old - factor) / old * saved * REFILL_S)
        if not self._pay(cost, f"less weight for {id_}"):
            return False
        move = Move(
            kind=MoveKind.REWEIGHT,
            at=moment(self.now),
            relieved=id_,
            factor=factor,
            share=digits(self.balance.traffic.get(id_, 0.0) / old),
            cost_tokens=cost + (known.cost_tokens if known else 0.0),
            why=f"{why}: its weight goes from {old:g} to {factor:g}",
        )
        return self._make(move, ReasonCode.HOT_ENDPOINT, known)

    # What both need.

    def _owners(self, key: KeyMass) -> list[EndpointId]:
        """Those that serve, and own a key by what gateways say and by what they have been told."""
        rehomed = (m.owners for m in self.moves if m.key == key.key and m.kind is MoveKind.REHOME)
        own = next(rehomed, key.endpoints)
        added = (id_ for move in self._adds(key.key) for id_ in move.owners)
        return [id_ for id_ in dict.fromkeys((*own, *added)) if id_ in self.balance.serving]

    def _adds(self, key: str) -> list[Move]:
        return [m for m in self.moves if m.key == key and m.kind is MoveKind.ADD]

    def _share(self, key: str) -> float:
        """A key's part of the fleet's tokens; 0 of one that nobody speaks of."""
        return self._keys[key].share if key in self._keys else 0.0

    def _part(self, key: KeyMass) -> float:
        """What each of its owners has of a key, as part of the fleet's tokens."""
        return key.share / len(self._owners(key))

    def _is_full(self) -> bool:
        if len(self.moves) >= MAX_MOVES:
            self._limited(f"{MAX_MOVES} moves are in force, no more are made")
            return True
        return False

    def _pay(self, tokens: float, what: str) -> bool:
        """Take tokens from the budget, if it has so many."""
        if self.purse.pay(tokens):
            return True
        self._limited(
            f"{what} waits: {tokens:.0f} tokens to prefill again, {self.purse.left:.0f} of"
            f" {self.spec.budget_tokens:.0f} in {self.spec.interval_s:.0f} s are left"
        )
        return False

    def _make(self, move: Move, code: ReasonCode, known: Move | None = None) -> bool:
        if known is not None:
            self.moves.remove(known)
        self.moves.append(move)
        self._say(code, f"{name_of(move)}: {move.why}; {move.cost_tokens:.0f} tokens")
        return True

    def _swap(self, old: Move, new: Move) -> None:
        self.moves[self.moves.index(old)] = new

    def _limited(self, message: str) -> None:
        """Said once a tick."""
        if all(note.code is not ReasonCode.MOVES_LIMITED for note in self.notes):
            self._say(ReasonCode.MOVES_LIMITED, message)

    def _say(self, code: ReasonCode, message: str) -> None:
        self.notes.append(ScalingReason(code, message))
