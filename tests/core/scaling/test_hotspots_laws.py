"""Moves of hot prefixes over time: they settle, keep to their bounds, and cost memory little."""

from __future__ import annotations

import msgspec
import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.overlay import Dormant, ModelOverlay
from cardan.scaling.hotspots import HotSpotMemory, Move, MoveKind, decide
from cardan.scaling.overlaid import overlay_of
from cardan.scaling.replicas import moment
from cardan.scaling.spec import HotSpotSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.scaling.looks import Looks, even
from tests.core.scaling.observed import T0, key, load, seen
from tests.core.scaling.spread import Plant, settle


def test_an_overlay_is_made_of_moves_drains_and_cordons_in_whatever_order() -> None:
    name = EndpointId
    moves = [
        Move(kind=MoveKind.ADD, at=T0, key="a" * 16, owners=(name("e1"),)),
        Move(kind=MoveKind.ADD, at=T0, key="a" * 16, owners=(name("e2"),), relieved=name("e9")),
        Move(kind=MoveKind.REHOME, at=T0, key="b" * 16, owners=(name("e3"), name("e4"))),
        Move(kind=MoveKind.REWEIGHT, at=T0, relieved=name("e5"), factor=0.5),
    ]
    made = overlay_of(
        moves, draining=[name("y"), name("x")], cordoned=[name("z")], dormant=Dormant()
    )
    assert made == ModelOverlay(
        owners={"b" * 16: (name("e3"), name("e4"))},
        add={"a" * 16: (name("e1"), name("e2"))},
        weights={name("e5"): 0.5},
        draining=(name("x"), name("y")),
        cordoned=(name("z"),),
        dormant=Dormant(),
    )
    again = overlay_of(
        moves[::-1], draining=[name("x"), name("y")], cordoned=[name("z")], dormant=Dormant()
    )
    assert again == made
    assert overlay_of([]) == ModelOverlay()


@given(
    st.integers(0, 10**6),
    st.integers(2, 12),
    st.lists(st.floats(0.01, 1.0), min_size=1, max_size=10),
    st.floats(0.1, 0.9),
    st.sampled_from([0.0, 60.0]),
)
@settings(max_examples=20, deadline=None)
def test_under_constant_demand_moves_settle_and_are_never_taken_back(
    seed: int, n: int, shares: list[float], utilisation: float, prewarm_s: float
) -> None:
    plant = Plant(seed, n, shares, utilisation * n)
    spec = HotSpotSpec(
        hold_s=30, cool_s=120, interval_s=600, budget_tokens=10**6, prewarm_s=prewarm_s
    )
    moves, changed_s, cooled = settle(plant, spec, 100)
    assert changed_s < 900
    assert not cooled
    assert plant.longest(moves) <= 1.25 * plant.longest(())  # the plant's own steps are coarse


loads = st.lists(st.none() | st.integers(0, 60).map(float), min_size=0, max_size=6)
heavy = st.lists(
    st.tuples(st.integers(0, 4), st.floats(0, 1), st.lists(st.integers(0, 6), max_size=3)),
    max_size=4,
    unique_by=lambda item: item[0],
)
specs = st.builds(
    HotSpotSpec,
    hold_s=st.sampled_from([0.0, 20.0]),
    cool_s=st.sampled_from([0.0, 40.0]),
    budget_tokens=st.sampled_from([0.0, 2500.0, 100_000.0]),
    interval_s=st.just(100.0),
    max_owners=st.integers(2, 4),
    prewarm_s=st.sampled_from([0.0, 30.0]),
)


@given(specs, st.lists(st.tuples(loads, heavy), min_size=1, max_size=15))
@settings(max_examples=60, deadline=None)
def test_whatever_is_seen_moves_keep_to_their_bounds(
    spec: HotSpotSpec,
    history: list[tuple[list[float | None], list[tuple[int, float, list[int]]]]],
) -> None:
    looks = Looks(spec)
    paid: list[tuple[float, float]] = []
    for fleet, keys in history:
        looks.now += 10.0
        endpoints = [
            load(f"e{n}", looks.now, in_flight=number, prompt_tokens_per_s=9.0)
            for n, number in enumerate(fleet)
        ]
        masses = [
            key(n, share, *(f"e{owner}" for owner in on), warmed=[f"e{n}", f"e{n + 1}"])
            for n, share, on in keys
        ]
        before = looks.memory
        observation = seen(endpoints, looks.now, keys=masses)
        moves = looks.see(observation)
        again = decide(spec, observation, before, WallTime(looks.now))
        assert again[:2] == (moves, looks.memory)
        paid += [
            (s.at, s.tokens) for s in looks.memory.spent if s.at >= moment(WallTime(looks.now))
        ]
        assert sum(t for at, t in paid if looks.now - at < spec.interval_s) <= spec.budget_tokens
        present = {endpoint.id for endpoint in endpoints}
        assert len(moves) <= 12
        for move in moves:
            assert set(move.owners) <= present
            assert move.kind is MoveKind.REWEIGHT or 1 <= len(move.owners) <= 16
            assert 0.5 <= move.factor <= 1.0
            assert move.why
            assert set(move.warming) <= set(move.owners)
            assert bool(move.warming) is (move.warm_by is not None)
            assert move.warm_by is None or 0 < move.warm_by - looks.now <= spec.prewarm_s + 1.0
        told = overlay_of(moves)
        for word, warming in told.warm.items():
            assert told.owners.get(word, ("",))[0] not in warming
            assert not set(told.add.get(word, ())) & set(warming)
        added = {m.key: m for m in moves if m.kind is MoveKind.ADD}
        for mass in masses:
            if mass.key in added:
                owners = {*mass.endpoints, *added[mass.key].owners}
                assert len(added[mass.key].owners) <= spec.max_owners
                assert len(owners) <= max(
                    spec.max_owners, len(set(mass.endpoints)) + spec.max_owners
                )
        for memory in (looks.memory, looks.memory.kept()):
            assert msgspec.json.decode(msgspec.json.encode(memory), type=HotSpotMemory) == memory


def test_a_suspicion_is_not_worth_a_write_a_move_is() -> None:
    looks = Looks()
    hot = key(1, 0.25, "e0", "e1")
    looks.for_s(30, even(10), hot)
    assert looks.memory.hot_keys
    assert looks.memory.kept() == HotSpotMemory()
    moves = looks.for_s(60, even(10), hot)
    looks.for_s(60, even(10), key(1, 0.05, "e0", "e1"))
    assert looks.memory.kept().moves == moves


@pytest.mark.parametrize("n", [1, 4, 20])
def test_an_even_fleet_is_remembered_as_nothing(n: int) -> None:
    looks = Looks()
    looks.for_s(3600, even(n), key(1, 0.05, "e0"))
    assert msgspec.json.encode(looks.memory) == b"{}"


def test_a_fleets_moves_fit_into_an_object_of_the_api() -> None:
    looks = Looks(HotSpotSpec(budget_tokens=10**9, hold_s=0))
    names = [f"qwen-72b-instruct-7d9f8b6c5d-x{number:04}" for number in range(40)]
    keys = [key(n, 0.1, names[n], names[n + 1]) for n in range(20)]
    looks.for_s(60, dict.fromkeys(names, 10.0), *keys)
    assert len(looks.memory.moves) == 12
    assert len(msgspec.json.encode(looks.memory)) < 8000
