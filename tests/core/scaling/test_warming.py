"""New owners of a prefix are made warm first: the move waits for that, and never for long."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.overlay import ModelOverlay
from cardan.scaling.decision import ReasonCode
from cardan.scaling.hotspots import HotSpotMemory, MoveKind
from cardan.scaling.overlaid import overlay_of

from tests.core.scaling.looks import HOT, SPEC, Looks, even
from tests.core.scaling.observed import key

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan.scaling.observation import KeyMass

WARM_FIRST = msgspec.structs.replace(SPEC, prewarm_s=60.0)
KEY = f"{2:016x}"


def heavy(*, warmed: Iterable[str] = ()) -> KeyMass:
    """A key that makes e0 hot, and goes to e3."""
    return key(2, 0.34, "e0", "e2", warmed=warmed)


def hot(*, warmed: Iterable[str] = ()) -> KeyMass:
    """A key that gets two more owners, e7 and e5, on ten endpoints."""
    return key(1, 0.25, "e0", "e1", warmed=warmed)


TEN = {**even(10), "e7": 1.0, "e5": 2.0}


def test_a_prefix_goes_to_its_new_owner_when_that_has_been_made_warm() -> None:
    looks = Looks(WARM_FIRST)
    (move,) = looks.for_s(60, HOT, heavy())
    assert (move.kind, move.owners[0], move.warming) == (MoveKind.REHOME, "e3", ("e3",))
    assert overlay_of([move]) == ModelOverlay(warm={KEY: move.warming})
    (move,) = looks.for_s(30, HOT, heavy())
    assert overlay_of([move]).owners == {}
    (move,) = looks.for_s(15, HOT, heavy(warmed=["e3"]))
    assert overlay_of([move]) == ModelOverlay(owners={KEY: move.owners})
    assert looks.said == [ReasonCode.HOT_ENDPOINT, ReasonCode.MOVE_WARMED]
    assert looks.messages[-1] == (f"re-homing {KEY}: e3 has been made warm, and is an owner now")


def test_it_goes_all_the_same_when_nobody_has_made_it_warm_in_time() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(60, HOT, heavy())
    (move,) = looks.for_s(45, HOT, heavy())
    assert move.warming
    (move,) = looks.for_s(15, HOT, heavy())
    assert overlay_of([move]).owners == {KEY: move.owners}
    assert looks.messages[-1].endswith(
        "e3 has been given its time to get warm, and is an owner now"
    )


def test_of_two_new_owners_the_first_that_is_warm_does_not_wait_for_the_other() -> None:
    looks = Looks(WARM_FIRST)
    (move,) = looks.for_s(60, TEN, hot())
    assert overlay_of([move]).warm == {move.key: ("e7", "e5")}
    (move,) = looks.for_s(15, TEN, hot(warmed=["e5"]))
    told = overlay_of([move])
    assert (told.add, told.warm) == ({move.key: ("e5",)}, {move.key: ("e7",)})
    (move,) = looks.for_s(45, TEN, hot(warmed=["e5"]))
    assert overlay_of([move]).add == {move.key: ("e7", "e5")}


def test_it_costs_what_the_move_would_have_cost() -> None:
    cold, warm = Looks(SPEC), Looks(WARM_FIRST)
    for looks in (cold, warm):
        looks.for_s(150, TEN, hot())
    assert cold.memory.spent == warm.memory.spent
    assert cold.memory.moves == warm.memory.moves


def test_while_an_owner_warms_nobody_is_relieved_a_second_time() -> None:
    looks = Looks(msgspec.structs.replace(WARM_FIRST, prewarm_s=300.0))
    another = key(3, 0.2, "e0", "e1")
    assert len(looks.for_s(240, HOT, heavy(), another)) == 1
    assert len(looks.for_s(45, HOT, heavy(warmed=["e3"]), another)) == 1
    assert len(looks.for_s(30, HOT, heavy(warmed=["e3"]), another)) == 2


def test_a_new_owner_that_goes_while_it_warms_takes_the_move_with_it() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(60, HOT, heavy())
    without = {name: number for name, number in HOT.items() if name != "e3"}
    assert not looks.for_s(0, without, heavy())
    assert looks.said[-1] is ReasonCode.MOVE_DROPPED


def test_an_added_owner_that_goes_while_it_warms_is_not_waited_for() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(60, TEN, hot())
    without = {name: number for name, number in TEN.items() if name != "e7"}
    (move,) = looks.for_s(0, without, hot(warmed=["e5"]))
    assert (move.owners, move.warming) == (("e5", "e2"), ("e2",))  # who comes instead is
    (move,) = looks.for_s(60, without, hot(warmed=["e5"]))
    assert (move.warming, move.warm_by) == ((), None)


def test_switched_off_what_warms_is_an_owner_at_once() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(60, HOT, heavy())
    looks.spec = SPEC
    (move,) = looks.for_s(0, HOT, heavy())
    assert overlay_of([move]).owners == {KEY: move.owners}


def test_a_new_leader_goes_on_where_the_last_one_was() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(60, HOT, heavy())
    kept = msgspec.json.encode(looks.memory.kept())
    looks.memory = msgspec.json.decode(kept, type=HotSpotMemory)
    (move,) = looks.for_s(15, HOT, heavy())
    assert move.warming == ("e3",)
    (move,) = looks.for_s(0, HOT, heavy(warmed=["e3"]))
    assert not move.warming


def test_a_move_that_is_at_rest_is_not_written_again() -> None:
    looks = Looks(WARM_FIRST)
    looks.for_s(120, HOT, heavy())
    kept = looks.memory.kept()
    looks.for_s(30, even(4, 16.0), key(2, 0.34, "e2", "e3"))
    assert looks.memory.kept() == kept
