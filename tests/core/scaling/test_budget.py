"""GPUs and power are shared by priority, and who is cut is told."""

from __future__ import annotations

import msgspec
from cardan.instants import WallTime
from cardan.scaling.budget import Budget, share
from cardan.scaling.decision import PoolDecision, ReasonCode, ScalingDecision
from cardan.scaling.spec import PoolSpec, ScalingSpec
from hypothesis import given
from hypothesis import strategies as st

NOW = WallTime(1000.0)
Fleets = dict[str, tuple[ScalingSpec, ScalingDecision]]


def fleet(
    desired: int,
    *,
    current: int = 1,
    least: int = 1,
    gpus: float = 1.0,
    power_w: float = 0.0,
    priority: int = 0,
    valid: bool = True,
) -> tuple[ScalingSpec, ScalingDecision]:
    spec = ScalingSpec(
        pools=(
            PoolSpec(name="main", min_replicas=least, max_replicas=100, gpus=gpus, power_w=power_w),
        ),
        priority=priority,
    )
    decided = PoolDecision(pool="main", current=current, desired=desired, valid=valid)
    return spec, ScalingDecision(at=NOW, pools=(decided,))


def granted(
    fleets: Fleets, *, gpus: float | None = None, power_w: float | None = None
) -> dict[str, int]:
    decisions, _ = share(fleets, Budget(gpus=gpus, power_w=power_w))
    return {name: decision.pools[0].desired for name, decision in decisions.items()}


def test_what_fits_is_left_alone() -> None:
    fleets = {"a": fleet(3), "b": fleet(5)}
    decisions, cuts = share(fleets, Budget(gpus=8))
    assert cuts == ()
    assert all(decisions[name] is fleets[name][1] for name in fleets)


def test_without_a_cap_there_is_none() -> None:
    assert granted({"a": fleet(90), "b": fleet(90)}) == {"a": 90, "b": 90}


def test_a_higher_priority_is_served_first() -> None:
    fleets = {"low": fleet(6, current=1), "high": fleet(6, current=1, priority=10)}
    assert granted(fleets, gpus=8) == {"low": 2, "high": 6}


def test_everybody_has_his_minimum_before_anybody_has_more() -> None:
    fleets = {"low": fleet(6, least=3), "high": fleet(20, least=1, priority=10)}
    assert granted(fleets, gpus=10) == {"low": 3, "high": 7}


def test_where_not_all_minima_fit_the_higher_priorities_have_theirs() -> None:
    fleets = {"low": fleet(4, least=4), "high": fleet(4, least=4, priority=1)}
    assert granted(fleets, gpus=5) == {"low": 1, "high": 4}


def test_equals_share_alike() -> None:
    fleets = {"a": fleet(9), "b": fleet(9), "c": fleet(2)}
    assert granted(fleets, gpus=10) == {"a": 4, "b": 4, "c": 2}


def test_none_takes_a_running_replica_from_an_equal() -> None:
    fleets = {"a": fleet(10, current=2), "b": fleet(8, current=8)}
    assert granted(fleets, gpus=10) == {"a": 2, "b": 8}


def test_a_higher_priority_takes_running_replicas_from_a_lower_one_as_they_go() -> None:
    for still, now in ((8, 2), (6, 4), (4, 6)):
        fleets = {"low": fleet(8, current=still), "high": fleet(6, current=2, priority=1)}
        assert granted(fleets, gpus=10) == {"low": 4, "high": now}


def test_what_drains_is_in_use_until_its_scale_has_fallen() -> None:
    fleets = {"a": fleet(3, current=5), "b": fleet(5, current=3)}
    decisions, cuts = share(fleets, Budget(name="h100s", gpus=8))
    assert [(cut.fleet, cut.granted, cut.due) for cut in cuts] == [("b", 3, 5)]
    reason = decisions["b"].pools[0].reasons[-1]
    assert reason.message == (
        "5 replicas are wanted, h100s leaves 3, and 5 when others have drained"
    )
    assert granted({"a": fleet(3, current=4), "b": fleet(5, current=3)}, gpus=8)["b"] == 4
    assert granted({"a": fleet(3, current=3), "b": fleet(5, current=4)}, gpus=8)["b"] == 5


def test_what_costs_nothing_is_not_held_up_by_who_has_too_much() -> None:
    fleets = {"many": fleet(4, current=9, valid=False), "cpu": fleet(3, gpus=0.0)}
    assert granted(fleets, gpus=4) == {"many": 4, "cpu": 3}


def test_bigger_replicas_count_for_more_and_what_does_not_fit_leaves_room_for_what_does() -> None:
    fleets = {"big": fleet(3, gpus=8, current=0, priority=1), "small": fleet(5, current=0)}
    assert granted(fleets, gpus=20) == {"big": 2, "small": 4}


def test_power_is_a_budget_too() -> None:
    fleets = {"a": fleet(5, power_w=700.0), "b": fleet(5, power_w=400.0, priority=1)}
    assert granted(fleets, power_w=3500.0) == {"a": 2, "b": 5}
    assert granted(fleets, power_w=3500.0, gpus=6.0) == {"a": 1, "b": 5}


def test_what_cannot_be_acted_on_is_in_use() -> None:
    fleets = {"stuck": fleet(0, current=6, valid=False), "other": fleet(6, priority=5)}
    decisions, cuts = share(fleets, Budget(gpus=10))
    assert decisions["stuck"] is fleets["stuck"][1]
    assert [cut.fleet for cut in cuts] == ["other"]
    assert decisions["other"].pools[0].desired == 4


