"""A fleet sleeps only when it is known that nobody asks, and wakes at once when somebody does."""

from __future__ import annotations

import msgspec
import pytest
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling import zero
from cardan.scaling.decision import ReasonCode
from cardan.scaling.memory import ZeroMemory
from cardan.scaling.observation import MISSING, Observation
from cardan.scaling.spec import PoolSpec, ScalingSpec, ZeroSpec
from cardan.scaling.zero import Call

from tests.core.scaling.serving import START, demand, pool, serving

IDLE_S = 600.0
SPEC = ScalingSpec(
    pools=(PoolSpec(name="main", min_replicas=0),), zero=ZeroSpec(idle_s=IDLE_S, hold_s=300.0)
)


def seen(
    at: float,
    rate: float = 0.0,
    *,
    replicas: int = 1,
    ready: int | None = None,
    held: float = 0.0,
    in_flight: float = 0.0,
    wake_requested_at: float | None = None,
) -> Observation:
    return serving(
        demand(rate, at, held=held),
        {"main": pool(replicas, ready=ready)},
        at,
        in_flight=in_flight,
        wake_requested_at=wake_requested_at,
    )


class Fleet:
    """Watches a fleet every 15 s; `after` seconds from the start."""

    def __init__(self) -> None:
        self.memory = ZeroMemory()
        self.after = 0.0

    def look(self, observation: Observation) -> Call:
        now = observation.at
        self.memory = zero.watched(self.memory, SPEC, observation, now)
        sleep = zero.call(self.memory, SPEC, observation, now)
        self.memory = zero.after(self.memory, sleep, observation)
        self.after = now - START + 15
        return sleep.call

    def quiet(self, seconds: float) -> list[Call]:
        return [self.look(seen(START + self.after)) for _ in range(int(seconds / 15))]


def test_it_sleeps_when_nobody_has_asked_for_the_whole_time() -> None:
    fleet = Fleet()
    assert set(fleet.quiet(IDLE_S)) == {Call.SERVE}
    assert fleet.quiet(15) == [Call.SLEEP]


