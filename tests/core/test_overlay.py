"""The overlay: moved keys, weights, drains, cordons and sleeping models, as one value for all."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan.decision import Reason
from cardan.endpoint import Endpoint, EndpointId
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.overlay import (
    NO_OVERLAY,
    Dormant,
    ModelOverlay,
    RoutingOverlay,
    combined,
    unborne,
)
from cardan.policies import DualMap
from cardan.scheduler import Scheduler
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.policies.build import (
    MODEL,
    NOW,
    choose,
    endpoint,
    fleet_of,
    load,
    pool_of,
    prompt_of,
    request_of,
)
from tests.fakes.draining import drain

if TYPE_CHECKING:
    from cardan.decision import Decision

KEY = 0x00000000DEADBEEF
HEX = f"{KEY:016x}"


def ids(*numbers: int) -> tuple[EndpointId, ...]:
    """The names of these endpoints."""
    return tuple(EndpointId(f"e{number:02}") for number in numbers)


def overlay(generation: int = 1, **parts: object) -> RoutingOverlay:
    """An overlay of the one model."""
    return RoutingOverlay(generation=generation, models={MODEL: part_of(parts)})


def part_of(parts: object) -> ModelOverlay:
    """What a document says of one model."""
    return msgspec.convert(msgspec.to_builtins(parts), ModelOverlay)


def decide(fleet: Fleet, d: int = 2, key: int = KEY) -> Decision:
    """Where a prompt of one block goes."""
    chooser = DualMap(d=d).bind()
    return choose(chooser, request_of(prompt_of(key)), pool_of(fleet), Random(1))


def candidates(fleet: Fleet, d: int = 2, key: int = KEY) -> list[str]:
    """The candidates of a prompt of one block, in order."""
    return [str(candidate.endpoint.id) for candidate in decide(fleet, d, key).candidates]


def routable(fleet: Fleet) -> list[str]:
    """Who may be asked."""
    return [str(state.id) for state in pool_of(fleet).routable]


class TestMovedKeys:
    """A key's owners are those the overlay names, as far as they may be asked."""

    def test_without_an_overlay_nothing_is_looked_up(self) -> None:
        fleet = fleet_of(6)
        assert pool_of(fleet).moved is None
        fleet.apply(overlay(weights={"e00": 0.5}), NOW)
        assert pool_of(fleet).moved is None

    def test_named_owners_come_first_and_hashing_fills_up(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet, d=3)
        stranger = next(id_ for id_ in fleet.endpoints if id_ not in hashed)
        fleet.apply(overlay(owners={HEX: [stranger]}), NOW)
        assert candidates(fleet, d=3) == [stranger, *hashed[:2]]

    def test_as_many_owners_as_candidates_leave_hashing_out(self) -> None:
        fleet = fleet_of(6)
        fleet.apply(overlay(owners={HEX: ids(4, 5)}), NOW)
        assert candidates(fleet) == ["e04", "e05"]

    def test_added_owners_stand_beside_those_of_hashing(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet)
        others = [id_ for id_ in fleet.endpoints if id_ not in hashed]
        fleet.apply(overlay(add={HEX: [hashed[0], *others]}), NOW)
        assert candidates(fleet) == [*hashed, *others]

    def test_an_added_owner_takes_what_the_others_cannot_in_time(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet)
        added = next(id_ for id_ in fleet.endpoints if id_ not in hashed)
        fleet.apply(overlay(add={HEX: [added]}), NOW)
        for id_ in hashed:
            state = fleet.endpoints[EndpointId(id_)]
            state.shadow.insert((KEY,))
            load(state, 9, tokens_each=50_000)
        decision = decide(fleet)
        assert (decision.endpoint.id, decision.reason) == (added, Reason.SWITCH)

    def test_a_key_that_is_to_be_warmed_elsewhere_stays_where_it_is(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet)
        fleet.apply(overlay(warm={HEX: ids(4, 5)}), NOW)
        assert candidates(fleet) == hashed
        assert fleet.overlay.words() == f"{MODEL}: 1 key to warm"

    def test_other_keys_stay_where_they_are(self) -> None:
        fleet = fleet_of(6)
        before = [candidates(fleet, key=key) for key in range(1, 30)]
        fleet.apply(overlay(owners={HEX: ids(4, 5)}, add={HEX: ids(1)}), NOW)
        assert [candidates(fleet, key=key) for key in range(1, 30)] == before

    def test_names_that_nobody_bears_mean_nothing(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet)
        fleet.apply(overlay(owners={HEX: ["ghost"]}, add={HEX: ["other"]}, draining=["x"]), NOW)
        assert candidates(fleet) == hashed
        assert pool_of(fleet).moved is None

    def test_an_owner_that_joins_later_is_an_owner_then(self) -> None:
        fleet = fleet_of(2)
        fleet.apply(overlay(owners={HEX: ids(7)}), NOW)
        fleet.update([endpoint(number) for number in (0, 1, 7)], NOW)
        assert candidates(fleet)[0] == "e07"

    def test_an_owner_that_may_not_be_asked_is_passed_over(self) -> None:
        fleet = fleet_of(6)
        fleet.apply(overlay(owners={HEX: ids(4, 5)}, draining=ids(4)), NOW)
        assert "e04" not in candidates(fleet)
        assert candidates(fleet)[0] == "e05"

    def test_an_owner_on_which_this_request_failed_is_passed_over(self) -> None:
        fleet = fleet_of(6)
        fleet.apply(overlay(owners={HEX: ids(4, 5)}), NOW)
        scheduler = Scheduler(fleet, DualMap(), Random(1))
        decision = scheduler.decide(request_of(prompt_of(KEY)), NOW, exclude={EndpointId("e04")})
        assert decision is not None
        owner, other = (candidate.endpoint.id for candidate in decision.candidates)
        assert owner == "e05"
        assert other != "e04"

    def test_what_is_taken_back_is_as_before(self) -> None:
        fleet = fleet_of(6)
        hashed = candidates(fleet)
        fleet.apply(overlay(1, owners={HEX: ids(4, 5)}, weights={"e00": 0.5}), NOW)
        fleet.apply(RoutingOverlay(generation=2), NOW)
        assert candidates(fleet) == hashed
        assert {state.weight for state in fleet.endpoints.values()} == {1.0}


