"""Least request: the endpoint with the fewest requests in flight, ties at random.

nginx calls it `least_conn`, HAProxy `leastconn` (both scan all servers; Envoy's policy of this name
looks at two, which is `p2c` here). It counts requests, so a 100-token and a 100,000-token prompt
weigh the same, and only those of this gateway.
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


class LeastRequest(PolicyBase, tag="least-request", frozen=True):
    """The endpoint with the fewest requests in flight."""

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
        fewest = min(state.load.in_flight for state in eligible)
        idlest = [state for state in eligible if state.load.in_flight == fewest]
        chosen = estimate(rng.choice(idlest), request, now)
        return Decision(chosen, (chosen,), Reason.POLICY)