@pytest.mark.parametrize(
    ("rate", "held", "in_flight"), [(0.01, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]
)
def test_any_sign_of_use_starts_the_time_again(rate: float, held: float, in_flight: float) -> None:
    fleet = Fleet()
    fleet.quiet(IDLE_S - 15)
    used = seen(START + fleet.after, rate, held=held, in_flight=in_flight)
    assert fleet.look(used) is Call.SERVE
    assert set(fleet.quiet(IDLE_S)) == {Call.SERVE}
    assert fleet.quiet(15) == [Call.SLEEP]


def without_rate(observation: Observation) -> Observation:
    asked = msgspec.structs.replace(observation.demand, requests_per_s=MISSING)
    return msgspec.structs.replace(observation, demand=asked)


def test_a_gap_that_the_next_rate_covers_is_no_use() -> None:
    fleet = Fleet()
    fleet.quiet(IDLE_S - 15)
    fleet.look(without_rate(seen(START + fleet.after)))
    fleet.look(without_rate(seen(START + fleet.after)))
    assert fleet.quiet(15) == [Call.SLEEP]


def test_what_is_not_known_for_longer_starts_the_time_again() -> None:
    fleet = Fleet()
    fleet.quiet(IDLE_S)
    for _ in range(4):
        assert fleet.look(without_rate(seen(START + fleet.after))) is Call.SERVE
    assert set(fleet.quiet(IDLE_S)) == {Call.SERVE}


def test_requests_that_are_not_known_to_have_ended_keep_it_awake() -> None:
    observation = seen(START)
    loads = tuple(
        msgspec.structs.replace(load, in_flight=MISSING) for load in observation.endpoints
    )
    assert zero.is_quiet(msgspec.structs.replace(observation, endpoints=loads)) is None
    unready = tuple(msgspec.structs.replace(load, ready=False) for load in loads)
    assert zero.is_quiet(msgspec.structs.replace(observation, endpoints=unready)) is True


def test_time_in_which_it_could_not_serve_does_not_count() -> None:
    fleet = Fleet()
    for _ in range(100):
        assert fleet.look(seen(START + fleet.after, ready=0)) is Call.SERVE
    assert set(fleet.quiet(IDLE_S)) == {Call.SERVE}
    assert fleet.quiet(15) == [Call.SLEEP]


def asleep() -> Fleet:
    fleet = Fleet()
    fleet.quiet(IDLE_S + 15)
    assert fleet.memory.slept_at is not None
    return fleet


def test_a_push_wakes_it_once() -> None:
    fleet = asleep()
    at = START + fleet.after
    assert fleet.look(seen(at, replicas=0)) is Call.SLEEP
    assert fleet.look(seen(at + 1, replicas=0, wake_requested_at=at + 0.5)) is Call.WAKE
    assert fleet.look(seen(at + 2, replicas=1, ready=0, wake_requested_at=at + 0.5)) is Call.SERVE


def test_a_push_from_before_it_slept_or_whose_request_has_gone_wakes_nobody() -> None:
    fleet = asleep()
    slept_at = fleet.memory.slept_at
    assert slept_at is not None
    assert fleet.look(seen(slept_at + 60, replicas=0, wake_requested_at=slept_at)) is Call.SLEEP
    late = seen(slept_at + 400, replicas=0, wake_requested_at=slept_at + 60)
    assert fleet.look(late) is Call.SLEEP


def test_without_a_push_held_requests_and_refused_ones_wake_it() -> None:
    for rate, held in ((0.0, 2.0), (0.5, 0.0)):
        fleet = asleep()
        assert fleet.look(seen(START + fleet.after, rate, replicas=0, held=held)) is Call.WAKE


def test_metrics_that_fail_neither_wake_it_nor_put_it_to_sleep() -> None:
    fleet = asleep()
    assert fleet.look(without_rate(seen(START + fleet.after, replicas=0))) is Call.SLEEP
    awake = Fleet()
    for _ in range(100):
        assert awake.look(without_rate(seen(START + awake.after))) is Call.SERVE


def test_a_fleet_with_a_minimum_and_one_without_idle_time_never_sleep() -> None:
    assert not zero.may_sleep(ScalingSpec(pools=SPEC.pools))
    floor = msgspec.structs.replace(SPEC, pools=(PoolSpec(name="main", min_replicas=1),))
    assert not zero.may_sleep(floor)
    assert zero.call(ZeroMemory(), floor, seen(START, replicas=0), START).call is Call.SERVE


def test_both_roles_sleep_together_and_a_half_empty_fleet_is_not_asleep() -> None:
    roles = (
        PoolSpec(name="p", role=Role.PREFILL, min_replicas=0),
        PoolSpec(name="d", role=Role.DECODE, min_replicas=0),
    )
    spec = msgspec.structs.replace(SPEC, pools=roles)
    half = serving(demand(0.0), {"p": pool(0), "d": pool(1)})
    assert not zero.is_empty(spec, half)
    assert zero.watched(ZeroMemory(), spec, half, START).quiet_since is None
    whole = serving(demand(0.0), {"p": pool(1), "d": pool(1)}, in_flight=0.0)
    assert zero.watched(ZeroMemory(), spec, whole, START).quiet_since == START


def test_a_pool_that_cannot_be_read_is_not_empty() -> None:
    assert not zero.is_empty(SPEC, serving(demand(0.0), {"main": pool(0, error="gone")}))
    assert not zero.is_empty(SPEC, serving(demand(0.0), {}))


def test_sleep_is_remembered_at_the_time_of_what_was_known() -> None:
    # A push that came while the decision was made is younger than what it was made from.
    memory = ZeroMemory(quiet_since=WallTime(START - IDLE_S))
    observation = seen(START)
    sleep = zero.call(memory, SPEC, observation, WallTime(START + 0.2))
    slept = zero.after(memory, sleep, observation)
    assert slept.slept_at == START
    woken = zero.call(
        slept, SPEC, seen(START + 1, replicas=0, wake_requested_at=START + 0.1), WallTime(START + 1)
    )
    assert woken.call is Call.WAKE
    assert woken.reason is not None
    assert woken.reason.code is ReasonCode.WAKE


def test_only_when_it_slept_is_persisted() -> None:
    memory = ZeroMemory(slept_at=START, quiet_since=START, blind_since=START)
    assert memory.kept() == ZeroMemory(slept_at=START)


def test_a_sleep_of_a_clock_that_is_ahead_keeps_nobody_from_waking() -> None:
    ahead = ZeroMemory(slept_at=WallTime(START + 90))  # written by who led before
    pushed = seen(START + 10, replicas=0, wake_requested_at=START + 9)
    assert zero.call(ahead, SPEC, pushed, pushed.at).call is Call.WAKE
    same = ZeroMemory(slept_at=WallTime(START + 9.5))
    assert zero.call(same, SPEC, pushed, pushed.at).call is Call.SLEEP