class TestStandings:
    """What it says of endpoints."""

    def test_a_weight_is_a_factor_on_the_endpoints_own(self) -> None:
        fleet = fleet_of(3)
        fleet.apply(overlay(weights={"e01": 0.5}), NOW)
        assert [state.weight for state in fleet.endpoints.values()] == [1.0, 0.5, 1.0]

    def test_the_ramp_of_one_that_joins_goes_on_under_its_factor(self) -> None:
        fleet = fleet_of(2)
        later = Monotonic(NOW + 60)
        fleet.apply(overlay(weights={"e02": 0.5}), later)
        fleet.update([endpoint(number) for number in range(3)], later)
        joined = fleet.endpoints[EndpointId("e02")]
        assert joined.weight == pytest.approx(0.05)
        fleet.tick(Monotonic(later + 3600))
        assert joined.weight == 0.5

    def test_a_draining_endpoint_gets_no_new_key_and_is_not_gone(self) -> None:
        fleet = fleet_of(3)
        fleet.apply(overlay(draining=ids(1)), NOW)
        assert routable(fleet) == ["e00", "e02"]
        assert [str(state.id) for state in pool_of(fleet).draining] == ["e01"]

    def test_a_drain_of_the_gateways_own_is_not_undone_by_an_overlay(self) -> None:
        fleet = fleet_of(3)
        drain(fleet, EndpointId("e01"))
        fleet.apply(overlay(1, draining=ids(1)), NOW)
        fleet.apply(RoutingOverlay(generation=2), NOW)
        assert routable(fleet) == ["e00", "e02"]

    def test_a_cordoned_endpoint_gets_nothing_at_all(self) -> None:
        fleet = fleet_of(3)
        fleet.apply(overlay(cordoned=ids(1), draining=ids(1)), NOW)
        assert routable(fleet) == ["e00", "e02"]
        assert not pool_of(fleet).draining

    def test_where_all_are_cordoned_nobody_is_asked(self) -> None:
        fleet = fleet_of(2)
        fleet.apply(overlay(cordoned=ids(0, 1)), NOW)
        assert not routable(fleet)

    def test_where_all_drain_they_are_still_asked(self) -> None:
        fleet = fleet_of(2)
        fleet.apply(overlay(draining=ids(0, 1)), NOW)
        assert routable(fleet) == ["e00", "e01"]


