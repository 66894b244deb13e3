"""Session hash: every session has its owner, by rendezvous over the endpoints' names.

What gateways offer as session affinity or consistent hashing (vllm-router, production-stack's
`session`). The key is what the client named as session, else the first block of its prompt; a
request with neither goes anywhere. Load plays no part: one hot session heats one endpoint.

Thaler and Ravishankar, "A Name-Based Mapping Scheme for Rendezvous" (1996).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import xxhash
from cardan.candidates import Rendezvous
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class SessionHash(PolicyBase, tag="session-hash", frozen=True):
    """The owner of the session, or of the prompt's first block."""

    def needs(self) -> Needs:
        """The prompt, for requests without a session."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser with an empty memory of owners."""
        return _Chooser()


def session_key(request: RequestView) -> int | None:
    """The 64-bit key of a request: its session's, else its first block's; None without either."""
    if request.session:
        # Session names are not UTF-8's business: whatever a header held must hash.
        return xxhash.xxh3_64_intdigest(request.session.encode("utf-8", "surrogatepass"))
    return request.prompt.chain[0] if request.prompt.chain else None


class _Chooser:
    __slots__ = ("_mapping",)

    def __init__(self) -> None:
        self._mapping = Rendezvous().bind()

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        key = session_key(request)
        if key is None:
            chosen = estimate(rng.choice(eligible), request, now)
            return Decision(chosen, (chosen,), Reason.POLICY)
        version = pool.version if eligible is pool.routable else None
        owner = self._mapping.pick(key, eligible, 1, version)[0]
        chosen = estimate(owner, request, now)
        return Decision(chosen, (chosen,), Reason.AFFINITY, key)
