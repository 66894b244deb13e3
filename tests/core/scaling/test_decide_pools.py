"""Whole decisions for fleets that sleep, and for those of several pools or roles."""

from __future__ import annotations

import msgspec
from cardan.endpoint import Role
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies import CronWindow, Schedule, Throughput, TokenKind
from cardan.scaling.spec import (
    Behavior,
    Direction,
    PoolSpec,
    RateLimit,
    RatioSpec,
    ScalingSpec,
    ZeroSpec,
)

from tests.core.scaling.decided import (
    MIXED,
    NO_NODE,
    TEN_A_REPLICA,
    Fleet,
    at_once,
    codes,
    counts,
    only,
    spec,
)
from tests.core.scaling.serving import START, demand, pool, serving

# Sleep

SLEEPY = ScalingSpec(
    pools=(PoolSpec(name="main", min_replicas=0),),
    policies=(TEN_A_REPLICA,),
    zero=ZeroSpec(idle_s=600.0),
    behavior=Behavior(
        up=Direction(stabilization_s=300, limits=(RateLimit(percent=10),)),
        down=Direction(stabilization_s=300, limits=(RateLimit(replicas=1),)),
    ),
)


def test_it_sleeps_when_idle_and_wakes_at_once_whatever_the_windows_say() -> None:
    fleet = Fleet(SLEEPY, {"main": 1}, cold_s=60.0)
    fleet.run(5, 300)
    idle = [each["main"] for each in fleet.run(0, 700)]
    assert idle[:40] == [1] * 40
    assert idle[-1] == 0
    woken = only(fleet.tick(0, wake=True))
    assert woken.desired == 1
    assert codes(woken) == [ReasonCode.WAKE]
    assert only(fleet.tick(0, wake=True, held=3)).desired == 1
    assert fleet.run(0, 600)[-1] == {"main": 1}  # 60 s of them it started
    assert fleet.run(0, 90)[-1] == {"main": 0}


def test_a_schedule_wakes_a_fleet_and_keeps_it_awake() -> None:
    always = Schedule(windows=(CronWindow(start="0 0 * * *", end="59 23 31 12 *", min_replicas=1),))
    fleet = Fleet(msgspec.structs.replace(SLEEPY, policies=(always,)), {"main": 0})
    assert only(fleet.tick(0)).desired == 1
    assert fleet.run(0, 1500)[-1] == {"main": 1}


def test_a_woken_role_gets_its_cheapest_pool() -> None:
    pools = (
        PoolSpec(name="dear", min_replicas=0, cost=4.0),
        PoolSpec(name="cheap", min_replicas=0, cost=1.0),
    )
    observation = serving(demand(0, held=1), {"dear": pool(0), "cheap": pool(0)})
    decision = at_once(observation, msgspec.structs.replace(SLEEPY, pools=pools))
    assert counts(decision) == {"dear": 0, "cheap": 1}


# Mixed pools


def test_the_cheapest_mix_covers_the_need_and_is_explained() -> None:
    decision = at_once(serving(demand(60), {"big": pool(0), "small": pool(1)}), MIXED)
    assert counts(decision) == {"big": 2, "small": 1}
    assert codes(decision.pools[0]) == [ReasonCode.THROUGHPUT, ReasonCode.MIX]


def test_a_pool_goes_when_what_replaces_it_serves() -> None:
    fleet = Fleet(MIXED, {"big": 0, "small": 6}, cold_s=150.0)
    history = [(each["big"], each["small"]) for each in fleet.run(53, 300)]
    assert history[0] == (2, 6)
    assert history[9] == (2, 6)
    assert history[-1] == (2, 1)  # one for a fifth more demand


def test_what_has_no_node_in_one_pool_is_asked_of_another() -> None:
    stuck = pool(2, ready=1, since=START - 3000, unschedulable=NO_NODE)
    decision = at_once(serving(demand(53), {"big": stuck, "small": pool(0)}), MIXED)
    assert counts(decision) == {"big": 2, "small": 3}


# Prefill and decode

HALVES = spec(
    pools=(
        PoolSpec(name="p", role=Role.PREFILL, max_replicas=8),
        PoolSpec(name="d", role=Role.DECODE, max_replicas=40),
    ),
    policies=(
        Throughput(tokens_per_s=15_000.0, roles=(Role.PREFILL,)),
        Throughput(tokens_per_s=100.0, tokens=TokenKind.OUTPUT, roles=(Role.DECODE,)),
    ),
    ratio=RatioSpec(min=0.4, max=0.4),
)


def test_the_deficient_half_is_raised() -> None:
    # 4/s of 100 tokens need 4.4 decode and 0.44 prefill; at 0.4 to one, less 15 %, that is 1.5.
    observation = serving(demand(4, output=100.0), {"p": pool(1), "d": pool(4)})
    decision = at_once(observation, HALVES)
    assert counts(decision)["d"] == 5
    assert counts(decision)["p"] == 2
    assert ReasonCode.RATIO in codes(decision.pools[0])


def test_a_half_does_not_shrink_until_it_is_too_small_for_the_other() -> None:
    slow = msgspec.structs.replace(
        HALVES,
        behavior=Behavior(
            up=Direction(tolerance=0.0),
            down=Direction(tolerance=0.0, limits=(RateLimit(replicas=1, period_s=120),)),
        ),
        pools=(
            PoolSpec(name="p", role=Role.PREFILL, max_replicas=8),
            PoolSpec(name="d", role=Role.DECODE, min_replicas=8, max_replicas=40),
        ),
    )
    fleet = Fleet(slow, {"p": 4, "d": 8})
    history = fleet.run(1, 1200)
    assert {each["p"] for each in history} == {3}
