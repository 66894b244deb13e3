"""Drains: the least missed goes first, when nothing runs on it, and never the last one."""

from __future__ import annotations

import msgspec
import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode
from cardan.scaling.drain import (
    DRAINING_COST,
    RELEASED_COST,
    SPARED_S,
    DrainMemory,
    DrainPlan,
    Target,
    step,
)
from cardan.scaling.observation import Datum, EndpointLoad, Freshness
from cardan.scaling.replicas import SETTLE_S, ordinal_of, pod_of

from tests.core.scaling.drains import SPEC, Drains, busy
from tests.core.scaling.observed import T0, key, load, seen


class TestChoice:
    """Who goes first."""

    def test_the_one_whose_cache_saves_least(self) -> None:
        drains = Drains()
        keys = [key(1, 0.4, "a", "b"), key(2, 0.3, "b", "c", hit_tokens=4000.0)]
        plan = drains.see(2, seen(busy(a=1, b=0, c=0), keys=keys))
        assert plan.draining == ("a",)
        assert plan.scale == {"main": 3}
        assert plan.costs == {"a": DRAINING_COST}
        assert drains.memory.victims[0].why == (
            "its cache saves 200 tokens a request, 1 in flight, the least of 3"
        )

    def test_of_equal_caches_the_one_with_the_least_in_flight(self) -> None:
        assert Drains().see(2, seen(busy(a=5, b=2, c=3))).draining == ("b",)

    def test_then_the_newest(self) -> None:
        fleet = [load(name, in_flight=1, age_s=age) for name, age in [("a", 9), ("b", 5), ("c", 7)]]
        assert Drains().see(2, seen(fleet)).draining == ("b",)

    def test_a_deletion_cost_of_their_own_comes_before_what_caches_are_worth(self) -> None:
        keys = [key(1, 0.4, "a", "b")]
        drains = Drains()
        plan = drains.see(2, seen(busy(a=1, b=1, c=0), keys=keys), costs={"c": 100})
        assert plan.draining == ("a",)
        drains = Drains()
        plan = drains.see(2, seen(busy(a=1, b=1, c=0), keys=keys), costs={"b": -100})
        assert plan.draining == ("b",)
        assert "its own deletion cost is -100" in drains.memory.victims[0].why

    def test_what_is_not_ready_goes_at_once_and_nobody_drains(self) -> None:
        drains = Drains()
        plan = drains.see(2, seen(busy(a=1, b=1), pending=["c"]))
        assert plan == DrainPlan(scale={"main": 2})

    def test_what_was_never_created_is_not_waited_for(self) -> None:
        assert Drains().see(2, seen(busy(a=1, b=1), desired=5)).scale == {"main": 2}

    def test_an_unready_one_with_work_is_drained_like_any_other_and_first(self) -> None:
        fleet = [*busy(a=0, b=0), load("c", ready=False, in_flight=9)]
        plan = Drains().see(2, seen(fleet, desired=3))
        assert plan.scale == {"main": 3}
        assert plan.draining == ("c",)

    def test_one_that_is_cordoned_goes_before_others_and_is_not_the_one_that_stays(self) -> None:
        fleet = seen(busy(a=0, b=9), keys=[key(1, 0.5, "b")])
        plan, *_ = step(SPEC, {"main": Target(wanted=1)}, fleet, DrainMemory(), T0, cordoned={"b"})
        assert plan.draining == ("b",)
        both = {"a", "b"}
        plan, *_ = step(SPEC, {"main": Target(wanted=1)}, fleet, DrainMemory(), T0, cordoned=both)
        assert plan.draining == ("a",)

    def test_all_ranks_of_a_pod_drain(self) -> None:
        fleet = [
            load(f"{pod}:{port}", in_flight=n) for pod, n in [("a", 1), ("b", 2)] for port in (1, 2)
        ]
        plan = Drains().see(1, seen(fleet, desired=2))
        assert plan.draining == ("a:1", "a:2")
        assert plan.costs == {"a": DRAINING_COST}

    def test_a_stateful_sets_highest_ordinals_go(self) -> None:
        fleet = busy(**{"e-2": 0, "e-10": 7, "e-9": 3})
        plan = Drains().see(1, seen(fleet), by_ordinal=True)
        assert plan.draining == ("e-10", "e-9")

    def test_missing_numbers_put_nobody_first(self) -> None:
        fleet = [load("a"), load("b", in_flight=100)]
        assert Drains().see(1, seen(fleet)).draining == ("b",)


