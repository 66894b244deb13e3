"""Nobody goes whom a lower scale would not take: not in a rollout, and not over a shared budget."""

from __future__ import annotations

from cardan.scaling.decision import ReasonCode
from cardan.scaling.drain import (
    RELEASED_COST,
    SPARED_S,
    DrainMemory,
    Target,
    step,
)
from cardan.scaling.observation import Observation, PoolState
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.scaling.drains import SPEC, Drains, busy
from tests.core.scaling.observed import T0, load, seen
from tests.core.scaling.test_drain_laws import Cluster, Turn, turns

HALF = "3 of 6 replicas are of its newest template"


class TestRollout:
    """A Deployment of which two ReplicaSets have replicas."""

    def test_nobody_begins_to_drain(self) -> None:
        drains = Drains()
        plan = drains.see(1, seen(busy(a=0, b=0, c=0)), rollout=HALF)
        assert (plan.scale, plan.draining) == ({"main": 3}, ())
        assert drains.said == [ReasonCode.ROLLOUT]

    def test_not_even_what_is_not_ready_goes(self) -> None:
        """The scale falls for both templates: one that serves may go for one that does not."""
        plan = Drains().see(2, seen(busy(a=1, b=1), pending=["c"]), rollout=HALF)
        assert plan.scale == {"main": 3}

    def test_who_drains_goes_on_and_goes_when_it_has_ended(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        later = seen(busy(T0 + 20, a=1, b=0), T0 + 20)
        plan = drains.see(1, later, rollout=HALF)
        assert (plan.scale, plan.draining) == ({"main": 2}, ("b",))
        assert drains.said == [ReasonCode.DRAINING, ReasonCode.DRAINED, ReasonCode.ROLLOUT]
        assert drains.see(1, later).scale == {"main": 1}

    def test_who_is_wanted_again_is_let_off(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0, c=0)))
        plan = drains.see(2, seen(busy(T0 + 1, a=1, b=0, c=0), T0 + 1), rollout=HALF)
        assert len(plan.draining) == 1

    def test_a_scale_that_was_written_stays_written(self) -> None:
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        assert drains.see(1, seen(busy(T0 + 20, a=1, b=0), T0 + 20)).scale == {"main": 1}
        plan = drains.see(1, seen(busy(T0 + 21, a=1, b=0), T0 + 21), rollout=HALF)
        assert plan.scale == {"main": 1}
        assert ReasonCode.ROLLOUT not in drains.said

    def test_it_may_grow(self) -> None:
        plan = Drains().see(5, seen(busy(a=1, b=0)), rollout=HALF)
        assert plan.scale == {"main": 5}

    def test_all_may_go_together(self) -> None:
        drains = Drains()
        drains.see(0, seen(busy(a=0, b=1)), rollout=HALF)
        assert sorted(drains.victims) == ["a", "b"]
        assert drains.see(0, seen(busy(T0 + 9, a=0, b=1), T0 + 9), rollout=HALF).scale == {
            "main": 2
        }
        assert drains.see(0, seen(busy(T0 + 20, a=0, b=0), T0 + 20), rollout=HALF).scale == {
            "main": 0
        }


@given(st.integers(1, 6), turns, st.lists(st.booleans(), min_size=25, max_size=25))
@settings(max_examples=50, deadline=None)
def test_in_a_rollout_the_scale_falls_to_nothing_or_not_at_all(
    replicas: int, history: list[Turn], rolled: list[bool]
) -> None:
    cluster, drains = Cluster(replicas), Drains()
    for turn, rolls in zip(history, rolled, strict=False):
        for place, pod in enumerate(cluster.pods):
            pod.in_flight = turn.work[place % 3]
        cluster.pass_(turn.seconds)
        before = set(drains.victims)
        observation = cluster.observe()
        plan = drains.see(turn.wanted, observation, rollout=HALF if rolls else "")
        if rolls:
            assert plan.scale["main"] >= cluster.scale or plan.scale["main"] == 0
            assert turn.wanted == 0 or before.issuperset(drains.victims)
        cluster.do(plan)


class TestForgottenScale:
    """The scale was lowered, and who did it could not remember."""

    def begun(self) -> Drains:
        """One drains."""
        drains = Drains()
        drains.see(1, seen(busy(a=1, b=0)))
        return drains

    def test_who_drains_goes_and_is_not_asked_again(self) -> None:
        drains = self.begun()
        lower = seen(busy(T0 + 9, a=1, b=0), T0 + 9, desired=1)
        plan = drains.see(1, lower)
        assert plan.draining == ("b",)
        assert plan.costs == {"b": RELEASED_COST}
        assert ReasonCode.DRAIN_CANCELLED not in drains.said

    def test_if_another_has_gone_it_is_asked_again(self) -> None:
        drains = self.begun()
        drains.see(1, seen(busy(T0 + 9, a=1, b=0), T0 + 9, desired=1))
        late = T0 + 10 + SPARED_S
        assert drains.see(1, seen(busy(late, b=0), late, desired=1)).draining == ()

    def test_an_unready_one_is_what_a_lower_scale_takes(self) -> None:
        drains = self.begun()
        fleet = [*busy(T0 + 9, a=1, b=0), load("c", T0 + 9, ready=False, in_flight=0)]
        assert drains.see(2, seen(fleet, T0 + 9, desired=2)).draining == ()

    def test_replicas_of_a_rollout_are_not_too_many(self) -> None:
        drains = self.begun()
        lower = seen(busy(T0 + 9, a=1, b=0), T0 + 9, desired=1)
        assert drains.see(1, lower, rollout=HALF).draining == ()


def two_pools() -> Observation:
    """Two pools of two replicas each."""
    fleet = [
        load(f"{pool}-{n}", pool=pool, in_flight=1) for pool in ("main", "other") for n in "01"
    ]
    state = PoolState(desired=2, ready=2)
    return Observation(at=T0, pools={"main": state, "other": state}, endpoints=tuple(fleet))


class TestSharedBudget:
    """A PodDisruptionBudget that covers two pools."""

    def test_it_is_spent_once(self) -> None:
        target = Target(wanted=1, allowed_disruptions=1, budgets=("both",))
        targets = {"main": target, "other": target}
        both = two_pools()
        plan, memory, _ = step(SPEC, targets, both, DrainMemory(), T0)
        assert len(plan.draining) == 1
        plan, memory, _ = step(SPEC, targets, both, memory, T0)
        assert len(plan.draining) == 1

    def test_who_drains_in_a_later_pool_counts_for_an_earlier_one(self) -> None:
        target = Target(wanted=1, allowed_disruptions=1, budgets=("both",))
        content = Target(wanted=2, allowed_disruptions=1, budgets=("both",))
        both = two_pools()
        _, memory, _ = step(SPEC, {"main": content, "other": target}, both, DrainMemory(), T0)
        assert [victim.pool for victim in memory.victims] == ["other"]
        _, memory, _ = step(SPEC, {"main": target, "other": target}, both, memory, T0)
        assert [victim.pool for victim in memory.victims] == ["other"]

    def test_budgets_of_their_own_are_their_own(self) -> None:
        targets = {
            name: Target(wanted=1, allowed_disruptions=1, budgets=(name,))
            for name in ("main", "other")
        }
        plan, *_ = step(SPEC, targets, two_pools(), DrainMemory(), T0)
        assert len(plan.draining) == 2
