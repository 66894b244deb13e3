"""Laws of scaling policies, over the union: a policy is tested by being in it.

On any observation: what is recommended is finite and not negative, the same twice, never lower for
more demand, and never lower for want of an input unless that input is named. Over time, constant
demand comes to a constant answer.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest
from cardan.endpoint import EndpointId, Role
from cardan.instants import WallTime
from cardan.scaling import forecast, service
from cardan.scaling.observation import (
    Datum,
    Demand,
    EndpointLoad,
    Freshness,
    KeyMass,
    Observation,
    PoolState,
)
from cardan.scaling.policies import (
    AnyScalingPolicy,
    Concurrency,
    CronWindow,
    External,
    Schedule,
    Slo,
    TargetType,
    Throughput,
    TokenKind,
    Utilisation,
    UtilisationOf,
)
from cardan.scaling.service import Learned
from cardan.scaling.spec import PoolSpec, ScalingSpec, SloSpec
from cardan.scaling.view import RoleView
from cardan.scaling.windows import PolicyMemory
from hypothesis import given, settings
from hypothesis import strategies as st

if TYPE_CHECKING:
    from cardan.scaling.decision import Recommendation

T0 = 1_800_000_000.0
TICK_S = 15.0
HORIZON_S = 195.0
WINDOW = CronWindow(start="0 8 * * *", end="0 20 * * *", min_replicas=3, max_replicas=30)
POLICIES: list[AnyScalingPolicy] = [
    Slo(),
    *(Throughput(tokens_per_s=5000.0, tokens=kind) for kind in TokenKind),
    Concurrency(target=20.0),
    *(Utilisation(of=kind) for kind in UtilisationOf),
    Schedule(windows=(WINDOW,)),
    *(External(metric="lag", target=30.0, target_type=kind) for kind in TargetType),
]


def name(policy: AnyScalingPolicy) -> str:
    """A short name for a test's id."""
    values = [str(value) for value in msgspec.structs.astuple(policy) if isinstance(value, str)]
    return "-".join([str(policy.__struct_config__.tag), *values])


every_policy = pytest.mark.parametrize("policy", POLICIES, ids=name)

amounts = st.floats(0.0, 1e6)
shares = st.floats(0.0, 1.0)
maybe = st.sampled_from([Freshness.FRESH] * 4 + [Freshness.STALE, Freshness.MISSING])


def test_every_policy_of_the_union_is_here() -> None:
    assert {type(policy) for policy in POLICIES} == set(get_args(AnyScalingPolicy))


@st.composite
def data(draw: st.DrawFn, values: st.SearchStrategy[float] = amounts) -> Datum:
    """A number, mostly fresh."""
    freshness = draw(maybe)
    value = None if freshness is Freshness.MISSING else draw(values)
    return Datum(value, WallTime(T0), freshness)


@st.composite
def demands(draw: st.DrawFn) -> Demand:
    """Any demand."""
    return Demand(
        requests_per_s=draw(data()),
        prompt_tokens_per_s=draw(data()),
        uncached_tokens_per_s=draw(data()),
        output_tokens_per_s=draw(data()),
        ttft_p95_s=draw(data(st.floats(0.0, 60.0))),
        itl_s=draw(data(st.floats(0.0, 1.0))),
        held=draw(data(st.floats(0.0, 1e4))),
    )


@st.composite
def endpoints(draw: st.DrawFn) -> tuple[EndpointLoad, ...]:
    """A few endpoints of one pool."""
    return tuple(
        EndpointLoad(
            id=EndpointId(f"e{at}"),
            pool="main",
            in_flight=draw(data(st.floats(0.0, 1e4))),
            running=draw(data(st.floats(0.0, 1e3))),
            waiting=draw(data(st.floats(0.0, 1e3))),
            kv_used_ratio=draw(data(shares)),
            prefill_tokens_per_s=draw(data()),
        )
        for at in range(draw(st.integers(0, 4)))
    )


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    """Any observation of one pool."""
    loads = draw(endpoints())
    keys = tuple(
        KeyMass(key=f"{at:016x}", share=draw(shares), hit_tokens=draw(amounts))
        for at in range(draw(st.integers(0, 2)))
    )
    return Observation(
        at=WallTime(T0),
        demand=draw(demands()),
        pools={"main": PoolState(desired=len(loads), ready=len(loads), started_s=(30.0,))},
        endpoints=loads,
        keys=keys,
        external={"lag": draw(data())},
    )


roles = st.sampled_from(list(Role))


def spec_of(role: Role, policy: AnyScalingPolicy) -> ScalingSpec:
    """A fleet of one pool with one policy."""
    return ScalingSpec(
        pools=(PoolSpec(name="main", role=role),), slo=SloSpec(itl_s=0.05), policies=(policy,)
    )


def view_of(
    spec: ScalingSpec, seen: Observation, learned: Learned, memory: PolicyMemory | None = None
) -> RoleView:
    """What a policy is shown of it, without any forecast."""
    horizon = forecast.foresee(
        forecast.ForecastMemory(), seen.demand, seen.at, spec.forecast, HORIZON_S
    )
    return RoleView(
        spec=spec,
        role=spec.pools[0].role,
        observation=seen,
        learned=learned,
        foreseen=horizon,
        current=float(len(seen.endpoints)),
        memory=memory or PolicyMemory(),
    )


