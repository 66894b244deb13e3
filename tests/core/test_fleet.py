"""The fleet: who exists, who may be asked, and what survives a change of membership."""

from __future__ import annotations

import pytest
from cardan.endpoint import Endpoint, EndpointId, EngineKind, Role
from cardan.fleet import EndpointState, Fleet, FleetConfig, Pool
from cardan.health import HealthConfig
from cardan.instants import Monotonic
from cardan.metrics import STALE_AFTER_S, EngineMetrics

from tests.fakes.draining import drain

T0 = Monotonic(100.0)


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


def endpoint(name: str, *, weight: float = 1.0, port: int = 1, **kinds: object) -> Endpoint:
    """An endpoint that serves the model `m`."""
    role = kinds.get("role", Role.BOTH)
    assert isinstance(role, Role)
    return Endpoint(
        url=f"http://127.0.0.1:{port}", name=name, models=("m",), weight=weight, role=role
    )


def fleet_of(*names: str, config: FleetConfig | None = None) -> Fleet:
    """A fleet of equal endpoints, there from the start."""
    fleet = Fleet(config)
    fleet.update([endpoint(name) for name in names], T0)
    return fleet


def state_of(fleet: Fleet, name: str) -> EndpointState:
    """The state of an endpoint."""
    return fleet.endpoints[EndpointId(name)]


def pool_of(fleet: Fleet, now: Monotonic = T0) -> Pool:
    """The pool of the model `m`."""
    pool = fleet.pool("m", now)
    assert pool is not None
    return pool


def routable(fleet: Fleet, now: Monotonic = T0) -> list[str]:
    """The names of those that may be asked."""
    return [str(state.id) for state in pool_of(fleet, now).routable]


def eject(fleet: Fleet, name: str, now: Monotonic = T0) -> None:
    """Soft evidence against an endpoint."""
    for _ in range(3):
        state_of(fleet, name).health.probe_failed(now)
    fleet.touch()


class TestMembership:
    """What discovery says becomes the fleet, exactly."""

    def test_endpoints_are_known_by_name_in_order_whatever_order_they_came_in(self) -> None:
        assert routable(fleet_of("b", "a", "c")) == ["a", "b", "c"]

    def test_an_endpoint_without_a_name_is_known_by_its_url(self) -> None:
        fleet = Fleet()
        fleet.update([Endpoint(url="http://10.0.0.1:8000", models=("m",))], T0)
        assert routable(fleet) == ["http://10.0.0.1:8000"]

    def test_who_stays_keeps_what_is_known_of_it(self) -> None:
        fleet = fleet_of("a", "b")
        kept = state_of(fleet, "a")
        kept.shadow.insert((1, 2, 3))
        gone = fleet.update([endpoint("a"), endpoint("c")], T0)
        assert state_of(fleet, "a") is kept
        assert [str(state.id) for state in gone] == ["b"]
        assert routable(fleet) == ["a", "c"]

    def test_a_new_weight_is_not_a_new_engine(self) -> None:
        fleet = fleet_of("a", "b")
        kept, version = state_of(fleet, "a"), pool_of(fleet).version
        kept.shadow.insert((1, 2, 3))
        assert fleet.update([endpoint("a", weight=2.5), endpoint("b")], T0) == []
        assert state_of(fleet, "a") is kept
        assert (kept.weight, len(kept.shadow)) == (2.5, 3)
        assert pool_of(fleet).version != version

    def test_new_models_are_served_and_none_named_leaves_what_the_engine_told(self) -> None:
        fleet = fleet_of("a")
        kept = state_of(fleet, "a")
        both = Endpoint(url="http://127.0.0.1:1", name="a", models=("m", "adapter"))
        fleet.update([both], T0)
        assert state_of(fleet, "a") is kept
        assert kept.models == {"m", "adapter"}
        fleet.update([Endpoint(url="http://127.0.0.1:1", name="a")], T0)
        assert kept.models == {"m", "adapter"}

    def test_the_same_name_at_another_url_is_another_engine_with_an_empty_cache(self) -> None:
        fleet = fleet_of("a")
        old = state_of(fleet, "a")
        old.shadow.insert((1, 2, 3))
        gone = fleet.update([endpoint("a", port=2)], T0)
        assert gone == [old]
        assert len(state_of(fleet, "a").shadow) == 0

    def test_a_fleet_may_be_empty(self) -> None:
        fleet = fleet_of("a")
        fleet.update([], T0)
        assert fleet.pool("m", T0) is None
        assert fleet.models() == []


