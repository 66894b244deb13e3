"""A fleet that is never scaled: what most of them are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors


class Fixed:
    """Always the same number."""

    tick_s = 60.0

    def __init__(self, replicas: int) -> None:
        """So many replicas."""
        self.replicas = replicas

    def look(self, sample: Sample) -> None:
        """It does not."""

    def desired(self, sensors: Sensors, now: float) -> int:  # noqa: ARG002 - looks at nothing
        """The same number."""
        return self.replicas
