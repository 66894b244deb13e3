"""Random: every endpoint alike. What any informed policy has to beat, and what many end up as."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, PolicyBase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random as Rng

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class Random(PolicyBase, tag="random", frozen=True):
    """Any endpoint, uniformly."""

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return _Chooser()


class _Chooser:
    __slots__ = ()

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Rng,
    ) -> Decision:
        chosen = estimate(rng.choice(eligible), request, now)
        return Decision(chosen, (chosen,), Reason.POLICY)
