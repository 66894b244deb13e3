"""A fleet whose hot spots are looked at again and again, for tests of moves."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING

from cardan.instants import WallTime
from cardan.scaling.hotspots import HotSpotMemory, Move, decide
from cardan.scaling.spec import HotSpotSpec

from tests.core.scaling.observed import T0, load, seen

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan.scaling.decision import ReasonCode
    from cardan.scaling.observation import KeyMass, Observation

SPEC = HotSpotSpec(imbalance=1.5, hold_s=60.0, cool_s=600.0, budget_tokens=50_000, interval_s=600.0)


class Looks:
    """A fleet looked at again and again."""

    def __init__(self, spec: HotSpotSpec = SPEC) -> None:
        self.spec = spec
        self.memory = HotSpotMemory()
        self.now = float(T0)
        self.said: list[ReasonCode] = []
        self.messages: list[str] = []

    def see(self, observation: Observation, **known: object) -> tuple[Move, ...]:
        """One tick."""
        moves, self.memory, notes = decide(
            self.spec,
            observation,
            self.memory,
            WallTime(self.now),
            **known,  # type: ignore[arg-type]
        )
        self.said += [note.code for note in notes]
        self.messages += [note.message for note in notes]
        return moves

    def for_s(
        self,
        seconds: float,
        fleet: dict[str, float],
        *keys: KeyMass,
        traffic: Mapping[str, float] = MappingProxyType({}),
    ) -> tuple[Move, ...]:
        """Ticks of 15 s over endpoints with so many in flight, and ten tokens/s for each of them.

        If some have other `traffic`, the others have 1,000 tokens/s.
        """
        usual = {name: 1000.0 if traffic else 10.0 * number for name, number in fleet.items()}
        tokens = {**usual, **traffic}
        moves: tuple[Move, ...] = ()
        until = self.now + seconds
        while True:
            loads = [
                load(
                    name,
                    self.now,
                    in_flight=number,
                    prompt_tokens_per_s=tokens[name],
                    uncached_tokens_per_s=0.4 * tokens[name],
                )
                for name, number in fleet.items()
            ]
            moves = self.see(seen(loads, self.now, keys=keys))
            if self.now >= until:
                return moves
            self.now += 15.0


def even(n: int, in_flight: float = 10.0) -> dict[str, float]:
    """Endpoints `e0`, `e1` … with equal loads."""
    return {f"e{number}": in_flight for number in range(n)}


HOT = {**even(4, 10.0), "e0": 40.0, "e3": 4.0}  # mean 16
