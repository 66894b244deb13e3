"""What outlives a tick.

The operator writes it into its resource's status, so that a new leader resumes; `kept` is what is
written. It holds no number that moves while nothing happens: a fleet at rest is not written at all.
Parts that `kept` drops are of one process, and only sharpen what the rest says.
"""

from __future__ import annotations

import msgspec
from cardan.instants import WallTime
from cardan.scaling.arrivals import ArrivalMemory
from cardan.scaling.drain import DrainMemory
from cardan.scaling.error_budget import ErrorBudget
from cardan.scaling.failing import FailingMemory
from cardan.scaling.forecast import ForecastMemory
from cardan.scaling.hotspots import HotSpotMemory
from cardan.scaling.service import Learned
from cardan.scaling.windows import PolicyMemory


class ScaleEvent(msgspec.Struct, frozen=True, array_like=True):
    """A scale was seen to have changed by so much since the tick before."""

    at: WallTime
    change: int


class Superseded(msgspec.Struct, frozen=True, array_like=True):
    """A recommendation that stood until then."""

    until: WallTime
    n: int


class Asked(msgspec.Struct, frozen=True, array_like=True):
    """A count that a decision asked for first at that time, and that the scale did not have yet."""

    at: WallTime
    n: int


class PoolMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One pool: what its scale asked for, what is recommended, and what was lately.

    `highs` are past recommendations above all later ones, within the window for shrinking; `lows`
    those below all later ones, within the window for growing. Oldest first.
    """

    current: int | None = None
    recommended: int | None = None
    highs: tuple[Superseded, ...] = ()
    lows: tuple[Superseded, ...] = ()
    events: tuple[ScaleEvent, ...] = ()
    asked: Asked | None = None


class RatioMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What latencies have taught about prefill over decode, beyond what the model says."""

    correction: float = 1.0
    at: WallTime | None = None


class ZeroMemory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """When a fleet was put to sleep, and since when nobody has asked for it.

    `quiet_since` and `blind_since` (when it was last known, if it is not known now) are of one
    process: a new leader watches for all of `idle_s` again, and a fleet that is asked once a minute
    is not written once a minute.
    """

    slept_at: WallTime | None = None
    quiet_since: WallTime | None = None
    blind_since: WallTime | None = None

    def kept(self) -> ZeroMemory:
        """What is persisted of it."""
        return ZeroMemory(slept_at=self.slept_at)


class Memory(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """All of one fleet's. `policies` is by role and policy (`needs.memory_key`)."""

    arrivals: ArrivalMemory = ArrivalMemory()
    learned: Learned = Learned()
    forecast: ForecastMemory = ForecastMemory()
    error_budget: ErrorBudget = ErrorBudget()
    policies: dict[str, PolicyMemory] = msgspec.field(default_factory=dict)
    pools: dict[str, PoolMemory] = msgspec.field(default_factory=dict)
    ratio: RatioMemory = RatioMemory()
    zero: ZeroMemory = ZeroMemory()
    hot_spots: HotSpotMemory = HotSpotMemory()
    drains: DrainMemory = DrainMemory()
    failing: FailingMemory = FailingMemory()

    def kept(self) -> Memory:
        """What is persisted of it."""
        policies = {key: memory.kept() for key, memory in self.policies.items()}
        return msgspec.structs.replace(
            self,
            arrivals=ArrivalMemory(),
            learned=self.learned.kept(),
            forecast=self.forecast.kept(),
            error_budget=self.error_budget.kept(),
            policies={key: memory for key, memory in policies.items() if memory != PolicyMemory()},
            zero=self.zero.kept(),
            hot_spots=self.hot_spots.kept(),
            failing=self.failing.kept(),
        )
