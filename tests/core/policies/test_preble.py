"""Preble's E2, load shift and replication, on cases computed by hand.

Endpoints compute 10,000 tokens a second, so a block of 512 tokens takes about 0.05 s.
"""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from cardan.decision import Reason
from cardan.instants import Monotonic
from cardan.policies import Preble, preble

from tests.core.policies.build import (
    NOW,
    choose,
    endpoint,
    fleet_of,
    load,
    pool_of,
    prompt_of,
    request_of,
)

if TYPE_CHECKING:
    from cardan.decision import Decision


class Scene:
    """Preble on `n` endpoints; prompts are given by their blocks."""

    def __init__(self, n: int = 2, policy: Preble | None = None, **config: int) -> None:
        self.fleet = fleet_of(n, **config)
        self.chooser = (policy or Preble()).bind()
        self.rng = Random(1)

    def send(self, *blocks: int, after_s: float = 0.0) -> Decision:
        now = Monotonic(NOW + after_s)
        request = request_of(prompt_of(*blocks))
        return choose(self.chooser, request, pool_of(self.fleet, now), self.rng, now)


def test_a_prompt_that_is_mostly_cached_goes_where_it_is() -> None:
    stage = Scene()
    home = stage.send(*range(10)).endpoint
    again = stage.send(*range(10), 11, 12, 13)
    assert (again.endpoint, again.reason) == (home, Reason.AFFINITY)


@pytest.mark.parametrize(("fresh", "reason"), [(9, Reason.AFFINITY), (10, Reason.POLICY)])
def test_more_than_half_must_be_cached(fresh: int, reason: Reason) -> None:
    stage = Scene()
    home = stage.send(*range(10)).endpoint
    decision = stage.send(*range(10), *range(100, 100 + fresh))
    # 10 blocks are assigned to home. Exploring costs 10 + 10 there and 20 elsewhere but for
    # attention, which makes the later half dearer: the whole is more than its two halves.
    assert decision.reason is reason
    assert decision.endpoint is home


def test_exploring_weighs_what_was_assigned_and_what_is_missing() -> None:
    stage = Scene()
    home = stage.send(*range(10)).endpoint
    other = stage.send(*range(100, 108)).endpoint
    assert other is not home
    # 4 of 10 are held at home: 10 + 6 there, 8 + 10 at the other.
    assert stage.send(*range(4), *range(200, 206)).endpoint is home
    # Now 16 against 8: a prompt of 10 that shares 4 goes to the other (22 and 18).
    assert stage.send(*range(4), *range(300, 306)).endpoint is other


def test_what_was_assigned_is_forgotten_after_the_window() -> None:
    stage = Scene()
    first = stage.send(*range(10)).endpoint
    second = stage.send(*range(100, 108), after_s=100.0).endpoint
    assert second is not first
    assert stage.send(*range(200, 204), after_s=150.0).endpoint is second  # 8 blocks against 10
    # 12 against 10; then the first one's 10 are over three minutes old.
    assert stage.send(*range(300, 302), after_s=190.0).endpoint is first


def test_evicting_what_is_often_used_is_dear() -> None:
    """Two maps of 16 blocks are full; one endpoint's blocks are asked for again and again."""
    chosen = {(room, asked_of_many_times(room, seed)) for room in (17, 64) for seed in range(20)}
    assert chosen == {(17, False), (64, False), (64, True)}  # with room for all a coin decides


def asked_of_many_times(cache_blocks: int, seed: int) -> bool:
    """Whether the busy one of two is chosen for a new prompt; both have computed as much."""
    stage = Scene(cache_tokens=cache_blocks * 512)
    stage.rng = Random(seed)
    busy = stage.send(*range(16)).endpoint
    assert stage.send(*range(100, 116)).endpoint is not busy
    for _ in range(20):
        assert stage.send(*range(16)).endpoint is busy  # nothing to compute, nothing assigned
    return stage.send(*range(200, 204)).endpoint is busy


