"""The owners of a key: the exact function, and what a picker remembers.

The golden vectors freeze the function: a change here moves keys between endpoints, and two versions
of the gateway side by side would disagree. What holds for every mapping is in `tests/laws`.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import msgspec
import pytest
import xxhash
from cardan.candidates import AnyMapping, Rendezvous, Rings
from cardan.candidates.base import MEMO_KEYS, splitmix64
from cardan.endpoint import Endpoint
from cardan.fleet import EndpointState, FleetConfig
from cardan.instants import Monotonic

VECTORS: list[dict[str, Any]] = json.loads(
    (Path(__file__).parent / "golden" / "candidates.json").read_text()
)
START = Monotonic(0.0)


def state(name: str, weight: float = 1.0) -> EndpointState:
    """An endpoint that has been there from the start."""
    endpoint = Endpoint(url="http://127.0.0.1:1", name=name, weight=weight)
    return EndpointState(endpoint, FleetConfig(), START, warm_until=START)


def fleet(n: int) -> list[EndpointState]:
    """`n` equal endpoints."""
    return [state(f"pod-{index}") for index in range(n)]


def ids(states: list[EndpointState]) -> list[str]:
    """The names of endpoints."""
    return [str(state.id) for state in states]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_owners_are_the_golden_ones(vector: dict[str, Any]) -> None:
    picker = msgspec.convert(vector["mapping"], AnyMapping).bind()
    states = [state(name, weight) for name, weight in vector["endpoints"].items()]
    picks = {key: ids(picker.pick(int(key, 16), states, vector["d"], 1)) for key in vector["picks"]}
    assert picks == vector["picks"]


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_golden_owners_are_what_the_reference_page_says(vector: dict[str, Any]) -> None:
    """A second implementation, from docs/reference/routing-key.md alone, picks the same."""
    weights = vector["endpoints"]
    naive = naive_rings if vector["mapping"]["type"] == "rings" else naive_rendezvous
    vnodes = vector["mapping"].get("vnodes", 160)
    for key, owners in vector["picks"].items():
        assert naive(int(key, 16), weights, vector["d"], vnodes) == owners


def naive_splitmix64(value: int) -> int:
    """The published function, step by step."""
    value = (value + 0x9E3779B97F4A7C15) % 2**64
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) % 2**64
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) % 2**64
    return value ^ (value >> 31)


def naive_rendezvous(key: int, weights: dict[str, float], d: int, _vnodes: int) -> list[str]:
    """Every endpoint mixed with the key, one at a time, all by logarithm."""

    def score(name: str, rank: int) -> float:
        seed = naive_splitmix64(rank)
        multiplier = naive_splitmix64(xxhash.xxh3_64_intdigest(name.encode()) ^ seed) | 1
        draw = multiplier * naive_splitmix64(key) % 2**64
        return weights[name] / -math.log(((draw >> 12) + 0.5) / 2**52)

    owners: list[str] = []
    for rank in range(min(d, len(weights))):
        rest = [name for name in weights if name not in owners]
        owners.append(max(rest, key=lambda name: score(name, rank)))
    return owners


def naive_rings(key: int, weights: dict[str, float], d: int, vnodes: int) -> list[str]:
    """Every point measured from the key, clockwise."""
    owners: list[str] = []
    for rank in range(min(d, len(weights))):
        start = naive_splitmix64(key ^ naive_splitmix64(rank))
        _, owner = min(
            (
                (xxhash.xxh3_64_intdigest(f"{name}#{vnode}".encode(), seed=rank) - start) % 2**64,
                name,
            )
            for name, weight in weights.items()
            if name not in owners
            for vnode in range(max(1, round(vnodes * weight)))
        )
        owners.append(owner)
    return owners


def test_splitmix64_is_the_published_one() -> None:
    """The first outputs of the reference generator seeded with 0 and with 1234567."""
    assert splitmix64(0) == 0xE220A8397B1DCDAF
    gamma = 0x9E3779B97F4A7C15
    assert [splitmix64((1234567 + index * gamma) % 2**64) for index in range(3)] == [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
    ]


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings()], ids=repr)
def test_fewer_endpoints_than_choices_gives_them_all(mapping: AnyMapping) -> None:
    assert len(mapping.bind().pick(1, fleet(2), 5, None)) == 2
    assert mapping.bind().pick(1, [], 2, None) == []
    assert mapping.bind().pick(1, [], 2, 1) == []


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings()], ids=repr)
def test_an_answer_is_remembered_for_its_version_only(mapping: AnyMapping) -> None:
    picker = mapping.bind()
    states = fleet(4)
    first = picker.pick(1, states, 2, 7)
    assert picker.pick(1, states, 2, 7) is first
    rest = [state for state in states if state is not first[0]]
    assert first[0] not in picker.pick(1, rest, 2, 8)
    assert len(picker.pick(1, rest, 3, 8)) == 3


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings()], ids=repr)
def test_a_part_of_the_membership_leaves_the_remembered_answers_alone(mapping: AnyMapping) -> None:
    picker = mapping.bind()
    states = fleet(5)
    whole = ids(picker.pick(1, states, 2, 1))
    part = picker.pick(1, [state for state in states if state.id != whole[0]], 2, None)
    assert whole[0] not in ids(part)
    assert ids(picker.pick(1, states, 2, 1)) == whole
    assert ids(picker.pick(2, states, 2, 1)) == ids(mapping.bind().pick(2, states, 2, 1))


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings()], ids=repr)
def test_a_state_that_was_replaced_under_its_name_is_the_one_returned(mapping: AnyMapping) -> None:
    picker = mapping.bind()
    old, new = state("pod-0"), state("pod-0")
    assert picker.pick(1, [old], 1, 1) == [old]
    assert picker.pick(1, [new], 1, 2) == [new]
    assert picker.pick(1, [old], 1, None) == [old]


@pytest.mark.parametrize("mapping", [Rendezvous(), Rings(vnodes=4)], ids=repr)
def test_what_is_remembered_is_bounded(mapping: AnyMapping) -> None:
    picker = mapping.bind()
    states = fleet(2)
    for key in range(2 * MEMO_KEYS + 10):
        picker.pick(key, states, 1, 1)
        if key % 1000 == 0:
            assert len(picker._answers) <= MEMO_KEYS  # type: ignore[attr-defined]
    assert 0 < len(picker._answers) <= MEMO_KEYS  # type: ignore[attr-defined]


def test_multipliers_of_endpoints_long_gone_are_forgotten() -> None:
    picker = Rendezvous().bind()
    for version in range(80):
        states = [state(f"pod-{version}-{index}") for index in range(20)]
        picker.pick(1, states, 1, version)
    assert len(picker._multipliers[0]) <= 1024 + 3 * 20  # type: ignore[attr-defined]


def test_an_endpoint_of_no_weight_owns_nothing_while_another_is_there() -> None:
    picker = Rendezvous().bind()
    states = [state("off", 0.0), state("on", 1.0)]
    assert {picker.pick(key, states, 1, 1)[0].id for key in range(200)} == {"on"}
    assert ids(picker.pick(1, states, 2, 1)) == ["on", "off"]


def test_a_ring_keeps_an_endpoint_at_one_point_at_least() -> None:
    picker = Rings(vnodes=10).bind()
    states = [state("light", 0.001), state("heavy", 1.0)]
    owners = ids([picker.pick(key, states, 1, 1)[0] for key in range(500)])
    assert 0 < owners.count("light") < 250


def test_a_mapping_is_configured_by_its_name() -> None:
    assert msgspec.convert({"type": "rings", "vnodes": 40}, AnyMapping) == Rings(vnodes=40)
    assert msgspec.convert({"type": "rendezvous"}, AnyMapping) == Rendezvous()
    for wrong in ({"type": "ring"}, {"type": "rings", "vnode": 1}, {"type": "rings", "vnodes": 0}):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(wrong, AnyMapping)
