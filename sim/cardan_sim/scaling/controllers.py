"""Whoever closes the loop: looks at the sensors and says how many replicas there are to be.

`Cardan` runs the operator's own decision, on the observation that the operator would have;
everybody else is in `baselines`. A controller is made anew for every run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from cardan.instants import WallTime
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory

from cardan_sim.scaling.sensors import EPOCH_S, POOL

if TYPE_CHECKING:
    from cardan.scaling.decision import ScalingDecision
    from cardan.scaling.spec import ScalingSpec

    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors


class Controller(Protocol):
    """Somebody who scales."""

    tick_s: float

    def look(self, sample: Sample) -> None:
        """Something that happens every second, for those who measure for themselves."""

    def desired(self, sensors: Sensors, now: float) -> int:
        """How many replicas there are to be; asked every `tick_s`."""


class Cardan:
    """The operator's decision, with its memory."""

    def __init__(self, spec: ScalingSpec, *, tick_s: float = 15.0) -> None:
        """A controller that remembers nothing yet. `spec` has one pool, named POOL."""
        self.spec = spec
        self.tick_s = tick_s
        self.memory = Memory()
        self.decision: ScalingDecision | None = None

    def look(self, sample: Sample) -> None:
        """It has no sensors of its own."""

    def desired(self, sensors: Sensors, now: float) -> int:
        """One tick of the operator."""
        observation = sensors.observe(now)
        at = WallTime(EPOCH_S + now)
        self.decision, self.memory = decide(self.spec, observation, self.memory, at)
        wanted = next(p for p in self.decision.pools if p.pool == POOL)
        return wanted.desired if wanted.valid else observation.pools[POOL].desired
