"""How wrong a gateway's predictions are made: routing by times that are off by a factor.

What endpoints teach a gateway goes on being learned as it is; what is told to policies is another
rate than was learned. So neither learning nor the engines are touched, and no observation cures it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.siblings import Line

if TYPE_CHECKING:
    from cardan.fleet import Fleet
    from cardan.instants import Monotonic
    from cardan.siblings import Siblings


class Predictor(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Prompts are predicted to take `factor` times as long as was learned."""

    factor: Annotated[float, msgspec.Meta(gt=0)] = 1.0

    def mislead(self, fleet: Fleet) -> None:
        """From now on; harmless where that was done before."""
        if self.factor == 1.0:
            return
        for state in fleet.endpoints.values():
            if not isinstance(state.speed.line, Misled):
                state.speed.line = Misled(state.speed.siblings, self.factor)


class Misled(Line):
    """A line that learns the truth and tells another rate."""

    __slots__ = ("_factor", "_learning")

    def __init__(self, start: Siblings, factor: float) -> None:
        self._factor = factor
        self._learning = False
        super().__init__(start)

    def known(self) -> tuple[float, float]:
        """See `Line`: the rate as it is told."""
        rate, overhead_s = super().known()
        return (rate, overhead_s) if self._learning else (rate / self._factor, overhead_s)

    def observe(self, z: float, x: float, y: float, now: Monotonic) -> None:
        """See `Line`: what is expected of an observation is what was learned."""
        self._learning = True
        super().observe(z, x, y, now)
        self._learning = False