class Uneven(Scene):
    """Two prefixes at `heavy`, whose load grows by a block a request, and a third at `light`."""

    def __init__(self, shift_ratio: float = 1.5) -> None:
        super().__init__(policy=Preble(shift_ratio=shift_ratio))
        self.heavy = self.send(*range(12)).endpoint
        self.light = self.send(*range(100, 114)).endpoint
        assert self.send(*range(200, 212)).endpoint is self.heavy  # 12 blocks against 14

    def exploit(self, first: int, number: int, after_s: float = 0.0) -> Decision:
        """The prefix that begins with `first`, and a block that is new."""
        return self.send(*range(first, first + 12), 1000 + number, after_s=after_s)


def test_the_heaviest_sheds_what_it_would_be_exploited_for() -> None:
    stage = Uneven()
    for number in range(4, 100):
        decision = stage.exploit(200 * (number % 2), number)
        assert (decision.endpoint, decision.reason) == (stage.heavy, Reason.AFFINITY)
    decision = stage.exploit(0, 100)  # 50 for each
    assert (decision.endpoint, decision.reason) == (stage.light, Reason.BALANCE)
    # Both hold this prefix now, and the lighter one costs less.
    decision = stage.exploit(0, 101)
    assert (decision.endpoint, decision.reason) == (stage.light, Reason.AFFINITY)
    decision = stage.exploit(200, 102)
    assert (decision.endpoint, decision.reason) == (stage.light, Reason.BALANCE)


def test_within_the_ratio_nothing_is_shifted() -> None:
    stage = Uneven(shift_ratio=50.0)
    for number in range(4, 200):
        assert stage.exploit(200 * (number % 2), number).endpoint is stage.heavy


class Single(Scene):
    """One prefix is all that `home` is exploited for; the fleet has settled."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.send(*range(12)).endpoint
        for number in range(1, 120):
            assert self.exploit(number).endpoint is self.home  # moving it would move the heat

    def exploit(self, number: int, after_s: float = 0.0) -> Decision:
        return self.send(*range(12), 1000 + number, after_s=after_s)


def test_a_single_prefix_is_replicated_when_its_first_tokens_come_twice_as_late() -> None:
    stage = Single()  # 0.73 s each, as predicted without a queue
    load(stage.home, 1, tokens_each=5_000.0, at=NOW + 100.0)
    assert stage.exploit(200, after_s=100.0).endpoint is stage.home  # 1.2 s
    load(stage.home, 1, tokens_each=50_000.0, at=NOW + 100.0)
    decision = stage.exploit(201, after_s=100.0)
    assert (decision.endpoint is stage.home, decision.reason) == (False, Reason.BALANCE)
    # Both hold it: where less is assigned.
    assert stage.exploit(202, after_s=101.0).endpoint is decision.endpoint


def test_one_half_alone_tells_nothing_of_a_rise() -> None:
    stage = Single()
    load(stage.home, 1, tokens_each=50_000.0)
    assert stage.exploit(200, after_s=1.0).endpoint is stage.home
    assert stage.exploit(201, after_s=300.0).endpoint is stage.home  # nothing before


def test_who_has_left_is_forgotten() -> None:
    stage = Scene(3)
    home = stage.send(*range(10)).endpoint
    rest = [state.endpoint for state in stage.fleet.endpoints.values() if state is not home]
    stage.fleet.update(rest, NOW)
    assert stage.send(*range(10)).endpoint is not home
    stage.fleet.update([*rest, home.endpoint, endpoint(7)], NOW)
    assert stage.send(*range(10)).endpoint.id not in (home.id, "e07")


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preble, "MAX_COUNTED", 50)
    stage = Scene(3, cache_tokens=20 * 512)
    for number in range(400):
        stage.send(*range(number * 10, number * 10 + 8), after_s=number * 1.7)
        stage.send(*range(number * 10, number * 10 + 8), 5, after_s=number * 1.7)
    chooser: preble._Chooser = stage.chooser  # type: ignore[assignment]
    halves = chooser._halves
    assert len(chooser._index) <= 3 * 20
    for half in (halves._earlier, halves._later):
        assert 0 < max(len(half.uses), len(half.ttfts)) <= 50
    assert all(len(assigned._steps) <= 36 for assigned in chooser._assigned.values())
