"""What holds for every decision of scaling, whatever is observed.

Bounds and rates are kept; what is not known takes nothing away; constant demand comes to rest and
never flaps; a fleet at rest is not written; the same values give the same decision, and memory that
went through JSON is the memory that was.
"""

from __future__ import annotations

import math
from itertools import pairwise

import msgspec
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory
from cardan.scaling.observation import (
    Datum,
    Demand,
    Freshness,
    Observation,
    PendingReplica,
    PoolState,
)
from cardan.scaling.policies import (
    AnyScalingPolicy,
    Concurrency,
    External,
    Slo,
    Throughput,
    Utilisation,
)
from cardan.scaling.spec import (
    Behavior,
    Direction,
    ForecastSpec,
    PoolSpec,
    RateLimit,
    RatioSpec,
    ScalingSpec,
    Select,
    SloSpec,
    ZeroSpec,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from tests.core.scaling.serving import START, demand, serving

TICK_S = 15.0
policies: list[AnyScalingPolicy] = [
    Slo(),
    Throughput(tokens_per_s=15_000.0),
    Concurrency(target=2.0),
    Utilisation(),
    External(metric="queue", target=3.0),
]
rates = st.builds(
    RateLimit,
    replicas=st.none() | st.integers(0, 4),
    percent=st.none() | st.integers(0, 200),
    period_s=st.sampled_from([15.0, 60.0, 120.0]),
)
directions = st.builds(
    Direction,
    stabilization_s=st.sampled_from([0.0, 60.0, 300.0]),
    tolerance=st.sampled_from([0.0, 0.1]),
    limits=st.lists(rates, max_size=2).map(tuple),
    select=st.sampled_from(Select),
)


def a_pool(name: str, role: Role) -> st.SearchStrategy[PoolSpec]:
    return st.builds(
        lambda least, more, cost, speed: PoolSpec(
            name=name,
            role=role,
            min_replicas=least,
            max_replicas=max(1, least + more),
            cost=cost,
            speed=speed,
        ),
        st.integers(0, 3),
        st.integers(0, 8),
        st.sampled_from([1.0, 2.5]),
        st.sampled_from([1.0, 3.0]),
    )


layouts = st.one_of(
    st.tuples(a_pool("main", Role.BOTH)),
    st.tuples(a_pool("big", Role.BOTH), a_pool("small", Role.BOTH)),
    st.tuples(a_pool("p", Role.PREFILL), a_pool("d", Role.DECODE)),
)
specs = st.builds(
    ScalingSpec,
    pools=layouts,
    policies=st.lists(st.sampled_from(policies), min_size=1, max_size=3, unique_by=repr).map(tuple),
    behavior=st.builds(Behavior, up=directions, down=directions),
    slo=st.sampled_from([SloSpec(), SloSpec(itl_s=0.03)]),
    zero=st.sampled_from([ZeroSpec(), ZeroSpec(idle_s=60.0)]),
    ratio=st.sampled_from([None, RatioSpec(min=0.5, max=2.0)]),
    forecast=st.builds(ForecastSpec, enabled=st.booleans()),
)
freshness = st.sampled_from(list(Freshness))


def lost(known: Demand, how: Freshness, names: tuple[str, ...]) -> Demand:
    """Demand of which some numbers are not fresh."""
    data = {name: getattr(known, name) for name in names}
    stale = how is Freshness.STALE
    gone = {
        name: msgspec.structs.replace(datum, freshness=how, value=datum.value if stale else None)
        for name, datum in data.items()
    }
    return msgspec.structs.replace(known, **gone)


ALL = tuple(Demand.__struct_fields__)
SIGNS_OF_USE = {"requests_per_s", "held"}
PREFILL, DECODE = {"requests_per_s", "uncached_tokens_per_s"}, {"output_tokens_per_s"}


def inputs(policy: AnyScalingPolicy, role: Role) -> set[str]:
    """What a policy cannot do without (the external metric goes where any of these goes)."""
    match policy:
        case Slo():
            halves = {Role.PREFILL: PREFILL, Role.DECODE: DECODE, Role.BOTH: PREFILL | DECODE}
            return halves[role]
        case Throughput():
            return {"uncached_tokens_per_s"}
        case Concurrency():
            return {"held"}
        case External():
            return set(ALL)
        case _:
            return set()


class FleetsUnderAnyWeather(RuleBasedStateMachine):
    """A fleet that is told what to do and does it, sooner, later or never."""

    def __init__(self) -> None:
        super().__init__()
        self.now = float(START)
        self.memory = Memory()
        self.rate = 10.0
        self.held = 0.0
        self.hidden: tuple[Freshness, tuple[str, ...]] = (Freshness.FRESH, ())
        self.pools: dict[str, PoolState] = {}
        self.decided: dict[str, int] = {}
        self.spec = ScalingSpec(pools=(PoolSpec(name="main"),))

    @initialize(spec=specs, counts=st.lists(st.integers(0, 12), min_size=2, max_size=2))
    def begin(self, spec: ScalingSpec, counts: list[int]) -> None:
        self.spec = spec
        self.pools = {
            pool.name: PoolState(desired=n, ready=n)
            for pool, n in zip(spec.pools, counts, strict=False)
        }
        self.tick()

    @rule(rate=st.sampled_from([0.0, 3.0, 30.0, 200.0]), held=st.integers(0, 3))
    def demand_moves(self, rate: float, held: int) -> None:
        self.rate, self.held = rate, float(held)
        self.tick()

    @rule(
        how=freshness,
        names=st.sampled_from([(), ALL]) | st.lists(st.sampled_from(ALL), unique=True).map(tuple),
    )
    def metrics_change(self, how: Freshness, names: tuple[str, ...]) -> None:
        self.hidden = (how, names)
        self.tick()

    @rule(words=st.sampled_from(["", "no node"]), late_s=st.sampled_from([1.0, 400.0, 2000.0]))
    def some_replicas_do_not_start(self, words: str, late_s: float) -> None:
        for name, state in self.pools.items():
            ready = state.desired // 2
            pending = tuple(
                PendingReplica(f"{name}-{n}", WallTime(self.now - late_s), words)
                for n in range(state.desired - ready)
            )
            self.pools[name] = PoolState(desired=state.desired, ready=ready, pending=pending)
        self.tick()

    @rule(n=st.integers(0, 15))
    def somebody_else_scales(self, n: int) -> None:
        name = next(iter(self.pools))
        self.pools[name] = PoolState(desired=n, ready=min(n, self.pools[name].ready), manual="hpa")
        self.tick()

    @rule(seconds=st.sampled_from([15.0, 100.0, 1000.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    @rule(started=st.booleans())
    def what_was_decided_is_done(self, started: bool) -> None:
        self.pools = {
            name: PoolState(desired=n, ready=n if started else min(n, self.pools[name].ready))
            for name, n in self.decided.items()
        }
        self.tick()

    def tick(self) -> None:
        observation = self.observe()
        now = WallTime(self.now)
        before = self.memory
        decision, self.memory = decide(self.spec, observation, before, now)
        assert (decision, self.memory) == decide(self.spec, observation, before, now)
        self.decided = {each.pool: each.desired for each in decision.pools}
        self.check(observation, self.decided)
        self.now += TICK_S

    @invariant()
    def memory_survives_json(self) -> None:
        kept = self.memory.kept()
        written = msgspec.json.encode(kept)
        assert msgspec.json.decode(written, type=Memory) == kept
        assert len(written) < 8192

    def observe(self) -> Observation:
        asked = demand(self.rate, self.now, held=self.held)
        seen = serving(
            lost(asked, *self.hidden), self.pools, self.now, in_flight=3.0 if self.rate else 0.0
        )
        how = self.hidden[0] if self.missing else Freshness.FRESH
        queue = Datum(self.rate / 4, WallTime(self.now), how)
        return msgspec.structs.replace(seen, external={"queue": queue})

    def check(self, observation: Observation, desired: dict[str, int]) -> None:
        sleeps = sum(desired.values()) == 0
        woken = sum(state.desired for state in observation.pools.values()) == 0
        if sleeps:
            assert all(pool.min_replicas == 0 for pool in self.spec.pools)
            assert self.spec.zero.idle_s is not None
            assert woken or not self.missing & SIGNS_OF_USE
            return
        for pool in self.spec.pools:
            n, current = desired[pool.name], observation.pools[pool.name].desired
            assert pool.min_replicas <= n <= pool.max_replicas
            if self.blind(pool.role) and current <= pool.max_replicas:
                assert n >= current
            if not woken and pool.min_replicas <= current <= pool.max_replicas:
                self.check_rate(pool.name, n, current)

    @property
    def missing(self) -> set[str]:
        """What of the demand is not known."""
        how, names = self.hidden
        return set() if how is Freshness.FRESH else set(names)

    def blind(self, role: Role) -> bool:
        """Whether a policy lacks something that it needs."""
        return any(inputs(policy, role) & self.missing for policy in self.spec.policies)

    def check_rate(self, name: str, n: int, current: int) -> None:
        """Not further than the rates allow from where the pool stood when their periods began."""
        up = n > current
        direction = self.spec.behavior.up if up else self.spec.behavior.down
        if n == current:
            return
        assert direction.select is not Select.DISABLED
        reach = [
            self.reach(limit, name, current, up=up)
            for limit in direction.limits
            if limit.replicas is not None or limit.percent is not None
        ]
        if not reach:
            return
        most = max(reach) if direction.select is Select.MAX else min(reach)
        assert abs(n - current) <= max(most, 1 if current == 0 else 0)

    def reach(self, limit: RateLimit, name: str, current: int, *, up: bool) -> int:
        """How far one entry with one or two limits lets a pool go, at most, beyond `current`."""
        recent = [
            event.change
            for event in self.memory.pools[name].events
            if self.now - event.at < limit.period_s
        ]
        start = current - sum(recent)
        each = [] if limit.replicas is None else [limit.replicas]
        if limit.percent is not None:
            each.append(math.ceil(start * limit.percent / 100 - 1e-6))
        chosen = (max if self.widest(up=up) else min)(each)
        return chosen - sum(recent) if up else chosen + sum(recent)

    def widest(self, *, up: bool) -> bool:
        """Whether of several rates the one that allows most counts."""
        direction = self.spec.behavior.up if up else self.spec.behavior.down
        return direction.select is Select.MAX


TestFleetsUnderAnyWeather = FleetsUnderAnyWeather.TestCase
TestFleetsUnderAnyWeather.settings = settings(
    max_examples=30, stateful_step_count=20, deadline=None
)


def lived(
    spec: ScalingSpec, rate: float, ticks: int, cold_ticks: int, memory: Memory, at: float
) -> tuple[list[tuple[int, ...]], list[bytes], Memory]:
    """Counts and written memories of a fleet at constant demand that starts with one of each."""
    ages = {pool.name: [cold_ticks] * max(1, pool.min_replicas) for pool in spec.pools}
    counts, written = [], []
    for tick in range(ticks):
        now = at + TICK_S * tick
        pools = {
            name: PoolState(
                desired=len(each),
                ready=sum(age >= cold_ticks for age in each),
                pending=tuple(
                    PendingReplica(f"{name}-{index}", WallTime(now - TICK_S * age))
                    for index, age in enumerate(each)
                    if age < cold_ticks
                ),
            )
            for name, each in ages.items()
        }
        observation = serving(demand(rate, now), pools, now, in_flight=3.0)
        decision, memory = decide(spec, observation, memory, WallTime(now))
        for decided in decision.pools:
            each = sorted((age + 1 for age in ages[decided.pool]), reverse=True)
            ages[decided.pool] = each[: decided.desired] + [0] * (decided.desired - len(each))
        counts.append(tuple(each.desired for each in decision.pools))
        written.append(msgspec.json.encode(memory.kept()))
    return counts, written, memory


calm = st.builds(
    ScalingSpec,
    pools=layouts,
    policies=st.sampled_from([(policies[0],), (policies[1],), (policies[0], policies[1])]),
    # Rest comes when the account of late requests is full, after one window at the latest.
    slo=st.sampled_from([SloSpec(window_s=1800.0), SloSpec(itl_s=0.03, window_s=1800.0)]),
    ratio=st.sampled_from([None, RatioSpec(min=0.5, max=2.0)]),
    cold_start_s=st.sampled_from([30.0, 150.0]),
)


@settings(max_examples=8, deadline=None)
@given(calm, st.floats(0.1, 120), st.integers(0, 10))
def test_constant_demand_comes_to_rest_and_never_flaps(
    spec: ScalingSpec, rate: float, cold_ticks: int
) -> None:
    counts, written, _ = lived(spec, rate, 480, cold_ticks, Memory(), float(START))
    for history in zip(*counts, strict=True):
        steps = [b - a for a, b in pairwise(history) if b != a]
        assert sum(a * b < 0 for a, b in pairwise(steps)) <= 1, history
    assert len(set(counts[-240:])) == 1
    assert len(set(written[-240:])) == 1
