"""What a gateway can know of the engines, and when: the information models.

Routing is as good as what is known, so this is a part of a scenario like the fleet is. A gateway
always knows what it has itself sent and what came back (`cardan.ledger`, the usage in answers).
Beyond that:

    exact       all gateways share one mind, and see every engine's cache and metrics as they are
    own         nothing: what it has sent, and what it believes of the caches
    metrics     own, and every engine's metrics every `every_s`, `delay_s` late, some of them lost
    kv-events   metrics, and every engine's cache as its events tell it: each block that is stored
                or evicted, `events_delay_s` late

Metrics are the production `EngineMetrics` and go through `EndpointState.observe`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cardan.shadow import Shadow

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cardan_sim.simulate.engines.base import EngineModel
    from cardan_sim.simulate.jobs import Naming
    from cardan_sim.simulate.kernel import Kernel

Positive = Annotated[float, msgspec.Meta(gt=0)]
Share = Annotated[float, msgspec.Meta(ge=0, le=1)]


class Scrapes(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """When metrics are read: every `every_s` (times 1.0 to 1.4, as gateways do it)."""

    every_s: Positive = 1.0
    delay_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    lost_share: Share = 0.0


class Exact(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="exact"):
    """One mind for all gateways; caches as they are."""

    @property
    def scrapes(self) -> Scrapes | None:
        """None: metrics are seen whenever something changes."""
        return None

    shares_mind = True
    sees_caches = True
    events_delay_s = 0.0


class Own(msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag="own"):
    """What a gateway has sent itself, and its own shadow of the caches."""

    @property
    def scrapes(self) -> Scrapes | None:
        """None: engines are not asked."""
        return None

    shares_mind = False
    sees_caches = False
    events_delay_s = 0.0


class Metrics(Scrapes, frozen=True, forbid_unknown_fields=True, tag="metrics", kw_only=True):
    """Own, and the engines' metrics."""

    @property
    def scrapes(self) -> Scrapes | None:
        """This."""
        return self

    shares_mind = False
    sees_caches = False
    events_delay_s = 0.0


class KvEvents(Scrapes, frozen=True, forbid_unknown_fields=True, tag="kv-events", kw_only=True):
    """The engines' metrics, and their caches as they are, or were `events_delay_s` ago."""

    events_delay_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0

    @property
    def scrapes(self) -> Scrapes | None:
        """This."""
        return self

    shares_mind = False
    sees_caches = True


AnyKnowledge = Exact | Own | Metrics | KvEvents
DEFAULT: Final = Metrics()


class ToldBlocks:
    """The blocks of an engine, as its KV events have told them when they come late."""

    def __init__(self, kernel: Kernel, engine: EngineModel, delay_s: float) -> None:
        self._kernel = kernel
        self._delay_s = delay_s
        self._blocks: set[int] = set()
        engine.listen(self._happened)

    def holds(self, block: int) -> bool:
        """Whether the cache had the block with this id then."""
        return block in self._blocks

    def _happened(self, stored: Iterable[int], gone: Iterable[int]) -> None:
        self._kernel.after(self._delay_s, self._told, tuple(stored), tuple(gone))

    def _told(self, stored: tuple[int, ...], gone: tuple[int, ...]) -> None:
        self._blocks.update(stored)
        self._blocks.difference_update(gone)


class SeenCache(Shadow):
    """A shadow that is no belief: it asks `holds`, which knows the engine's blocks by id."""

    __slots__ = ("_holds", "_naming")

    def __init__(self, holds: Callable[[int], bool], naming: Naming, capacity_blocks: int) -> None:
        super().__init__(capacity_blocks)
        self._holds = holds
        self._naming = naming

    def match(self, chain: Sequence[int]) -> int:
        """How many leading blocks the engine has; a tail that is no whole block is never had."""
        holds, id_of = self._holds, self._naming.id_of
        low, high = 0, len(chain)
        while low < high:
            middle = (low + high + 1) >> 1
            if holds(id_of(chain[middle - 1])):
                low = middle
            else:
                high = middle - 1
        return low

    def insert(self, chain: Sequence[int]) -> None:
        """Nothing: the engine has done it."""

    def resize(self, capacity_blocks: int) -> None:
        """Nothing: the engine's size is its own."""

    def clear(self) -> None:
        """Nothing, but for the empty belief underneath."""
        super().clear()
