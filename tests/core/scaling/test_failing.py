"""Engines that are up but wrong: told from common trouble, cordoned, restarted sparingly."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode
from cardan.scaling.failing import (
    RETRY_S,
    FailingActions,
    FailingMemory,
    Fault,
    step,
)
from cardan.scaling.spec import FailureSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.scaling.observed import T0, load, seen

if TYPE_CHECKING:
    from cardan.scaling.observation import EndpointLoad, Observation

SPEC = FailureSpec(after_s=60.0, max_restarts=2, interval_s=3600.0)


def well(name: str, at: float, **changes: float | None) -> EndpointLoad:
    """An engine that works."""
    numbers: dict[str, float | None] = {
        "in_flight": 4.0,
        "output_tokens_per_s": 500.0,
        "requests_per_s": 2.0,
        "failures_per_s": 0.0,
    }
    return load(name, at, **{**numbers, **changes})  # type: ignore[arg-type]  # floats all


def silent(name: str, at: float) -> EndpointLoad:
    """An engine with work that makes no tokens."""
    return well(name, at, output_tokens_per_s=0.0)


def erring(name: str, at: float) -> EndpointLoad:
    """An engine most of whose answers are errors."""
    return well(name, at, requests_per_s=2.0, failures_per_s=1.5)


class Watch:
    """A fleet looked at again and again."""

    def __init__(self, spec: FailureSpec = SPEC, roles: dict[str, Role] | None = None) -> None:
        self.spec = spec
        self.roles = roles
        self.memory = FailingMemory()
        self.now = float(T0)
        self.said: list[ReasonCode] = []
        self.deleted: list[str] = []

    def look(self, *endpoints: EndpointLoad, ending: tuple[str, ...] = ()) -> FailingActions:
        """One tick."""
        return self.see(seen(endpoints, self.now, ending=ending))

    def see(self, observation: Observation) -> FailingActions:
        """One tick."""
        actions, self.memory, notes = step(
            self.spec, observation, self.memory, WallTime(self.now), roles=self.roles
        )
        self.said += [note.code for note in notes]
        self.deleted += actions.restart
        return actions

    def for_s(self, seconds: float, *fleet: str) -> FailingActions:
        """Ticks of 10 s over a fleet such as `a:well b:silent`."""
        actions = self.look(*self.make(fleet))
        for _ in range(int(seconds / 10)):
            self.now += 10.0
            actions = self.look(*self.make(fleet))
        return actions

    def make(self, fleet: tuple[str, ...]) -> list[EndpointLoad]:
        """The engines of this moment."""
        kinds = {"well": well, "silent": silent, "erring": erring}
        pairs = (word.split(":") for word in fleet)
        return [kinds[kind](name, self.now) for name, kind in pairs]


FLEET = ("a:well", "b:well", "c:well")


class TestFaults:
    """What counts as wrong, and after how long."""

    @pytest.mark.parametrize("kind", ["silent", "erring"])
    def test_an_engine_that_stays_wrong_is_cordoned(self, kind: str) -> None:
        watch = Watch()
        assert not watch.for_s(50, f"a:{kind}", *FLEET[1:]).cordoned
        assert watch.for_s(20, f"a:{kind}", *FLEET[1:]).cordoned == ("a",)
        assert watch.said == [ReasonCode.CORDONED]

    def test_one_that_recovers_in_time_is_not(self) -> None:
        watch = Watch()
        watch.for_s(50, "a:silent", *FLEET[1:])
        watch.for_s(10, *FLEET)
        assert not watch.for_s(50, "a:silent", *FLEET[1:]).cordoned
        assert not watch.said

    def test_without_work_silence_is_no_fault(self) -> None:
        watch = Watch()
        for _ in range(30):
            watch.now += 10
            idle = well("a", watch.now, in_flight=0.0, output_tokens_per_s=0.0)
            assert not watch.look(idle, *watch.make(FLEET[1:])).cordoned

    def test_what_is_not_known_is_no_fault(self) -> None:
        watch = Watch()
        for _ in range(30):
            watch.now += 10
            dark = well("a", watch.now, output_tokens_per_s=None, failures_per_s=None)
            assert not watch.look(dark, *watch.make(FLEET[1:])).cordoned

    def test_where_nobody_makes_tokens_silence_is_no_fault(self) -> None:
        watch = Watch()
        idle = [load(name, in_flight=0.0, output_tokens_per_s=0.0) for name in "bc"]
        for _ in range(30):
            watch.now += 10
            assert not watch.look(silent("a", watch.now), *idle).cordoned
        assert not watch.memory.engines

    def test_an_engine_that_only_prefills_is_not_judged_by_tokens(self) -> None:
        watch = Watch(roles={"main": Role.PREFILL})
        assert not watch.for_s(600, "a:silent", *FLEET[1:]).cordoned
        assert watch.for_s(600, "a:erring", *FLEET[1:]).cordoned

    def test_two_failures_are_chance(self) -> None:
        watch = Watch()
        for _ in range(30):
            watch.now += 10
            unlucky = well("a", watch.now, requests_per_s=0.07, failures_per_s=0.066)
            assert not watch.look(unlucky, *watch.make(FLEET[1:])).cordoned

    def test_a_new_engine_has_time_to_warm_up(self) -> None:
        watch = Watch()
        for age_s in range(0, 60, 10):
            watch.now += 10
            young = msgspec.structs.replace(silent("a", watch.now), age_s=float(age_s))
            watch.look(young, *watch.make(FLEET[1:]))
        assert not watch.memory.engines


class TestRestarts:
    """A cordoned engine's pod is deleted, within a budget."""

    def test_it_gets_as_long_again_to_come_to_itself(self) -> None:
        watch = Watch()
        watch.for_s(110, "a:silent", *FLEET[1:])
        assert not watch.deleted
        actions = watch.for_s(20, "a:silent", *FLEET[1:])
        assert watch.deleted == ["a"]
        assert actions.cordoned == ("a",)

    def test_one_that_makes_tokens_again_is_let_in(self) -> None:
        watch = Watch()
        watch.for_s(70, "a:silent", *FLEET[1:])
        assert not watch.for_s(0, *FLEET).cordoned
        assert watch.said == [ReasonCode.CORDONED, ReasonCode.HEALED]

    def test_a_token_from_before_the_cordon_heals_nothing(self) -> None:
        watch = Watch()
        watch.for_s(70, "a:silent", *FLEET[1:])
        old = well("a", watch.now - 60)
        assert watch.look(old, *watch.make(FLEET[1:])).cordoned == ("a",)

    def test_errors_are_not_healed_by_tokens(self) -> None:
        watch = Watch()
        watch.for_s(70, "a:erring", *FLEET[1:])
        watch.now += 10
        assert watch.for_s(0, *FLEET).cordoned == ("a",)

    def test_its_successor_under_another_name_is_nobody_special(self) -> None:
        watch = Watch()
        watch.for_s(130, "a:silent", *FLEET[1:])
        assert not watch.for_s(10, "d:well", *FLEET[1:]).cordoned
        assert not watch.memory.engines
        assert len(watch.memory.restarts) == 1

    def test_its_successor_under_the_same_name_is_let_in(self) -> None:
        watch = Watch()
        watch.for_s(130, "a:silent", *FLEET[1:])
        watch.now += 30
        young = msgspec.structs.replace(well("a", watch.now), age_s=5.0, ready=False)
        assert not watch.look(young, *watch.make(FLEET[1:])).cordoned
        assert watch.said[-1] is ReasonCode.HEALED

    def test_a_deletion_without_effect_is_tried_again_within_the_budget(self) -> None:
        watch = Watch()
        watch.for_s(130 + 3 * RETRY_S, "a:silent", *FLEET[1:])
        assert watch.deleted == ["a", "a"]
        assert ReasonCode.RESTARTS_LIMITED in watch.said

    def test_out_of_budget_it_stays_out_until_there_is_one(self) -> None:
        watch = Watch(FailureSpec(max_restarts=1, interval_s=1000.0))
        watch.for_s(130, "a:silent", *FLEET[1:])
        assert watch.for_s(200, "d:silent", *FLEET[1:]).cordoned == ("d",)
        assert watch.deleted == ["a"]
        watch.for_s(900, "d:silent", *FLEET[1:])
        assert watch.deleted == ["a", "d"]

    def test_where_none_may_be_restarted_it_is_tried_again_after_the_interval(self) -> None:
        watch = Watch(FailureSpec(max_restarts=0, interval_s=600.0))
        watch.for_s(70, "a:erring", *FLEET[1:])
        assert watch.for_s(500, *FLEET).cordoned == ("a",)
        assert not watch.for_s(100, *FLEET).cordoned
        assert not watch.deleted

    def test_the_ranks_of_a_pod_are_one_engine(self) -> None:
        watch = Watch()
        others = ("b:8000:well", "b:8001:well", "c:8000:well", "c:8001:well")

        def ranks(*words: str) -> list[EndpointLoad]:
            return [
                (silent if kind == "silent" else well)(f"{pod}:{port}", watch.now)
                for pod, port, kind in (word.split(":") for word in words)
            ]

        actions = FailingActions()
        for _ in range(14):
            watch.now += 10
            actions = watch.look(*ranks("a:8000:silent", "a:8001:silent", *others))
        assert actions.cordoned == ("a:8000", "a:8001")
        assert watch.deleted == ["a"]