class TestPools:
    """Who may be asked for a model."""

    def test_only_who_serves_the_model_is_in_its_pool(self) -> None:
        fleet = fleet_of("a", "b")
        fleet.introspected(state_of(fleet, "b"), ["other", "m"], EngineKind.SGLANG)
        fleet.introspected(state_of(fleet, "a"), ["only"], EngineKind.VLLM)
        assert routable(fleet) == ["b"]
        assert fleet.models() == ["m", "only", "other"]
        assert fleet.pool("nobody", T0) is None

    def test_endpoints_of_one_role_only_wait_for_a_policy_that_pairs_them(self) -> None:
        fleet = Fleet()
        fleet.update([endpoint("a", role=Role.PREFILL), endpoint("b")], T0)
        assert routable(fleet) == ["b"]

    def test_a_pool_is_the_same_object_until_something_changes(self) -> None:
        fleet = fleet_of("a", "b")
        pool = pool_of(fleet)
        assert pool_of(fleet, after(100)) is pool
        fleet.introspected(state_of(fleet, "a"), ["m"], EngineKind.AUTO)  # nothing new
        assert pool_of(fleet) is pool
        fleet.touch()
        assert pool_of(fleet).version != pool.version

    def test_who_drains_gets_nothing_new_but_is_known_to_be_warm(self) -> None:
        fleet = fleet_of("a", "b")
        drain(fleet, EndpointId("a"))
        pool = pool_of(fleet)
        assert (routable(fleet), [str(state.id) for state in pool.draining]) == (["b"], ["a"])
        drain(fleet, EndpointId("a"), draining=False)
        assert routable(fleet) == ["a", "b"]

    def test_a_fleet_that_drains_as_a_whole_still_serves(self) -> None:
        fleet = fleet_of("a", "b")
        for name in ("a", "b"):
            drain(fleet, EndpointId(name))
        assert routable(fleet) == ["a", "b"]
        assert pool_of(fleet).draining == []

    def test_a_draining_endpoint_that_is_unwell_is_not_offered_as_warm(self) -> None:
        fleet = fleet_of("a", "b")
        drain(fleet, EndpointId("a"))
        eject(fleet, "a")
        assert pool_of(fleet).draining == []


class TestHealth:
    """How health shrinks a pool, and how far it may."""

    def test_a_soft_ejection_ends_with_its_back_off_without_anyone_touching_the_fleet(self) -> None:
        fleet = fleet_of("a", "b", "c")
        for _ in range(3):
            state_of(fleet, "a").health.request_failed(T0)
        fleet.touch()
        assert routable(fleet) == ["b", "c"]
        until = state_of(fleet, "a").health.ejected_until
        assert routable(fleet, Monotonic(until - 0.001)) == ["b", "c"]
        assert routable(fleet, Monotonic(until)) == ["a", "b", "c"]

    @pytest.mark.parametrize(("n", "left"), [(1, 1), (2, 1), (3, 2), (4, 2), (8, 4)])
    def test_a_probe_that_is_wrong_about_everybody_leaves_half_the_fleet(
        self, n: int, left: int
    ) -> None:
        names = [f"e{index}" for index in range(n)]
        fleet = fleet_of(*names)
        for name in names:
            eject(fleet, name)
        assert len(routable(fleet)) == left

    def test_of_the_ejected_those_return_first_that_have_waited_longest(self) -> None:
        fleet = fleet_of("a", "b", "c", "d")
        for delay, name in enumerate(["c", "a", "d", "b"]):
            eject(fleet, name, after(delay / 100))
        assert routable(fleet, after(0.05)) == ["a", "c"]

    def test_who_cannot_be_reached_is_not_topped_up_while_others_are_there(self) -> None:
        fleet = fleet_of("a", "b", "c")
        for name in ("a", "b"):
            state_of(fleet, name).health.unreachable(T0)
        fleet.touch()
        assert routable(fleet) == ["c"]

    def test_when_nobody_can_be_reached_all_are_tried(self) -> None:
        fleet = fleet_of("a", "b")
        for name in ("a", "b"):
            state_of(fleet, name).health.unreachable(T0)
        fleet.touch()
        assert routable(fleet) == ["a", "b"]

    def test_who_says_that_it_is_not_ready_is_left_alone_even_if_it_is_the_last(self) -> None:
        fleet = fleet_of("a")
        state_of(fleet, "a").health.engine_not_ready()
        fleet.touch()
        assert routable(fleet) == []

    def test_the_share_that_may_be_ejected_is_configured(self) -> None:
        config = FleetConfig(health=HealthConfig(max_ejected_ratio=0.0))
        fleet = fleet_of("a", "b", config=config)
        eject(fleet, "a")
        assert routable(fleet) == ["a", "b"]


