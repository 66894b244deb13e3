"""Which prefixes carry much of the traffic: the few routing keys that an operator may want to move.

Of each model, how many prompt tokens came under each key lately, out of all. A key is hot above
1/n of them on n endpoints, for then it is more than one endpoint's share; at most eight are told,
and they alone become series. One that an operator has moved is told down to half of that, since
whether it has cooled is what it is looked at for.

Counted in a bounded dictionary, after Misra and Gries (1982), the lazy way: when there are twice
`KEPT` keys, all give up as much as the `KEPT`-th heaviest has, and those with nothing left go. Each
key is then short by at most 1/`KEPT` of all tokens, never above what it had, and a request costs a
look-up and some additions. Everything fades with time: what is a minute old counts 1/e.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.instants import Monotonic

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from cardan.decision import Candidate
    from cardan.endpoint import EndpointId
    from cardan.scheduler import Scheduler

# An operator looks every fifteen seconds and waits for what lasts; a minute is several looks.
DECAY_S: Final = 60.0
# Between two times that everything is made to fade: 8 % at once, too little to be seen.
FADE_EVERY_S: Final = 5.0
# An error of 0.2 % of the tokens: a fifth of what is hot on a hundred endpoints.
KEPT: Final = 512
MAX_TOLD: Final = 8
# Four gauges are read in one go, and tell of the same keys.
ONE_LOOK_S: Final = 0.1
# Of so many requests at least: one conversation on an idle fleet is no hot prefix (`min_count` of
# `cardan.depth`).
MIN_REQUESTS: Final = 20.0
# A single request of three minutes ago.
FAINT: Final = 0.05
# A key that has been moved is told down to this part of what makes one hot.
MOVED_DOWN_TO: Final = 0.5


class Mass:
    """What came under one key, fading: tokens, requests, and what they saved where it was warm."""

    __slots__ = ("blocks", "hit_tokens", "hits", "requests", "tokens")

    def __init__(self) -> None:
        self.tokens = self.requests = self.hit_tokens = self.hits = 0.0
        self.blocks = 0

    def fade(self, factor: float) -> None:
        """Time has passed."""
        self.tokens *= factor
        self.requests *= factor
        self.hit_tokens *= factor
        self.hits *= factor


class Masses:
    """All keys of one model."""

    __slots__ = ("_faded_at", "_keys", "_tokens")

    def __init__(self, now: Monotonic) -> None:
        self._keys: dict[int, Mass] = {}
        self._tokens = 0.0
        self._faded_at = now

    def __len__(self) -> int:
        return len(self._keys)

    def note(self, key: int, blocks: int, tokens: float, chosen: Candidate) -> None:
        """A request of so many tokens came under a key and went where `chosen` says."""
        self._tokens += tokens
        if not blocks:
            return  # the policy knows no keys
        mass = self._keys.get(key)
        if mass is None:
            mass = self._new(key)
        mass.blocks = blocks
        mass.tokens += tokens
        mass.requests += 1.0
        if chosen.hit_tokens:
            mass.hit_tokens += chosen.cached_real_tokens
            mass.hits += 1.0

    def fade(self, now: Monotonic) -> None:
        """Let time pass; cheap to call often."""
        passed_s = now - self._faded_at
        if passed_s < FADE_EVERY_S:
            return
        self._faded_at = now
        factor = math.exp(-passed_s / DECAY_S)
        self._tokens *= factor
        for mass in self._keys.values():
            mass.fade(factor)
        self._keys = {key: mass for key, mass in self._keys.items() if mass.requests > FAINT}

    def hot(self, n: int, moved: frozenset[int]) -> list[tuple[int, float, Mass]]:
        """The hot keys on `n` endpoints with their share of all tokens, the heaviest first."""
        if not self._tokens or not n:
            return []
        shares = ((key, mass.tokens / self._tokens, mass) for key, mass in self._keys.items())
        found = [
            (key, share, mass)
            for key, share, mass in shares
            if mass.requests >= MIN_REQUESTS
            and share * n > (MOVED_DOWN_TO if key in moved else 1.0)
        ]
        return sorted(found, key=lambda row: (-row[1], row[0]))[:MAX_TOLD]

    def _new(self, key: int) -> Mass:
        if len(self._keys) >= 2 * KEPT:
            self._thin()
        mass = self._keys[key] = Mass()
        return mass

    def _thin(self) -> None:
        """All give up as much as the heaviest of those that go has."""
        heaviest = sorted((mass.tokens for mass in self._keys.values()), reverse=True)
        least = heaviest[KEPT]
        for mass in self._keys.values():
            mass.tokens -= least
        self._keys = {key: mass for key, mass in self._keys.items() if mass.tokens > 0}


class HotKey(NamedTuple):
    """One of the few: its part of the model's tokens, what it stands for, whose it is."""

    model: str
    key: str
    share: float
    hit_tokens: float
    blocks: int
    owners: tuple[EndpointId, ...]


class KeyMasses:
    """The keys of all models of a fleet."""

    def __init__(self, scheduler: Scheduler, clock: Callable[[], float]) -> None:
        self._scheduler = scheduler
        self._clock = clock
        self._models: dict[str, Masses] = {}
        self._hot: tuple[HotKey, ...] = ()
        self._hot_at = float("-inf")

    def of(self, model: str) -> Masses:
        """One model's, made when first asked for."""
        found = self._models.get(model)
        if found is None:
            found = self._models[model] = Masses(Monotonic(self._clock()))
        return found

    def hot(self) -> tuple[HotKey, ...]:
        """The hot keys of each model that is served. Asked again at once, the same."""
        now = Monotonic(self._clock())
        if now - self._hot_at > ONE_LOOK_S:
            self._hot, self._hot_at = tuple(self._look(now)), now
        return self._hot

    def _look(self, now: Monotonic) -> Iterator[HotKey]:
        fleet = self._scheduler.fleet
        for known in self._models.values():
            known.fade(now)
        for model in fleet.models():
            pool, masses = fleet.pool(model, now), self._models.get(model)
            if pool is None or masses is None:
                continue
            for key, share, mass in masses.hot(len(pool.routable), self._moved(model)):
                yield HotKey(
                    model,
                    f"{key:016x}",
                    share,
                    mass.hit_tokens / mass.hits if mass.hits else 0.0,
                    mass.blocks,
                    tuple(state.id for state in self._scheduler.owners(model, key, now)),
                )

    def _moved(self, model: str) -> frozenset[int]:
        part = self._scheduler.fleet.overlay.models.get(model)
        if part is None:
            return frozenset()
        return frozenset(
            int(key, 16) for key in part.owners.keys() | part.add.keys() | part.warm.keys()
        )
