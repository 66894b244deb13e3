"""Affinity: every prefix has one owner, by a hash of the same key that `dualmap` uses.

The affinity-only baseline of DualMap's evaluation (arXiv 2602.06502, "Cache Affinity": a single
ring on the adaptive key). The key is as long as its prefix is hot (`cardan.depth`), so one system
prompt for everybody does spread; beyond that load plays no part, and a prefix that falls on a busy
endpoint waits there. By rendezvous (Thaler and Ravishankar 1996) unless told otherwise; `mapping:
{type: rings}` is the paper's.

What differs from `dualmap` with `d: 1`: keys that the controller has moved stay where they hash,
and nothing goes to an endpoint that drains. A request without a prompt goes anywhere.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.candidates import AnyMapping, Rendezvous
from cardan.decision import Decision, Reason
from cardan.depth import DepthConfig, DepthController
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class Affinity(PolicyBase, tag="affinity", frozen=True):
    """The one owner of the prefix, however busy."""

    mapping: AnyMapping = Rendezvous()
    depth: DepthConfig = DepthConfig()

    def needs(self) -> Needs:
        """The prompt is the key."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser that has seen no prefix yet."""
        return _Chooser(self)


class _Chooser:
    __slots__ = ("_depth", "_mapping")

    def __init__(self, config: Affinity) -> None:
        self._depth = DepthController(config.depth)
        self._mapping = config.mapping.bind()

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        chain = request.prompt.chain
        if not chain:
            chosen = estimate(rng.choice(eligible), request, now)
            return Decision(chosen, (chosen,), Reason.POLICY)
        depth = self._depth.observe(chain, len(pool.routable), now)
        key = chain[depth - 1]
        version = pool.version if eligible is pool.routable else None
        chosen = estimate(self._mapping.pick(key, eligible, 1, version)[0], request, now)
        return Decision(chosen, (chosen,), Reason.AFFINITY, key, depth)
