"""Consistent hashing with bounded loads: a ring, and nobody above (1 + epsilon) times the mean.

Mirrokni, Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads" (2016); KubeAI's
PrefixHash and HAProxy's `hash-balance-factor` are this. The key is the prompt's first `blocks`
blocks, so requests with the same beginning share an owner. An owner at its bound passes the request
clockwise to the next endpoint below it.

The bound with the new request counted is ceil((1 + epsilon) (in-flight + 1) / n), so at least one
endpoint always lies below. A request without a prompt goes by its session, else to the least busy.
"""

from __future__ import annotations

from bisect import bisect_right
from math import ceil
from typing import TYPE_CHECKING, Annotated

import msgspec
import xxhash
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.policies.session_hash import session_key

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView

# Points of one endpoint on the ring: shares of keys differ by about 1 / sqrt(160), 8 %
# (vllm-router and ketama use 160 too).
POINTS = 160


class BoundedLoad(PolicyBase, tag="bounded-load", frozen=True):
    """The owner of the prompt's beginning on a ring, unless it is `epsilon` above the mean load."""

    epsilon: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 0.25
    blocks: Annotated[int, msgspec.Meta(ge=1, le=64)] = 1

    def needs(self) -> Needs:
        """The prompt is the key."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser that builds its ring on first use."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_config", "_owners", "_points", "_version")

    def __init__(self, config: BoundedLoad) -> None:
        self._config = config
        self._version = -1
        self._points: list[int] = []
        self._owners: list[EndpointState] = []

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chain = request.prompt.chain
        key = chain[min(self._config.blocks, len(chain)) - 1] if chain else session_key(request)
        if key is None:
            fewest = min(state.load.in_flight for state in eligible)
            idlest = [state for state in eligible if state.load.in_flight == fewest]
            chosen = estimate(rng.choice(idlest), request, now)
            return Decision(chosen, (chosen,), Reason.POLICY)
        if pool.version != self._version:
            self._build(pool)
        owner, passed = self._walk(key, eligible)
        chosen = estimate(owner, request, now)
        return Decision(chosen, (chosen,), Reason.BALANCE if passed else Reason.AFFINITY, key)

    def _build(self, pool: Pool) -> None:
        """The ring of all routable endpoints; one that may not be asked is passed over later."""
        placed = [
            (xxhash.xxh3_64_intdigest(point.to_bytes(2, "little"), state.hash64), state.id, state)
            for state in pool.routable
            for point in range(POINTS)
        ]
        placed.sort(key=lambda entry: entry[:2])
        self._points = [point for point, _, _ in placed]
        self._owners = [state for _, _, state in placed]
        self._version = pool.version

    def _walk(self, key: int, eligible: Sequence[EndpointState]) -> tuple[EndpointState, bool]:
        """Clockwise to the first endpoint below the bound, and whether it was not the owner."""
        total = sum([state.load.in_flight for state in eligible])
        bound = ceil((1.0 + self._config.epsilon) * (total + 1) / len(eligible))
        allowed = {id(state) for state in eligible}
        owners, start = self._owners, bisect_right(self._points, key)
        owner: EndpointState | None = None
        for step in range(len(owners)):
            state = owners[(start + step) % len(owners)]
            if id(state) not in allowed:
                continue
            owner = owner or state
            if state.load.in_flight < bound:
                return state, state is not owner
        raise AssertionError("the bound lies above the mean, so somebody is below it")
