"""Concurrency, by Knative's windows: sixty seconds decide, six may panic, a panic only grows."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling import windows
from cardan.scaling.decision import ReasonCode
from cardan.scaling.policies import Concurrency
from cardan.scaling.windows import PolicyMemory

from tests.core.scaling.observed import T0
from tests.core.scaling.shown import demand, loads, view

if TYPE_CHECKING:
    from cardan.scaling.decision import Recommendation
    from cardan.scaling.view import RoleView

POLICY = Concurrency(target=10.0, utilisation=1.0)


class Watch:
    """A fleet that is looked at every two seconds."""

    def __init__(self, ready: int, policy: Concurrency = POLICY) -> None:
        self.now, self.ready, self.policy = T0, ready, policy
        self.memory = PolicyMemory()

    def see(self, in_flight: float | None, seconds: float, held: float | None = 0.0) -> None:
        """So many requests in flight, for so long."""
        for _ in range(int(seconds / 2)):
            self.now = WallTime(self.now + 2)
            self.memory = self.policy.remember(Role.BOTH, self._view(in_flight, held), self.now)
            self.last = in_flight, held

    def told(self) -> Recommendation:
        """What is recommended now."""
        return self.policy.recommend(Role.BOTH, self._view(*self.last), self.now)

    def _view(self, in_flight: float | None, held: float | None) -> RoleView:
        each = None if in_flight is None else in_flight / self.ready
        return view(
            demand(held=held),
            endpoints=loads(*[each] * self.ready),
            memory=self.memory,
            at=self.now,
        )


def test_desired_is_the_stable_mean_over_the_target() -> None:
    watch = Watch(ready=3)
    watch.see(20.0, 30)
    watch.see(40.0, 30)
    assert watch.told().replicas == pytest.approx(3.0)
    assert watch.told().reason.code is ReasonCode.CONCURRENCY


def test_requests_that_wait_in_gateways_count() -> None:
    watch = Watch(ready=3)
    watch.see(20.0, 60, held=10.0)
    assert watch.told().replicas == pytest.approx(3.0)


def test_utilisation_leaves_room() -> None:
    watch = Watch(ready=2, policy=Concurrency(target=10.0, utilisation=0.5))
    watch.see(10.0, 60)
    assert watch.told().replicas == pytest.approx(2.0)


def test_a_burst_that_asks_for_twice_what_is_ready_panics_at_once() -> None:
    watch = Watch(ready=2)
    watch.see(10.0, 60)
    watch.see(39.0, 6)  # 3.9 replicas: not yet twice two
    assert watch.told().reason.code is ReasonCode.CONCURRENCY
    watch.see(60.0, 6)
    told = watch.told()
    assert told.reason.code is ReasonCode.PANIC
    assert told.replicas == pytest.approx(6.0)


def test_a_panic_grows_only_and_ends_after_a_stable_window_without_one() -> None:
    watch = Watch(ready=2)
    watch.see(10.0, 60)
    watch.see(60.0, 6)
    watch.see(10.0, 50)
    assert watch.told().replicas == pytest.approx(6.0)
    watch.see(10.0, 12)
    assert watch.told().reason.code is ReasonCode.CONCURRENCY
    assert watch.told().replicas == pytest.approx(1.0, abs=0.2)


def test_a_new_leader_without_a_window_may_raise_and_not_lower() -> None:
    watch = Watch(ready=2)
    watch.see(5.0, 2)
    assert watch.told().lacking == ("stable_window",)
    watch.see(5.0, 60)
    assert watch.told().lacking == ()


def test_an_endpoint_that_says_nothing_leaves_the_whole_unknown() -> None:
    watch = Watch(ready=2)
    watch.see(10.0, 60)
    watch.see(None, 2)
    assert watch.told().lacking == ("in_flight",)
    assert watch.told().replicas == pytest.approx(1.0)  # what was known, which may only raise


def test_what_is_persisted_of_a_calm_fleet_is_nothing() -> None:
    watch = Watch(ready=2)
    watch.see(10.0, 120)
    assert watch.memory.kept() == PolicyMemory()
    assert msgspec.json.encode(watch.memory.kept()) == b"{}"


def test_a_panic_outlives_a_restart() -> None:
    watch = Watch(ready=2)
    watch.see(60.0, 6)
    watch.memory = watch.memory.kept()
    watch.see(10.0, 2)
    assert watch.told().replicas == pytest.approx(6.0)


def test_windows_keep_what_they_need_and_no_more() -> None:
    samples: tuple[windows.Sample, ...] = ()
    for second in range(1000):
        samples = windows.note(samples, float(second), WallTime(float(second)), 60.0)
    assert len(samples) == 61
    assert windows.mean(samples, WallTime(999.0), 10.0) == pytest.approx(994.5)
    assert windows.mean((), WallTime(999.0), 10.0) is None
    assert not windows.covers((), WallTime(999.0), 10.0)
