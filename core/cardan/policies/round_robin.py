"""Round-robin: each endpoint in turn, whatever it is doing. The field's default and our yardstick.

The turn is a count over the endpoints in the order of their names, so it is not disturbed by an
endpoint that is passed over once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, PolicyBase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class RoundRobin(PolicyBase, tag="round-robin", frozen=True):
    """Each endpoint in turn."""

    def bind(self) -> Chooser:
        """A turn that starts at the first endpoint."""
        return _Chooser()


class _Chooser:
    __slots__ = ("_turn",)

    def __init__(self) -> None:
        self._turn = 0

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chosen = estimate(eligible[self._turn % len(eligible)], request, now)
        self._turn += 1
        return Decision(chosen, (chosen,), Reason.POLICY)