def test_who_is_cut_is_told_with_the_numbers() -> None:
    decisions, cuts = share({"a": fleet(9)}, Budget(name="h100s", gpus=4))
    assert [(cut.fleet, cut.pool, cut.wanted, cut.granted) for cut in cuts] == [("a", "main", 9, 4)]
    reason = decisions["a"].pools[0].reasons[-1]
    assert reason.code is ReasonCode.BUDGET
    assert reason.message == "9 replicas are wanted, h100s leaves 4"


fleets_of = st.dictionaries(
    st.text("abcdef", min_size=1, max_size=3),
    st.builds(
        lambda desired, current, least, gpus, priority: fleet(
            max(desired, least), current=current, least=least, gpus=gpus, priority=priority
        ),
        st.integers(0, 12),
        st.integers(0, 12),
        st.integers(0, 3),
        st.sampled_from([0.0, 0.5, 1.0, 2.0, 8.0]),
        st.integers(0, 2),
    ),
    max_size=5,
)


def used(fleets: Fleets, decisions: dict[str, ScalingDecision]) -> float:
    return sum(
        fleets[name][0].pools[0].gpus * decision.pools[0].desired
        for name, decision in decisions.items()
    )


@given(fleets_of, st.integers(0, 60))
def test_the_cap_is_kept_nobody_gains_and_nothing_affordable_is_left(
    fleets: Fleets, gpus: int
) -> None:
    decisions, cuts = share(fleets, Budget(gpus=float(gpus)))
    assert used(fleets, decisions) <= gpus + 1e-6
    later = {cut.fleet: cut.due for cut in cuts}
    for name, decision in decisions.items():
        assert 0 <= decision.pools[0].desired <= fleets[name][1].pools[0].desired
        later.setdefault(name, decision.pools[0].desired)
    costs = {name: fleets[name][0].pools[0].gpus for name in fleets}
    in_the_end = sum(costs[name] * count for name, count in later.items())
    now = in_use(fleets, decisions)
    for cut in cuts:
        assert cut.granted <= cut.due <= cut.wanted
        assert cut.granted < cut.wanted
        if cut.due < cut.wanted:
            assert in_the_end + costs[cut.fleet] > gpus + 1e-6
        else:
            assert now + costs[cut.fleet] > gpus + 1e-6


@given(fleets_of, st.integers(0, 60))
def test_nobody_grows_beyond_the_cap_while_anybody_has_yet_to_shrink(
    fleets: Fleets, gpus: int
) -> None:
    decisions, _ = share(fleets, Budget(gpus=float(gpus)))
    before = sum(spec.pools[0].gpus * one.pools[0].current for spec, one in fleets.values())
    assert in_use(fleets, decisions) <= max(gpus, before) + 1e-6


@given(fleets_of, st.integers(0, 60))
def test_when_all_who_are_to_shrink_have_everybody_has_what_was_due(
    fleets: Fleets, gpus: int
) -> None:
    _, cuts = share(fleets, Budget(gpus=float(gpus)))
    due = {cut.fleet: cut.due for cut in cuts}
    for _ in range(2):
        decisions, _ = share(fleets, Budget(gpus=float(gpus)))
        fleets = {name: then(fleets[name], decision) for name, decision in decisions.items()}
    for name, (_, decision) in fleets.items():
        assert decision.pools[0].current == due.get(name, decision.pools[0].desired)


def then(
    fleet: tuple[ScalingSpec, ScalingDecision], given: ScalingDecision
) -> tuple[ScalingSpec, ScalingDecision]:
    """A fleet that has what it was given, and wants what it wanted."""
    (pool,) = fleet[1].pools
    has = msgspec.structs.replace(pool, current=given.pools[0].desired)
    return fleet[0], msgspec.structs.replace(fleet[1], pools=(has,))


def in_use(fleets: Fleets, decisions: dict[str, ScalingDecision]) -> float:
    """What is used while those who shrink have not yet."""
    return sum(
        fleets[name][0].pools[0].gpus * max(decision.pools[0].current, decision.pools[0].desired)
        for name, decision in decisions.items()
    )


@given(fleets_of, st.integers(0, 60))
def test_of_like_replicas_a_lower_priority_has_none_to_spare_while_a_higher_one_is_cut(
    fleets: Fleets, gpus: int
) -> None:
    alike: Fleets = {
        name: fleet(
            decision.pools[0].desired,
            current=decision.pools[0].current,
            least=spec.pools[0].min_replicas,
            priority=spec.priority,
        )
        for name, (spec, decision) in fleets.items()
    }
    decisions, cuts = share(alike, Budget(gpus=float(gpus)))
    for cut in (cut for cut in cuts if cut.due < cut.wanted):
        for name, decision in decisions.items():
            other = alike[name][0]
            if other.priority < alike[cut.fleet][0].priority:
                assert decision.pools[0].desired <= other.pools[0].min_replicas


@given(fleets_of, st.integers(0, 60))
def test_the_order_of_fleets_does_not_matter(fleets: Fleets, gpus: int) -> None:
    backwards = dict(reversed(fleets.items()))
    assert share(fleets, Budget(gpus=gpus)) == share(backwards, Budget(gpus=gpus))