class TestRelease:
    """When the scale follows."""

    def test_when_nothing_is_in_flight_by_a_sample_after_the_overlay(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        soon = seen(busy(T0 + SETTLE_S - 1, a=1, b=0), T0 + 20)
        assert drains.see(1, soon).scale == {"main": 2}
        later = seen(busy(T0 + SETTLE_S, a=1, b=0), T0 + 20)
        plan = drains.see(1, later)
        assert plan.scale == {"main": 1}
        assert plan.costs == {"b": RELEASED_COST}
        assert plan.draining == ("b",)
        assert drains.said == [ReasonCode.DRAINING, ReasonCode.DRAINED]

    @pytest.mark.parametrize("freshness", [Freshness.STALE, Freshness.MISSING, Freshness.FAILED])
    def test_not_by_a_number_that_is_not_fresh(self, freshness: Freshness) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        old = Datum(0.0, WallTime(T0 + 100), freshness)
        dark = EndpointLoad(id=EndpointId("b"), pool="main", in_flight=old)
        plan = drains.see(1, seen([*busy(T0 + 100, a=1), dark], T0 + 100))
        assert plan.scale == {"main": 2}

    def test_by_the_engines_own_word_where_no_gateway_tells(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        told = load("b", T0 + 10, running=0, waiting=0)
        assert drains.see(1, seen([*busy(T0 + 10, a=1), told], T0 + 10)).scale == {"main": 1}

    def test_not_while_the_engine_runs_what_no_gateway_sent(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        told = load("b", T0 + 10, in_flight=0, running=2, waiting=0)
        assert drains.see(1, seen([*busy(T0 + 10, a=1), told], T0 + 10)).scale == {"main": 2}

    def test_after_the_deadline_whatever_runs(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=9, b=5)))
        assert drains.see(1, seen(busy(T0 + 299, a=9, b=5), T0 + 299)).scale == {"main": 2}
        assert drains.see(1, seen(busy(T0 + 300, a=9, b=5), T0 + 300)).scale == {"main": 1}
        assert drains.said[-1] is ReasonCode.DRAIN_DEADLINE

    def test_of_two_the_one_that_is_empty_first_is_marked_and_then_goes(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2, c=9)))
        assert drains.victims == ["a", "b"]
        plan = drains.see(1, seen(busy(T0 + 10, a=0, b=2, c=9), T0 + 10))
        assert plan.scale == {"main": 3}
        assert plan.costs == {"a": RELEASED_COST, "b": DRAINING_COST}
        plan = drains.see(1, seen(busy(T0 + 20, a=0, b=2, c=9), T0 + 20))
        assert plan.scale == {"main": 2}

    def test_ordinals_go_from_the_top_only(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(**{"e-0": 5, "e-1": 0, "e-2": 5})), by_ordinal=True)
        waits = seen(busy(T0 + 10, **{"e-0": 5, "e-1": 0, "e-2": 5}), T0 + 10)
        assert drains.see(1, waits, by_ordinal=True).scale == {"main": 3}
        done = seen(busy(T0 + 20, **{"e-0": 5, "e-1": 0, "e-2": 0}), T0 + 20)
        assert drains.see(1, done, by_ordinal=True).scale == {"main": 1}

    def test_the_scale_is_asked_for_again_until_it_is_seen(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        for at in (10, 20, 30):
            plan = drains.see(1, seen(busy(T0 + at, a=1, b=0), T0 + at))
            assert plan.scale == {"main": 1}
            assert drains.victims == ["b"]

    def test_one_that_is_gone_is_forgotten(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        drains.see(1, seen(busy(T0 + 10, a=1, b=0), T0 + 10))
        plan = drains.see(1, seen(busy(T0 + 20, a=1), T0 + 20))
        assert plan == DrainPlan(scale={"main": 1})
        assert msgspec.json.encode(drains.memory) == b"{}"

    def test_one_that_was_spared_is_let_off(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        drains.see(1, seen(busy(T0 + 10, a=1, b=0), T0 + 10))
        plan = drains.see(1, seen(busy(T0 + 20, a=1, b=0), T0 + 20, desired=1))
        assert plan.draining == ("b",)
        at = T0 + 11 + SPARED_S
        assert not drains.see(1, seen(busy(at, b=0), at, desired=1)).draining


class TestSecondThoughts:
    """What changes on the way."""

    def test_a_wanted_scale_up_cancels_drains(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2, c=9)))
        plan = drains.see(4, seen(busy(T0 + 10, a=1, b=2, c=9), T0 + 10))
        assert plan == DrainPlan(scale={"main": 4})
        assert drains.said[-2:] == [ReasonCode.DRAIN_CANCELLED] * 2

    def test_as_many_as_are_wanted_again_are_let_off_the_emptiest_goes_on(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2, c=9)))
        drains.see(1, seen(busy(T0 + 10, a=1, b=0, c=9), T0 + 10))
        plan = drains.see(2, seen(busy(T0 + 12, a=1, b=0, c=9), T0 + 12))
        assert plan.draining == ("b",)
        assert plan.scale == {"main": 2}

    def test_where_it_is_on_its_way_to_is_known(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2, c=9)))
        assert drains.memory.goal("main", 3) == 1
        assert drains.memory.goal("other", 3) == 3

    def test_a_victim_that_somebody_else_ends_is_the_one_that_goes(self) -> None:
        drains = Drains()
        drains.see(2, seen(busy(a=1, b=2, c=9)))
        plan = drains.see(2, seen(busy(T0 + 10, b=2, c=9), T0 + 10, desired=3))
        assert plan == DrainPlan(scale={"main": 2})

    def test_so_does_the_replacement_that_was_made_for_it(self) -> None:
        drains = Drains()
        drains.see(2, seen(busy(a=1, b=2, c=9)))
        plan = drains.see(2, seen(busy(T0 + 10, b=2, c=9), T0 + 10, pending=["d"]))
        assert plan == DrainPlan(scale={"main": 2})

    def test_one_that_terminates_is_no_victim(self) -> None:
        fleet = busy(a=1, b=2, c=9)
        plan = Drains().see(1, seen(fleet, desired=2, ending=["a"]))
        assert plan.draining == ("b",)

    def test_a_pool_that_cannot_be_read_keeps_its_drains(self) -> None:
        drains = Drains()
        first = seen(busy(a=1, b=2))
        drains.see(1, first)
        broken = {"main": msgspec.structs.replace(first.pools["main"], error="forbidden")}
        plan = drains.see(1, msgspec.structs.replace(first, pools=broken))
        assert plan.scale == {}
        assert plan.draining == ("a",)

    def test_so_does_one_of_which_nothing_is_wanted_now(self) -> None:
        drains = Drains()
        first = seen(busy(a=1, b=2))
        drains.see(1, first)
        plan, memory, notes = step(SPEC, {}, first, drains.memory, WallTime(T0 + 400))
        assert (plan.scale, plan.draining, notes) == ({}, ("a",), ())
        assert memory == drains.memory

    def test_a_pool_that_is_no_more_is_forgotten(self) -> None:
        drains = Drains()
        first = seen(busy(a=1, b=2))
        drains.see(1, first)
        drains.see(1, msgspec.structs.replace(first, pools={}))
        assert not drains.victims


