"""Orders: a decision carried out: drains before scales; cordons, moves, sleep in one overlay."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.overlay import Dormant, ModelOverlay
from cardan.scaling.decision import PoolDecision, ScalingDecision
from cardan.scaling.drain import RELEASED_COST
from cardan.scaling.memory import Memory
from cardan.scaling.orders import Limits, Orders, orders
from cardan.scaling.spec import PoolSpec, ScalingSpec, ZeroSpec

from tests.core.scaling.observed import T0, fresh, key, load, seen

if TYPE_CHECKING:
    from cardan.scaling.observation import EndpointLoad, Observation

SPEC = ScalingSpec(pools=(PoolSpec(name="main", min_replicas=0),))


class Shell:
    """Carries decisions out on one pool."""

    def __init__(self, spec: ScalingSpec = SPEC) -> None:
        self.spec = spec
        self.memory = Memory()

    def tick(
        self,
        desired: int,
        observation: Observation,
        *,
        valid: bool = True,
        allowed: int | None = None,
    ) -> Orders:
        """What is to be so."""
        pool = PoolDecision(
            pool="main", current=observation.pools["main"].desired, desired=desired, valid=valid
        )
        given, self.memory = orders(
            self.spec,
            ScalingDecision(at=observation.at, pools=(pool,)),
            observation,
            self.memory,
            {"main": Limits(allowed_disruptions=allowed)},
            observation.at,
        )
        return given


def well(name: str, at: float, in_flight: float = 4.0) -> EndpointLoad:
    """An engine that works."""
    return load(
        name,
        at,
        in_flight=in_flight,
        output_tokens_per_s=500.0 if in_flight else 0.0,
        requests_per_s=2.0,
        failures_per_s=0.0,
        prompt_tokens_per_s=1000.0,
    )


def test_gateways_hear_of_a_drain_before_the_scale_follows() -> None:
    shell = Shell()
    given = shell.tick(1, seen([well("a", T0), well("b", T0, 0.0)]))
    assert (given.scale, given.overlay.draining) == ({"main": 2}, ("b",))
    at = T0 + 10
    given = shell.tick(1, seen([well("a", at), well("b", at, 0.0)], at))
    assert (given.scale, given.costs) == ({"main": 1}, {"b": RELEASED_COST})


def test_more_replicas_are_asked_for_at_once() -> None:
    assert Shell().tick(7, seen([well("a", T0)])).scale == {"main": 7}


def test_a_disruption_budget_holds_a_drain() -> None:
    fleet = seen([well("a", T0), well("b", T0)])
    assert not Shell().tick(1, fleet, allowed=0).overlay.draining


def test_a_pool_whose_decision_is_not_valid_is_left_as_it_is() -> None:
    shell = Shell()
    shell.tick(1, seen([well("a", T0), well("b", T0, 0.0)]))
    at = T0 + 400
    given = shell.tick(2, seen([well("a", at), well("b", at, 0.0)], at), valid=False)
    assert (given.scale, given.overlay.draining) == ({}, ("b",))


def test_an_engine_that_is_wrong_is_cordoned_deleted_and_the_first_to_leave() -> None:
    def fleet(at: float) -> Observation:
        silent = msgspec.structs.replace(well("a", at), output_tokens_per_s=fresh(0.0, at))
        return seen([silent, well("b", at), well("c", at)], at)

    shell = Shell()
    given = [shell.tick(3, fleet(T0 + 10.0 * tick)) for tick in range(14)]
    assert given[-1].overlay.cordoned == ("a",)
    assert [pod for one in given for pod in one.restart] == ["a"]
    assert shell.tick(2, fleet(T0 + 140.0)).overlay.draining == ("a",)


def test_hot_prefixes_do_not_move_to_who_drains() -> None:
    def fleet(at: float) -> Observation:
        engines = [well(f"e{n}", at, 1.0 if n == 9 else 4.0) for n in range(10)]
        return seen(engines, at, keys=[key(1, 0.2, "e0", "e1")])

    shell = Shell()
    overlay = [shell.tick(9, fleet(T0 + 15.0 * tick)).overlay for tick in range(6)][-1]
    assert overlay.draining == ("e9",)
    assert overlay.add == {f"{1:016x}": (EndpointId("e2"),)}


def test_a_fleet_that_sleeps_or_wakes_is_expected() -> None:
    spec = ScalingSpec(pools=SPEC.pools, zero=ZeroSpec(idle_s=60, hold_requests=7))
    dormant = Dormant(hold_requests=7)
    asleep = Shell(spec).tick(0, seen([]))
    waking = Shell(spec).tick(1, seen([], pending=["a"]))
    awake = Shell(spec).tick(1, seen([well("a", T0)]))
    assert (asleep.overlay.dormant, waking.overlay.dormant) == (dormant, dormant)
    assert awake.overlay == ModelOverlay()


def test_a_fleet_at_rest_is_ordered_and_remembers_the_same_for_ever() -> None:
    shell = Shell()
    first = None
    for tick in range(240):
        at = WallTime(T0 + 15.0 * tick)
        fleet = [well(f"e{n}", at, 4.0 + (tick * 7 + n * 3) % 3) for n in range(8)]
        given = shell.tick(8, seen(fleet, at, keys=[key(1, 0.1, "e0", "e1")]))
        first = first or given
        assert given == first
        assert shell.memory.kept() == Memory()