class TestRamp:
    """A cold endpoint takes its share step by step."""

    def test_those_present_at_the_start_count_as_warm(self) -> None:
        assert {state.weight for state in fleet_of("a", "b").endpoints.values()} == {1.0}

    def test_those_who_are_listed_and_answer_moments_later_do_too(self) -> None:
        fleet = fleet_of("a")
        fleet.update([endpoint("a"), endpoint("b", weight=2.0)], after(2))
        state = state_of(fleet, "b")
        state.health.engine_not_ready()
        fleet.tick(after(3))
        state.health.probe_succeeded()
        for second in (4, 60):
            fleet.tick(after(second))
            assert state.weight == 2.0

    def test_one_that_is_listed_at_the_start_and_still_loads_is_cold(self) -> None:
        fleet = fleet_of("a", "b")
        state = state_of(fleet, "b")
        state.health.engine_not_ready()
        for second in (1, 60, 120):
            fleet.tick(after(second))
        state.health.probe_succeeded()
        fleet.tick(after(121))
        assert state.weight == 0.1
        fleet.tick(after(150))
        assert state.weight == 1.0

    def test_who_joins_rises_from_a_tenth_to_its_weight(self) -> None:
        fleet = fleet_of("a")
        fleet.update([endpoint("a"), endpoint("b", weight=2.0)], after(100))
        weights = []
        for second in range(0, 31, 3):
            fleet.tick(after(100 + second))
            weights.append(round(state_of(fleet, "b").weight, 6))
        assert weights == [0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6, 1.8, 2.0, 2.0]
        assert state_of(fleet, "a").weight == 1.0

    def test_each_step_makes_a_new_version_and_a_tick_without_one_does_not(self) -> None:
        fleet = fleet_of("a")
        fleet.update([endpoint("a"), endpoint("b")], after(100))
        pool = pool_of(fleet)
        fleet.tick(after(101))
        assert pool_of(fleet) is pool
        fleet.tick(after(104))
        assert pool_of(fleet).version != pool.version

    def test_the_ramp_of_an_engine_that_loads_for_minutes_begins_when_it_is_ready(self) -> None:
        fleet = fleet_of("a")
        fleet.update([endpoint("a"), endpoint("b")], after(100))
        state = state_of(fleet, "b")
        state.health.engine_not_ready()
        for second in (100, 160, 220):
            fleet.tick(after(second))
        state.health.probe_succeeded()
        fleet.tick(after(221))
        assert state.weight == 0.1
        fleet.tick(after(250))
        assert state.weight == 1.0

    def test_a_weight_that_changes_on_the_ramp_stays_on_it(self) -> None:
        fleet = fleet_of("a")
        fleet.update([endpoint("a"), endpoint("b")], after(100))
        fleet.update([endpoint("a"), endpoint("b", weight=4.0)], after(116))
        fleet.tick(after(116))
        assert state_of(fleet, "b").weight == pytest.approx(2.4)

    def test_without_a_ramp_who_joins_is_full_at_once(self) -> None:
        fleet = fleet_of("a", config=FleetConfig(join_ramp_s=0.0))
        fleet.update([endpoint("a"), endpoint("b")], after(100))
        fleet.tick(after(101))
        assert state_of(fleet, "b").weight == 1.0


class TestMetrics:
    """What an engine says of itself."""

    def test_metrics_that_are_old_are_none(self) -> None:
        state = state_of(fleet_of("a"), "a")
        assert state.fresh_metrics(T0) is None
        metrics = EngineMetrics(at=T0, running=1.0)
        state.observe(metrics)
        assert state.fresh_metrics(after(STALE_AFTER_S)) is metrics
        assert state.fresh_metrics(after(STALE_AFTER_S + 0.1)) is None

    def test_the_shadow_is_as_large_as_the_engines_cache(self) -> None:
        state = state_of(fleet_of("a"), "a")
        state.observe(EngineMetrics(at=T0, kv_capacity_tokens=2048.0))
        state.shadow.insert(tuple(range(10)))
        assert len(state.shadow) == 4

    def test_a_state_and_a_fleet_say_what_they_are(self) -> None:
        fleet = fleet_of("a")
        drain(fleet, EndpointId("a"))
        assert repr(state_of(fleet, "a")) == "<EndpointState a models=['m'] in_flight=0 draining>"
        assert repr(fleet).startswith("<Fleet 1 endpoints, version ")
