"""Drains of one pool that is looked at again and again, for tests."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.scaling.drain import DrainMemory, DrainPlan, Target, step
from cardan.scaling.spec import DrainSpec

from tests.core.scaling.observed import T0, load

if TYPE_CHECKING:
    from cardan.scaling.decision import ReasonCode
    from cardan.scaling.observation import EndpointLoad, Observation

SPEC = DrainSpec(deadline_s=300.0)


class Drains:
    """One pool, looked at again and again."""

    def __init__(self, spec: DrainSpec = SPEC) -> None:
        self.spec = spec
        self.memory = DrainMemory()
        self.said: list[ReasonCode] = []

    def see(self, wanted: int, observation: Observation, **target: object) -> DrainPlan:
        """One tick at the observation's time."""
        goal = msgspec.convert({"wanted": wanted, **target}, Target)
        plan, self.memory, notes = step(
            self.spec, {"main": goal}, observation, self.memory, observation.at
        )
        self.said += [note.code for note in notes]
        return plan

    @property
    def victims(self) -> list[str]:
        """Who is to go."""
        return [victim.pod for victim in self.memory.victims]


def busy(at: float = T0, **in_flight: float) -> list[EndpointLoad]:
    """Endpoints with so many requests in flight."""
    return [load(name, at, in_flight=number) for name, number in in_flight.items()]