@every_policy
@given(seen=observations(), role=roles)
def test_what_is_recommended_is_finite_and_not_negative_and_the_same_twice(
    policy: AnyScalingPolicy, seen: Observation, role: Role
) -> None:
    spec = spec_of(role, policy)
    learned = service.learn(Learned(), spec, seen, seen.at)
    memory = policy.remember(role, view_of(spec, seen, learned), seen.at)
    view = view_of(spec, seen, learned, memory)
    told = policy.recommend(role, view, seen.at)
    assert told == policy.recommend(role, view, seen.at)
    assert told.replicas is None or (isfinite(told.replicas) and told.replicas >= 0)
    assert told.replicas is not None or told.lacking
    assert told.reason.message
    assert memory == policy.remember(role, view_of(spec, seen, learned), seen.at)


@every_policy
@given(seen=observations(), role=roles, missing=st.lists(st.integers(0, 20), max_size=6))
def test_want_of_an_input_never_lowers_unless_the_input_is_named(
    policy: AnyScalingPolicy, seen: Observation, role: Role, missing: list[int]
) -> None:
    spec = spec_of(role, policy)
    learned = service.learn(Learned(), spec, seen, seen.at)
    full = remembered(policy, role, view_of(spec, seen, learned))
    less = remembered(policy, role, view_of(spec, without(seen, missing), learned))
    if full.replicas is None or full.lacking or less.lacking:
        return
    assert less.replicas is not None
    assert less.replicas >= full.replicas * (1 - 1e-9)


def remembered(policy: AnyScalingPolicy, role: Role, view: RoleView) -> Recommendation:
    """What is recommended after a first tick."""
    memory = policy.remember(role, view, view.observation.at)
    shown = msgspec.structs.replace(view, memory=memory)
    return policy.recommend(role, shown, view.observation.at)


def without(seen: Observation, missing: list[int]) -> Observation:
    """The observation without some of its numbers."""
    fields = Demand.__struct_fields__
    gone = {fields[at] for at in missing if at < len(fields)}
    demand = msgspec.structs.replace(seen.demand, **{field: Datum() for field in gone})
    loads = tuple(
        EndpointLoad(id=load.id, pool=load.pool) if 10 + at in missing else load
        for at, load in enumerate(seen.endpoints)
    )
    external = {} if 15 in missing else seen.external
    return msgspec.structs.replace(seen, demand=demand, endpoints=loads, external=external)


@every_policy
@given(seen=observations(), role=roles, more=st.floats(1.0, 10.0))
def test_more_demand_is_never_answered_with_fewer(
    policy: AnyScalingPolicy, seen: Observation, role: Role, more: float
) -> None:
    spec = spec_of(role, policy)
    learned = service.learn(Learned(), spec, seen, seen.at)
    before = remembered(policy, role, view_of(spec, seen, learned)).replicas
    after = remembered(policy, role, view_of(spec, louder(seen, more), learned)).replicas
    if before is None:
        return
    assert after is not None
    assert after >= before * (1 - 2e-4) - 1e-9  # the grain of the queueing model's bisection


def louder(seen: Observation, more: float) -> Observation:
    """The same with so many times the demand."""
    rates = (
        "requests_per_s",
        "prompt_tokens_per_s",
        "uncached_tokens_per_s",
        "output_tokens_per_s",
        "held",
    )
    demand = msgspec.structs.replace(
        seen.demand, **{rate: times(getattr(seen.demand, rate), more) for rate in rates}
    )
    loads = tuple(
        msgspec.structs.replace(
            load,
            in_flight=times(load.in_flight, more),
            waiting=times(load.waiting, more),
            kv_used_ratio=times(load.kv_used_ratio, more),
        )
        for load in seen.endpoints
    )
    external = {metric: times(datum, more) for metric, datum in seen.external.items()}
    return msgspec.structs.replace(seen, demand=demand, endpoints=loads, external=external)


def times(datum: Datum, factor: float) -> Datum:
    """A number times a factor."""
    value = None if datum.value is None else datum.value * factor
    return msgspec.structs.replace(datum, value=value)


@every_policy
@settings(max_examples=4)
@given(seen=observations(), role=roles)
def test_constant_demand_comes_to_a_constant_answer_and_nothing_more_to_write(
    policy: AnyScalingPolicy, seen: Observation, role: Role
) -> None:
    spec = spec_of(role, policy)
    learned, memory = Learned(), PolicyMemory()
    answers, texts = set(), set()
    for tick in range(240):
        now = WallTime(T0 + tick * TICK_S * 8)
        same = msgspec.structs.replace(seen, at=now)
        learned = service.learn(learned, spec, same, now)
        view = view_of(spec, same, learned, memory)
        memory = policy.remember(role, view, now)
        if tick >= 180 and not isinstance(policy, Schedule):
            shown = msgspec.structs.replace(view, memory=memory)
            answers.add(policy.recommend(role, shown, now).replicas)
            texts.add(msgspec.json.encode((learned.kept(), memory.kept())))
    assert len(answers) <= 1
    assert len(texts) <= 1
