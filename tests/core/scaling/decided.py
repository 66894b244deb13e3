"""Whole decisions, and a fleet that follows them, for tests.

Most fleets are scaled by throughput with a replica for 15,000 uncached tokens a second, which is
ten requests; the foreseen rate is a tenth above the one of now, so 10 a second need 1.1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.instants import WallTime
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory
from cardan.scaling.observation import Observation, PendingReplica, PoolState
from cardan.scaling.policies import Throughput
from cardan.scaling.spec import Behavior, Direction, ForecastSpec, PoolSpec, ScalingSpec

from tests.core.scaling.serving import START, demand, serving

if TYPE_CHECKING:
    from cardan.scaling.decision import PoolDecision, ReasonCode, ScalingDecision

TEN_A_REPLICA = Throughput(tokens_per_s=15_000.0)
AT_ONCE = Behavior(up=Direction(tolerance=0.0), down=Direction(tolerance=0.0))
MAIN = PoolSpec(name="main", max_replicas=20)
SPEC = ScalingSpec(
    pools=(MAIN,),
    policies=(TEN_A_REPLICA,),
    behavior=AT_ONCE,
    forecast=ForecastSpec(enabled=False),
)
NO_NODE = "0/4 nodes are available: 4 Insufficient nvidia.com/gpu."


def spec(**changes: object) -> ScalingSpec:
    return msgspec.structs.replace(SPEC, **changes)


def at_once(
    observation: Observation, of: ScalingSpec = SPEC, memory: Memory | None = None
) -> ScalingDecision:
    """One decision without, or with, a past."""
    return decide(of, observation, memory or Memory(), observation.at)[0]


def settled(observation: Observation, of: ScalingSpec) -> PoolDecision:
    """The decision on a fleet that has looked the same for a quarter of an hour."""
    memory = Memory()
    for tick in range(60):
        _, memory = decide(of, observation, memory, WallTime(START + 15 * tick))
    return only(decide(of, observation, memory, WallTime(START + 15 * 60))[0])


def only(decision: ScalingDecision) -> PoolDecision:
    (found,) = decision.pools
    return found


def codes(decided: PoolDecision) -> list[ReasonCode]:
    return [reason.code for reason in decided.reasons]


def counts(decision: ScalingDecision) -> dict[str, int]:
    return {decided.pool: decided.desired for decided in decision.pools}


class Fleet:
    """A fleet that does what it is told; replicas start in `cold_s`. A tick is 15 s."""

    def __init__(self, of: ScalingSpec, pools: dict[str, int], cold_s: float = 0.0) -> None:
        self.spec = of
        self.cold_s = cold_s
        self.now = float(START)
        self.memory = Memory()
        self.starts: dict[str, list[float]] = {
            name: [self.now - cold_s] * n for name, n in pools.items()
        }

    def observe(self, rate: float, *, wake: bool = False, held: float = 0.0) -> Observation:
        pools = {
            name: PoolState(
                desired=len(starts),
                ready=sum(self.now - at >= self.cold_s for at in starts),
                pending=tuple(
                    PendingReplica(f"{name}-{index}", WallTime(at))
                    for index, at in enumerate(starts)
                    if self.now - at < self.cold_s
                ),
            )
            for name, starts in self.starts.items()
        }
        return serving(
            demand(rate, self.now, held=held),
            pools,
            self.now,
            in_flight=2.0 if rate else 0.0,
            speeds={each.name: each.speed for each in self.spec.pools},
            wake_requested_at=self.now if wake else None,
        )

    def tick(self, rate: float, *, wake: bool = False, held: float = 0.0) -> ScalingDecision:
        observation = self.observe(rate, wake=wake, held=held)
        decision, self.memory = decide(self.spec, observation, self.memory, observation.at)
        for decided in decision.pools:
            starts = self.starts[decided.pool]
            starts.sort()
            del starts[decided.desired :]
            starts.extend([self.now] * (decided.desired - len(starts)))
        self.now += 15.0
        return decision

    def run(self, rate: float, seconds: float) -> list[dict[str, int]]:
        return [counts(self.tick(rate)) for _ in range(int(seconds / 15))]


MIXED = spec(
    pools=(
        PoolSpec(name="big", cost=2.5, speed=3.0, min_replicas=0, max_replicas=6),
        PoolSpec(name="small", cost=1.0, speed=1.0, min_replicas=0, max_replicas=6),
    )
)
