"""Hot spots: found when they last, moved for a budget of tokens, taken back when they are gone."""

from __future__ import annotations

import msgspec
from cardan.endpoint import Role
from cardan.scaling.decision import ReasonCode
from cardan.scaling.hotspots import HotSpotMemory, MoveKind
from cardan.scaling.observation import Demand
from cardan.scaling.spec import HotSpotSpec

from tests.core.scaling.looks import HOT, Looks, even
from tests.core.scaling.observed import fresh, key, load, seen


class TestHotKeys:
    """A key that is more than its owners can carry."""

    def test_gets_owners_until_each_has_seven_tenths_of_an_endpoints_work(self) -> None:
        looks = Looks()
        fleet = {**even(10), "e7": 1.0, "e5": 2.0}
        hot = key(1, 0.25, "e0", "e1")
        assert not looks.for_s(45, fleet, hot)
        (move,) = looks.for_s(30, fleet, hot)
        assert move.kind is MoveKind.ADD
        assert move.owners == ("e7", "e5")  # ceil(0.25 x 10 / 0.7) = 4 owners; the idlest
        assert move.cost_tokens == 2000.0
        assert looks.messages == [
            "more owners of 0000000000000001: 25.0% of the tokens are 2.5 endpoints' worth of work:"
            " it wants 4 owners at 70%, and has 2; 2000 tokens"
        ]

    def test_is_left_alone_where_its_pair_can_carry_it(self) -> None:
        looks = Looks()
        assert not looks.for_s(600, even(10), key(1, 0.139, "e0", "e1"))
        assert looks.memory == HotSpotMemory()

    def test_is_left_alone_where_it_was_hot_for_a_moment(self) -> None:
        looks = Looks()
        looks.for_s(45, even(10), key(1, 0.25, "e0", "e1"))
        looks.for_s(15, even(10), key(1, 0.1, "e0", "e1"))
        assert not looks.for_s(45, even(10), key(1, 0.25, "e0", "e1"))

    def test_gets_no_more_than_the_most_owners(self) -> None:
        looks = Looks(HotSpotSpec(max_owners=3))
        (move,) = looks.for_s(90, even(10), key(1, 0.9, "e0", "e1"))
        assert len(move.owners) == 1

    def test_gets_none_that_drain_are_cordoned_unready_or_only_decode(self) -> None:
        fleet = [
            *(load(name, in_flight=9) for name in ("a", "b", "c", "d")),
            load("e", ready=False, in_flight=0),
            load("f", pool="decode", in_flight=0),
        ]
        looks = Looks(HotSpotSpec(hold_s=0))
        observation = seen(fleet, keys=[key(1, 0.9, "a", "b")], ending=["c"])
        assert not looks.see(observation, avoid=frozenset({"d"}), roles={"decode": Role.DECODE})

    def test_gets_them_though_loads_are_unknown(self) -> None:
        looks = Looks(HotSpotSpec(hold_s=0))
        looks.now += 1
        dark = [load(f"e{number}") for number in range(10)]
        (move,) = looks.see(seen(dark, looks.now, keys=[key(1, 0.2, "e0", "e1")]))
        assert move.owners == ("e2",)

    def test_two_hot_keys_get_different_owners(self) -> None:
        looks = Looks()
        hot = (key(1, 0.25, "e0", "e1"), key(2, 0.25, "e0", "e1"))
        one, two = looks.for_s(90, even(10), *hot)
        assert not set(one.owners) & set(two.owners)

    def test_loses_them_as_far_as_it_needs_fewer_for_long(self) -> None:
        looks = Looks()
        looks.for_s(75, even(10), key(1, 0.35, "e0", "e1"))
        assert len(looks.memory.moves[0].owners) == 3
        looks.for_s(570, even(10), key(1, 0.19, "e0", "e1"))
        assert len(looks.memory.moves[0].owners) == 3
        (move,) = looks.for_s(45, even(10), key(1, 0.19, "e0", "e1"))
        assert len(move.owners) == 2  # ceil(1.25 x 0.19 x 10 / 0.7) = 4
        assert not looks.for_s(630, even(10), key(1, 0.05, "e0", "e1"))
        assert looks.said[-1] is ReasonCode.COOLED

    def test_a_key_that_nobody_speaks_of_any_more_is_cold(self) -> None:
        looks = Looks()
        looks.for_s(75, even(10), key(1, 0.25, "e0", "e1"))
        assert not looks.for_s(630, even(10), key(2, 0.01, "e0", "e1"))

    def test_where_no_key_is_told_nothing_is_undone(self) -> None:
        looks = Looks()
        looks.for_s(75, even(10), key(1, 0.25, "e0", "e1"))
        assert looks.for_s(3600, even(10))
        quiet = msgspec.structs.replace(
            seen([load(name, in_flight=0) for name in even(10)]),
            demand=Demand(requests_per_s=fresh(0.0)),
        )
        for _ in range(50):
            looks.now += 15
            looks.see(quiet)
        assert not looks.memory.moves


