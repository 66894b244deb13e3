"""A fleet with hot prefixes, and what moves do for it: `python -m tests.core.scaling.spread`."""

from __future__ import annotations

import sys
from random import Random
from statistics import mean
from typing import TYPE_CHECKING

from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode
from cardan.scaling.hotspots import HotSpotMemory, decide
from cardan.scaling.overlaid import overlay_of
from cardan.scaling.spec import HotSpotSpec

from tests.core.scaling.observed import T0, key, load, seen

if TYPE_CHECKING:
    from cardan.scaling.hotspots import Move
    from cardan.scaling.observation import Observation

QUANTA = 24


class Plant:
    """Keys on endpoints: work goes to a key's least busy owner, a queue grows as it nears one."""

    def __init__(self, seed: int, n: int, shares: list[float], work: float) -> None:
        rng = Random(seed)
        self.names = [f"e{number}" for number in range(n)]
        self.shares = [share / (sum(shares) or 1.0) for share in shares]
        self.pairs = [rng.sample(self.names, min(2, n)) for _ in shares]
        self.work = work  # endpoints' worth

    def longest(self, moves: tuple[Move, ...]) -> float:
        """What the busiest endpoint has in flight."""
        return max(e.in_flight.value or 0.0 for e in self.observe(moves, T0).endpoints)

    def observe(self, moves: tuple[Move, ...], now: float) -> Observation:
        """What the operator sees under these moves."""
        overlay = overlay_of(moves)
        busy = dict.fromkeys(self.names, 0.0)
        keys = []
        for number, (share, pair) in enumerate(zip(self.shares, self.pairs, strict=True)):
            name = f"{number:016x}"
            owners = [*overlay.owners.get(name, pair), *overlay.add.get(name, ())]
            warmed = overlay.warm.get(name, ())  # between two looks
            keys.append(key(number, share, *sorted(set(owners)), warmed=warmed))
            weights = {owner: overlay.weights.get(EndpointId(owner), 1.0) for owner in owners}
            for _ in range(QUANTA):
                least = min(weights, key=lambda owner: busy[owner] / weights[owner])
                busy[least] += share * self.work / QUANTA
        loads = [
            load(
                name,
                now,
                in_flight=_queue(part),
                prompt_tokens_per_s=1000.0 * part,
                uncached_tokens_per_s=500.0 * part,
            )
            for name, part in busy.items()
        ]
        return seen(loads, now, keys=keys)


def _queue(part: float) -> float:
    return 8.0 * part / max(0.05, 1.0 - part)


def settle(plant: Plant, spec: HotSpotSpec, ticks: int) -> tuple[tuple[Move, ...], float, int]:
    """The moves after so many ticks of 15 s, when the last one changed (s), how many cooled."""
    moves: tuple[Move, ...] = ()
    memory, changed_s, cooled = HotSpotMemory(), 0.0, 0
    for tick in range(ticks):
        now = WallTime(T0 + 15.0 * tick)
        before = moves
        moves, memory, notes = decide(spec, plant.observe(moves, now), memory, now)
        cooled += sum(note.code is ReasonCode.COOLED for note in notes)
        if moves != before:
            changed_s = 15.0 * tick
    return moves, changed_s, cooled


def main() -> None:
    """Random fleets under constant demand, before and after."""
    rng = Random(5)
    spec = HotSpotSpec(hold_s=30, cool_s=120, interval_s=600)
    before, after, settled, cooled = [], [], [], 0
    for _ in range(150):
        n, shares = rng.randint(2, 12), [rng.random() ** 2 for _ in range(rng.randint(1, 10))]
        plant = Plant(rng.randrange(10**6), n, shares, rng.uniform(0.1, 0.9) * n)
        moves, changed_s, undone = settle(plant, spec, 120)
        before.append(plant.longest(()))
        after.append(plant.longest(moves))
        settled.append(changed_s)
        cooled += undone
    sys.stdout.write(
        f"150 fleets: the longest queue {mean(before):.0f} -> {mean(after):.0f} on average, settled"
        f" after {mean(settled):.0f} s ({max(settled):.0f} s at most), taken back: {cooled}\n"
    )


if __name__ == "__main__":
    main()
