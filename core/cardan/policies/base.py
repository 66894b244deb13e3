"""What a routing policy is.

A policy is a frozen value: the configuration entry decodes into it, so a typo fails at start with
its path. `bind()` makes the `Chooser` that carries whatever memory the policy needs, one for each
pool. Adding a policy is one file here and one word in the union of `cardan.policies`.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.scoring import least

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class Needs(enum.Flag):
    """What a policy must be given; the gateway does no work that nobody asked for."""

    NOTHING = 0
    PROMPT = enum.auto()  # the body is parsed and its prefix hashed
    ENGINE_METRICS = enum.auto()  # engines are scraped


class Chooser(Protocol):
    """A policy at work on one pool."""

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        """Pick one of `eligible`, which is never empty.

        `eligible` is `pool.routable`, or a part of it when this request has failed elsewhere or an
        endpoint has just refused. What is remembered per `pool.version` holds only for the former.
        """
        ...


@runtime_checkable
class Owning(Chooser, Protocol):
    """A chooser whose keys have owners."""

    def owners(self, key: int, pool: Pool) -> list[EndpointState]:
        """The candidates of a key among all who may be asked, in their order."""
        ...


class LeastCost:
    """A chooser that predicts every endpoint and takes the least of a cost.

    It has no memory; ties are random. O(endpoints) for each request.
    """

    __slots__ = ("_cost",)

    def __init__(self, cost: Callable[[Candidate, Monotonic], float]) -> None:
        self._cost = cost

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        """See `Chooser`."""
        candidates = [estimate(state, request, now) for state in eligible]
        chosen = least(candidates, lambda candidate: self._cost(candidate, now), rng)
        return Decision(chosen, (chosen,), Reason.POLICY)


class PolicyBase(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type"):
    """Base of every policy's configuration entry; `type` in the entry names the policy."""

    def needs(self) -> Needs:
        """What must be known before `choose` is called."""
        return Needs.NOTHING

    def bind(self) -> Chooser:
        """A chooser with fresh memory."""
        raise NotImplementedError