class TestTogether:
    """What many show is nobody's own fault, and the last one is left alone."""

    @pytest.mark.parametrize("kind", ["silent", "erring"])
    def test_when_most_are_wrong_nobody_is_touched(self, kind: str) -> None:
        watch = Watch()
        assert not watch.for_s(600, f"a:{kind}", f"b:{kind}", "c:well").cordoned
        assert not watch.deleted
        assert set(watch.said) == {ReasonCode.ALL_FAILING}

    def test_the_only_one_is_left_alone_and_that_is_said(self) -> None:
        watch = Watch()
        assert not watch.for_s(600, "a:erring").cordoned
        assert set(watch.said) == {ReasonCode.LAST_SERVING}

    def test_one_of_two_may_be_restarted(self) -> None:
        watch = Watch()
        watch.for_s(150, "a:silent", "b:well")
        assert watch.deleted == ["a"]

    def test_cordons_stop_where_half_are_out(self) -> None:
        watch = Watch(FailureSpec(max_restarts=0))
        watch.for_s(70, "a:erring", "b:well", "c:well", "d:well")
        watch.for_s(70, "a:erring", "b:erring", "c:well", "d:well")
        actions = watch.for_s(300, "a:erring", "b:erring", "c:erring", "d:well")
        assert actions.cordoned == ("a", "b")
        assert watch.said[-1] is ReasonCode.ALL_FAILING

    def test_roles_are_judged_apart(self) -> None:
        watch = Watch(roles={"p": Role.PREFILL, "d": Role.DECODE})

        def fleet() -> list[EndpointLoad]:
            names = [("p1", "p", erring), ("p2", "p", well), ("d1", "d", well)]
            return [
                msgspec.structs.replace(make(name, watch.now), pool=pool)
                for name, pool, make in names
            ]

        actions = FailingActions()
        for _ in range(8):
            actions = watch.look(*fleet())
            watch.now += 10
        assert actions.cordoned == ("p1",)

    def test_one_that_terminates_is_not_looked_at(self) -> None:
        watch = Watch()
        for _ in range(30):
            watch.now += 10
            assert not watch.look(*watch.make(("a:silent", *FLEET[1:])), ending=("a",)).cordoned