class TestReplacement:
    """Whole by whole, and as cheap as can be where nothing is new."""

    def test_the_same_again_makes_no_pool_anew(self) -> None:
        fleet = fleet_of(3)
        fleet.apply(overlay(1, draining=ids(1)), NOW)
        pool = pool_of(fleet)
        fleet.apply(overlay(2, draining=ids(1)), NOW)
        assert pool_of(fleet) is pool
        assert fleet.overlay.generation == 2

    def test_a_sleeping_model_is_expected(self) -> None:
        fleet = fleet_of(2)
        assert not fleet.expects("sleeper", NOW)
        part = ModelOverlay(dormant=Dormant(hold_requests=3, wake_url="http://c:1/wake"))
        fleet.apply(RoutingOverlay(generation=1, models={"sleeper": part}), NOW)
        assert fleet.expects("sleeper", NOW)
        assert fleet.overlay.dormant("sleeper") == part.dormant
        assert fleet.overlay.dormant(MODEL) is None


class TestCombining:
    """Many fleets, many overlays, one gateway."""

    def test_overlays_of_different_models_stand_side_by_side(self) -> None:
        one = RoutingOverlay(generation=3, models={"a": ModelOverlay(draining=ids(1))})
        two = RoutingOverlay(generation=4, models={"b": ModelOverlay(dormant=Dormant())})
        both = combined([one, two])
        assert both.models == {**one.models, **two.models}
        assert both.generation == 7
        assert combined([]) == NO_OVERLAY

    def test_two_that_speak_of_one_model_both_count(self) -> None:
        one = overlay(owners={HEX: ["a"]}, weights={"e00": 0.5}, draining=ids(1))
        two = overlay(owners={HEX: ["b"]}, weights={"e00": 0.7, "e01": 2.0}, draining=ids(2, 1))
        part = combined([one, two]).models[MODEL]
        assert part.owners == {HEX: ("a",)}
        assert part.weights == {"e00": 0.5, "e01": 2.0}
        assert part.draining == ids(1, 2)
        warm = combined([overlay(warm={HEX: ["a"]}), overlay(warm={HEX: ["b"], "0" * 16: ["c"]})])
        assert warm.models[MODEL].warm == {HEX: ("a",), "0" * 16: ("c",)}

    def test_a_model_sleeps_only_if_all_say_so(self) -> None:
        asleep = RoutingOverlay(models={MODEL: ModelOverlay(dormant=Dormant(hold_s=5.0))})
        assert combined([asleep, asleep]).dormant(MODEL) == Dormant(hold_s=5.0)
        assert combined([asleep, overlay()]).dormant(MODEL) is None


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"generation": -1}, "generation"),
        ({"models": {"m": {"owners": {"XYZ": ["a"]}}}}, "owners"),
        ({"models": {"m": {"owners": {HEX: []}}}}, "owners"),
        ({"models": {"m": {"weights": {"a": 0}}}}, "weights"),
        ({"models": {"m": {"dormant": {"holdSeconds": 0}}}}, "holdSeconds"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(wrong: object, path: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=path):
        msgspec.convert(wrong, RoutingOverlay)


def test_what_a_newer_operator_says_beside_it_is_not_in_the_way() -> None:
    newer = {"models": {"m": {"cordoned": ["a"], "pinned": ["b"], "dormant": {"until": 7}}}, "x": 1}
    part = ModelOverlay(cordoned=(EndpointId("a"),), dormant=Dormant())
    assert msgspec.convert(newer, RoutingOverlay) == RoutingOverlay(models={"m": part})


class TestPods:
    """A pod with several engines is several endpoints, and what is said of it is said of each."""

    @staticmethod
    def ranks(*names: str) -> Fleet:
        fleet = Fleet()
        found = [
            Endpoint(url=f"http://{name}", name=name, models=(MODEL,))
            for name in names or ("p0:8000", "p0:8001", "p1:8000", "p1:8001")
        ]
        fleet.update(found, NOW)
        return fleet

    def test_standings_are_those_of_the_pod(self) -> None:
        fleet = self.ranks()
        fleet.apply(overlay(draining=["p0"], weights={"p1": 0.5}), NOW)
        assert routable(fleet) == ["p1:8000", "p1:8001"]
        assert [str(state.id) for state in pool_of(fleet).draining] == ["p0:8000", "p0:8001"]
        assert [state.weight for state in pool_of(fleet).routable] == [0.5, 0.5]
        fleet.apply(overlay(2, cordoned=["p1"]), NOW)
        assert routable(fleet) == ["p0:8000", "p0:8001"]

    def test_so_are_those_of_engines_that_come_later(self) -> None:
        fleet = self.ranks("p0:8000")
        fleet.apply(overlay(draining=["p1"]), NOW)
        found = [state.endpoint for state in self.ranks().endpoints.values()]
        fleet.update(found, NOW)
        assert routable(fleet) == ["p0:8000", "p0:8001"]

    def test_what_is_said_of_one_engine_goes_before_its_pods(self) -> None:
        fleet = self.ranks()
        fleet.apply(overlay(weights={"p0": 0.5, "p0:8001": 0.1}), NOW)
        assert [state.weight for state in pool_of(fleet).routable] == [0.5, 0.1, 1.0, 1.0]

    def test_a_key_of_a_pod_is_one_engines(self) -> None:
        fleet = self.ranks()
        fleet.apply(overlay(owners={HEX: ["p1", "p0"]}), NOW)
        first = candidates(fleet)
        assert [name.partition(":")[0] for name in first] == ["p1", "p0"]
        assert candidates(fleet) == first
        fleet.apply(overlay(2, owners={HEX: ["p1:8001"]}), NOW)
        assert candidates(fleet)[0] == "p1:8001"

    def test_names_that_nobody_bears_can_be_told(self) -> None:
        part = part_of({"draining": ["p0", "p9"], "owners": {HEX: ["p1:8000", "p1:9000"]}})
        assert unborne(part, self.ranks().endpoints.keys()) == ["p1:9000", "p9"]
        assert unborne(part_of({"warm": {HEX: ["p8", "p1"]}}), self.ranks().endpoints) == ["p8"]


names = st.sampled_from([f"e{number:02}" for number in range(8)])
some = st.lists(names, max_size=4)
keys = st.integers(0, 5).map("{:016x}".format)
moved = st.dictionaries(keys, st.lists(names, min_size=1, max_size=4), max_size=4)
overlays = st.fixed_dictionaries(
    {
        "owners": moved,
        "add": moved,
        "weights": st.dictionaries(names, st.sampled_from([0.1, 0.5, 2.0]), max_size=4),
        "draining": some,
        "cordoned": some,
    }
).map(lambda parts: RoutingOverlay(models={MODEL: part_of(parts)}))


@given(overlays, overlays, st.integers(1, 6), st.integers(1, 4))
@settings(max_examples=150, deadline=None)
def test_gateways_with_the_same_overlay_agree_whatever_they_held_before(
    before: RoutingOverlay, now: RoutingOverlay, n: int, d: int
) -> None:
    one, two = fleet_of(n), fleet_of(n)
    one.apply(before, NOW)
    one.apply(now, NOW)
    wire = msgspec.json.decode(msgspec.json.encode(now), type=RoutingOverlay)
    two.apply(wire, NOW)
    assert routable(one) == routable(two)
    assert not {str(id_) for id_ in now.models[MODEL].cordoned} & set(routable(one))
    if not routable(one):
        return
    for key in range(6):
        chosen = candidates(one, d, key)
        assert chosen == candidates(two, d, key)
        assert len(set(chosen)) == len(chosen) >= min(d, len(routable(one)))
        assert set(chosen) <= set(routable(one))
