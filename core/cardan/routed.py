"""What a router that sees nothing but its own decisions believes engines to hold.

`cardan.shadow` imitates one engine's cache and is filled by first tokens. Many published routers
instead write a prompt down as cached where they have just sent it: before it was computed, and
whether or not it ever is. This index is theirs: a bounded map for each endpoint, in which the next
request of the same prefix finds the last one at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan.endpoint import EndpointId
    from cardan.fleet import EndpointState, Pool


class RoutedPrefixes:
    """Prefix blocks by the endpoint that they were last sent to; bounded by what `record` says."""

    __slots__ = ("_by_endpoint", "_version")

    def __init__(self) -> None:
        self._by_endpoint: dict[EndpointId, Shadow] = {}
        self._version = -1

    def __len__(self) -> int:
        """Blocks held, over all endpoints."""
        return sum(len(shadow) for shadow in self._by_endpoint.values())

    def settle(self, pool: Pool) -> None:
        """Forget endpoints that have left the pool. Costs nothing while the pool is as it was."""
        if pool.version == self._version:
            return
        members = {state.id for state in pool.members}
        self._by_endpoint = {
            id_: shadow for id_, shadow in self._by_endpoint.items() if id_ in members
        }
        self._version = pool.version

    def match(self, state: EndpointState, chain: Sequence[int]) -> int:
        """How many leading blocks of `chain` have been sent there, and not been pushed out."""
        shadow = self._by_endpoint.get(state.id)
        return shadow.match(chain) if shadow is not None else 0

    def record(self, state: EndpointState, chain: Sequence[int], capacity_blocks: int) -> None:
        """A prompt goes there; that endpoint's map holds `capacity_blocks` and no more."""
        if not chain:
            return
        shadow = self.of(state, capacity_blocks)
        shadow.insert(chain)

    def of(self, state: EndpointState, capacity_blocks: int) -> Shadow:
        """That endpoint's map, made if need be."""
        shadow = self._by_endpoint.get(state.id)
        if shadow is None:
            shadow = self._by_endpoint[state.id] = Shadow(capacity_blocks)
        elif shadow.capacity_blocks != capacity_blocks:
            shadow.resize(capacity_blocks)
        return shadow