def test_a_suspicion_is_not_worth_a_write_a_cordon_is() -> None:
    watch = Watch()
    watch.for_s(30, "a:silent", *FLEET[1:])
    assert watch.memory.engines
    assert watch.memory.kept() == FailingMemory()
    watch.for_s(40, "a:silent", *FLEET[1:])
    assert watch.memory.kept() == watch.memory


def test_switched_off_it_forgets_everything() -> None:
    watch = Watch()
    watch.for_s(70, "a:silent", *FLEET[1:])
    watch.spec = FailureSpec(enabled=False)
    assert watch.for_s(0, "a:silent", *FLEET[1:]) == FailingActions()
    assert watch.memory == FailingMemory()


kinds = st.sampled_from(["well", "silent", "erring", "gone"])
histories = st.lists(
    st.tuples(st.integers(1, 40), st.lists(kinds, min_size=5, max_size=5)), min_size=1, max_size=8
)


@given(histories, st.integers(0, 3), st.sampled_from([0.0, 30.0, 60.0]))
@settings(max_examples=50, deadline=None)
def test_whatever_happens_half_stay_and_restarts_keep_to_their_budget(
    history: list[tuple[int, list[str]]], max_restarts: int, after_s: float
) -> None:
    spec = FailureSpec(after_s=after_s, max_restarts=max_restarts, interval_s=500.0)
    watch = Watch(spec)
    restarted: list[float] = []
    for ticks, states in history:
        fleet = tuple(
            f"{name}:{kind}" for name, kind in zip("abcde", states, strict=True) if kind != "gone"
        )
        for _ in range(ticks):
            watch.now += 10.0
            before = watch.memory
            actions = watch.look(*watch.make(fleet))
            new = set(actions.cordoned) - {e.pod for e in before.engines if e.cordoned_at}
            assert not new or 2 * len(actions.cordoned) <= len(fleet)
            restarted += [watch.now] * len(actions.restart)
            recent = [at for at in restarted if watch.now - at < spec.interval_s]
            assert len(recent) <= max_restarts
            assert set(actions.restart) <= set(actions.cordoned)
            wire = msgspec.json.decode(msgspec.json.encode(watch.memory), type=FailingMemory)
            assert wire == watch.memory


@given(st.lists(kinds.filter(lambda kind: kind != "gone"), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_what_does_not_change_is_cordoned_once_or_never(states: list[str]) -> None:
    watch = Watch()
    fleet = tuple(f"{number}:{kind}" for number, kind in enumerate(states))
    held = [watch.for_s(10, *fleet).cordoned for _ in range(50)]
    changes = sum(one != two for one, two in pairwise(held))
    assert changes <= 1
    assert len(set(states)) > 1 or not held[-1]
    assert {e.fault for e in watch.memory.engines} <= set(Fault)


def test_a_fleet_that_is_well_leaves_no_trace() -> None:
    watch = Watch()
    watch.for_s(3600, *FLEET)
    assert msgspec.json.encode(watch.memory) == b"{}"