class TestHotEndpoints:
    """An endpoint that stays busier than the others."""

    def test_its_heaviest_key_that_fits_goes_to_the_idlest(self) -> None:
        looks = Looks()
        keys = (key(1, 0.3, "e0"), key(2, 0.34, "e0", "e2"), key(3, 0.1, "e0", "e2"))
        (move,) = looks.for_s(60, HOT, *keys)
        # 34 % on two are 17 %, less than half of 62 % - 6 %; 30 % on one are not
        assert (move.kind, move.key, move.owners) == (MoveKind.REHOME, keys[1].key, ("e3", "e2"))
        assert (move.relieved, move.share, move.cost_tokens) == ("e0", 0.34, 1000.0)
        assert move.why == (
            "e0 has 40.0 in flight against a mean of 16.0;"
            " 17.0% of all work is this key's there, and goes to e3"
        )

    def test_a_key_too_heavy_to_go_gets_an_owner_more(self) -> None:
        looks = Looks()
        (move,) = looks.for_s(60, HOT, key(1, 0.3, "e0"))
        assert (move.kind, move.owners, move.relieved) == (MoveKind.ADD, ("e3",), "e0")

    def test_one_that_no_key_explains_owns_less_of_all(self) -> None:
        looks = Looks()
        (move,) = looks.for_s(60, HOT, key(1, 0.01, "e0", "e1"))
        assert (move.kind, move.relieved, move.factor) == (MoveKind.REWEIGHT, "e0", 0.5)
        assert move.cost_tokens == 0.5 * 0.6 * 400 * 120

    def test_so_does_one_that_is_asked_no_more_than_others_it_is_slow(self) -> None:
        looks = Looks(HotSpotSpec(budget_tokens=10**6))
        (move,) = looks.for_s(60, HOT, key(1, 0.34, "e0", "e1"), traffic={"e0": 1000.0})
        assert move.kind is MoveKind.REWEIGHT
        assert "asked no more than others" in move.why

    def test_it_has_as_long_again_to_show_whether_that_was_enough(self) -> None:
        looks = Looks()
        keys = (key(1, 0.2, "e0", "e1"), key(2, 0.2, "e0", "e2"))
        assert len(looks.for_s(60, HOT, *keys)) == 1
        assert len(looks.for_s(45, HOT, *keys)) == 1
        assert len(looks.for_s(30, HOT, *keys)) == 2

    def test_a_little_more_than_the_others_is_chance(self) -> None:
        assert not Looks().for_s(600, {**even(8, 1.0), "e0": 4.0}, key(1, 0.1, "e0", "e1"))
        assert not Looks().for_s(600, {**even(8), "e0": 16.0}, key(1, 0.1, "e0", "e1"))

    def test_a_faster_engine_may_have_more(self) -> None:
        looks = Looks(HotSpotSpec(hold_s=0))
        fleet = [load(f"e{n}", in_flight=10, prefill_tokens_per_s=1000) for n in range(3)]
        fleet.append(load("e3", in_flight=30, prefill_tokens_per_s=3000))
        assert not looks.see(seen(fleet, keys=[key(1, 0.2, "e0", "e3")]))

    def test_where_one_load_is_unknown_nobody_is_hot(self) -> None:
        looks = Looks(HotSpotSpec(hold_s=0))
        fleet = [load("e0", in_flight=90), load("e1", in_flight=1), load("e2")]
        assert not looks.see(seen(fleet, keys=[key(1, 0.2, "e0", "e1")]))

    def test_a_cure_is_no_reason_to_take_it_back(self) -> None:
        looks = Looks()
        looks.for_s(60, HOT, key(2, 0.34, "e0", "e2"))
        assert looks.for_s(3600, even(4, 16.0), key(2, 0.34, "e2", "e3"))
        assert looks.for_s(3600, even(4, 16.0), key(2, 0.18, "e2", "e3"))

    def test_half_of_the_share_gone_is_one(self) -> None:
        looks = Looks()
        looks.for_s(60, HOT, key(2, 0.34, "e0", "e2"))
        assert looks.for_s(570, even(4, 16.0), key(2, 0.17, "e2", "e3"))
        assert not looks.for_s(45, even(4, 16.0), key(2, 0.17, "e2", "e3"))
        assert looks.said[-1] is ReasonCode.COOLED

    def test_a_weight_comes_back_the_same_way(self) -> None:
        looks = Looks(HotSpotSpec(budget_tokens=10**6))
        looks.for_s(60, HOT)
        cured = even(4, 16.0)
        assert looks.for_s(3600, cured, traffic={"e0": 1000.0}), "half of all at full weight"
        assert not looks.for_s(700, cured, traffic={"e0": 300.0})


