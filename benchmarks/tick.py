"""`python -m benchmarks.tick`: CPU time of one scaling decision of a fleet of 20 pods.

What an operator with hundreds of fleets pays each time it looks at one: `cardan.scaling.decide`,
from an observation to a decision and a memory, at demand that wanders by a twentieth. With one
pool, and with three of one role, where a new need may ask the solver for the cheapest mix.
"""

from __future__ import annotations

import random
import sys
import time
from typing import TYPE_CHECKING, Final

from cardan.instants import WallTime
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory
from cardan.scaling.spec import PoolSpec, ScalingSpec

from tests.core.scaling.serving import START, demand, pool, serving

if TYPE_CHECKING:
    from cardan.scaling.observation import Observation

TICKS: Final = 600
# The first ticks fill windows and caches.
WARM: Final = 100
TICK_S: Final = 15.0
RATE: Final = 150.0
FLEETS: Final = {
    "one pool": ScalingSpec(pools=(PoolSpec(name="main", max_replicas=60),)),
    "three pools of one role": ScalingSpec(
        pools=(
            PoolSpec(name="main", max_replicas=60),
            PoolSpec(name="large", max_replicas=20, cost=2.2, speed=2.5),
            PoolSpec(name="spot", max_replicas=20, cost=0.6, speed=0.5),
        )
    ),
}


def mean_ms(spec: ScalingSpec, seed: int = 1) -> float:
    """Mean CPU milliseconds of a decision that is carried out at once."""
    rng = random.Random(seed)
    replicas = {each.name: 20 // len(spec.pools) for each in spec.pools}
    memory = Memory()
    spent_s = 0.0
    for tick in range(TICKS):
        seen = _observed(spec, replicas, rng.gauss(RATE, RATE / 20), START + TICK_S * tick)
        began = time.process_time()
        decision, memory = decide(spec, seen, memory, WallTime(seen.at))
        if tick >= WARM:
            spent_s += time.process_time() - began
        replicas = {each.pool: each.desired for each in decision.pools}
    return 1e3 * spent_s / (TICKS - WARM)


def _observed(spec: ScalingSpec, replicas: dict[str, int], rate: float, at: float) -> Observation:
    """The fleet as it is, at this demand."""
    return serving(
        demand(rate, at),
        {name: pool(n) for name, n in replicas.items()},
        at,
        in_flight=6.0,
        speeds={each.name: each.speed for each in spec.pools},
    )


def main() -> int:
    """Print the figures."""
    for name, spec in FLEETS.items():
        print(f"{name:<24} {mean_ms(spec):6.2f} ms a decision")
    return 0


if __name__ == "__main__":
    sys.exit(main())
