"""Power of two choices: of two random endpoints the one with fewer requests in flight.

Mitzenmacher, "The Power of Two Choices in Randomized Load Balancing" (1996): the second look brings
the longest queue from log n / log log n down to log log n. Envoy's LEAST_REQUEST and SGLang's
`power_of_two` are this. On a tie the first drawn wins, which is random already.
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


class PowerOfTwo(PolicyBase, tag="p2c", frozen=True):
    """The less busy of two random endpoints."""

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
        rng: Random,
    ) -> Decision:
        pair = rng.sample(eligible, min(2, len(eligible)))
        candidates = tuple(estimate(state, request, now) for state in pair)
        chosen = min(candidates, key=lambda candidate: candidate.endpoint.load.in_flight)
        return Decision(chosen, candidates, Reason.POLICY)