class TestLimits:
    """What moves may cost, and what ends them."""

    def test_a_move_that_the_budget_does_not_cover_waits(self) -> None:
        looks = Looks(HotSpotSpec(budget_tokens=1500, interval_s=600, hold_s=0, cool_s=6000))
        hot = key(1, 0.35, "e0", "e1")
        (move,) = looks.for_s(15, even(10), hot)
        assert len(move.owners) == 1
        assert looks.said[-1] is ReasonCode.MOVES_LIMITED
        (move,) = looks.for_s(570, even(10), hot)
        assert len(move.owners) == 1
        (move,) = looks.for_s(60, even(10), hot)
        assert len(move.owners) == 2

    def test_a_move_whose_new_owner_has_gone_is_void(self) -> None:
        looks = Looks()
        hot = key(1, 0.25, "e0", "e1")
        (move,) = looks.for_s(75, even(10), hot)
        rest = {name: 10.0 for name in even(10) if name != move.owners[0]}
        looks.spec = HotSpotSpec(budget_tokens=0)
        (left,) = looks.for_s(0, rest, hot)
        assert left.owners == move.owners[1:]
        rest = {name: 10.0 for name in rest if name != move.owners[1]}
        assert not looks.for_s(0, rest, hot)
        assert ReasonCode.MOVE_DROPPED in looks.said

    def test_a_re_homed_key_goes_back_to_hashing_when_its_new_home_has_gone(self) -> None:
        looks = Looks()
        looks.for_s(60, HOT, key(2, 0.34, "e0", "e2"))
        assert not looks.for_s(0, {"e0": 10.0, "e1": 10.0, "e2": 10.0})
        assert looks.said[-1] is ReasonCode.MOVE_DROPPED

    def test_endpoints_that_are_not_told_have_not_gone(self) -> None:
        looks = Looks()
        moves = looks.for_s(75, even(10), key(1, 0.25, "e0", "e1"))
        blind = seen([], looks.now)
        pools = {"main": msgspec.structs.replace(blind.pools["main"], ready=10)}
        assert looks.see(msgspec.structs.replace(blind, pools=pools)) == moves
        assert not looks.see(blind)

    def test_switched_off_all_is_as_hashing_has_it(self) -> None:
        looks = Looks()
        looks.for_s(75, even(10), key(1, 0.25, "e0", "e1"))
        looks.spec = HotSpotSpec(enabled=False)
        assert not looks.for_s(0, even(10), key(1, 0.25, "e0", "e1"))
        assert looks.memory == HotSpotMemory()