class TestLimits:
    """Disruption budgets, and the last one."""

    def test_not_more_than_the_budget_allows_at_once(self) -> None:
        drains = Drains()
        plan = drains.see(1, seen(busy(a=1, b=2, c=3)), allowed_disruptions=1)
        assert plan.draining == ("a",)
        assert drains.said == [ReasonCode.DRAIN_LIMITED, ReasonCode.DRAINING]

    def test_a_released_one_counts_until_it_is_gone(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2, c=3)), allowed_disruptions=1)
        drains.see(1, seen(busy(T0 + 9, a=0, b=2, c=3), T0 + 9), allowed_disruptions=1)
        still = seen(busy(T0 + 19, a=0, b=2, c=3), T0 + 19, desired=2)
        assert drains.see(1, still, allowed_disruptions=1).draining == ("a",)
        gone = seen(busy(T0 + 29, b=2, c=3), T0 + 29)
        assert drains.see(1, gone, allowed_disruptions=1).draining == ("b",)

    def test_where_none_is_allowed_nobody_drains_and_the_unready_go(self) -> None:
        fleet = seen(busy(a=1, b=2), pending=["c", "d"])
        plan = Drains().see(1, fleet, allowed_disruptions=0)
        assert plan == DrainPlan(scale={"main": 2})

    def test_the_last_that_is_ready_stays_while_one_is_wanted(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=2)))
        plan = drains.see(1, seen([load("a", T0 + 9, in_flight=0)], T0 + 9, pending=["b"]))
        assert plan == DrainPlan(scale={"main": 1})

    def test_all_go_where_none_is_wanted(self) -> None:
        drains = Drains()
        assert drains.see(0, seen(busy(a=0, b=0))).draining == ("a", "b")
        assert drains.see(0, seen(busy(T0 + 9, a=0, b=0), T0 + 9)).scale == {"main": 0}


def test_names_of_endpoints_and_pods() -> None:
    names = ["engine-0", "engine-0:8001", "team/engine-0", "team/engine-0:8001"]
    assert {pod_of(EndpointId(name)) for name in names} == {"engine-0"}
    assert pod_of(EndpointId("http://10.0.0.1:8000")) == "http://10.0.0.1:8000"
    assert ordinal_of("engine-12") == 12
    assert ordinal_of("engine-7d9f-x2x4z") == -1
