"""AIBrix's three rules, on cases computed by hand."""

from __future__ import annotations

from random import Random

import pytest
from cardan.decision import Reason
from cardan.policies import AibrixPrefixCache

from tests.core.policies.build import choose, fleet_of, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(100, 110))


class Scene:
    """A prompt that was routed to `owner`; then loads are as given, the owner's first."""

    def __init__(self, policy: AibrixPrefixCache, loads: list[int]) -> None:
        self.pool, self.rng = pool_of(fleet_of(len(loads))), Random(1)
        self.chooser = policy.bind()
        self.owner = choose(self.chooser, request_of(PROMPT), self.pool, self.rng).endpoint
        self.others = [state for state in self.pool.routable if state is not self.owner]
        for state, requests in zip([self.owner, *self.others], loads, strict=True):
            state.load.in_flight = requests

    def reason(self) -> Reason:
        """Where the same prompt goes now: AFFINITY is the owner."""
        decision = choose(self.chooser, request_of(PROMPT), self.pool, self.rng)
        assert (decision.endpoint is self.owner) == (decision.reason is Reason.AFFINITY)
        return decision.reason


@pytest.mark.parametrize(
    ("loads", "deviations", "expected"),
    [
        ([0, 0, 0], 1.0, Reason.AFFINITY),
        ([3, 2, 0], 1.0, Reason.AFFINITY),  # mean 1.67, deviation 1.53
        ([4, 0, 0], 1.0, Reason.POLICY),  # 1.33 and 2.31: 4 is above 3.64
        ([4, 0, 0], 2.0, Reason.AFFINITY),  # 5.95
        ([1], 1.0, Reason.AFFINITY),  # one has no deviation
    ],
)
def test_the_owner_is_kept_within_a_deviation_of_the_mean(
    loads: list[int], deviations: float, expected: Reason
) -> None:
    assert Scene(AibrixPrefixCache(deviations=deviations), loads).reason() is expected


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([8, 0, 0, 0], Reason.AFFINITY),
        ([9, 0, 0, 0], Reason.BALANCE),
        ([30, 21, 22], Reason.BALANCE),
    ],
)
def test_a_gap_over_eight_is_imbalance(loads: list[int], expected: Reason) -> None:
    assert Scene(AibrixPrefixCache(deviations=100.0), loads).reason() is expected


def test_under_imbalance_the_idlest_is_taken_with_or_without_a_match() -> None:
    stage = Scene(AibrixPrefixCache(), [0, 20, 0, 0])
    chosen = [choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng) for _ in range(200)]
    assert {decision.reason for decision in chosen} == {Reason.BALANCE}
    assert {decision.endpoint for decision in chosen} == {*stage.pool.routable} - {stage.others[0]}


@pytest.mark.parametrize(
    ("loads", "expected"),
    [
        ([9, 0, 0, 0], Reason.BALANCE),  # 9 is over 2 x (2.25 + 1), and at least 8 more
        ([7, 0, 0, 0], Reason.AFFINITY),  # over 5.5, but 7 more
        ([12, 4, 4, 4], Reason.AFFINITY),  # 8 more, but not over 14
        ([0, 20, 0, 0], Reason.AFFINITY),  # it is among the idlest, which it looks at
    ],
)
def test_the_later_rule_needs_a_factor_too(loads: list[int], expected: Reason) -> None:
    policy = AibrixPrefixCache(imbalance_factor=2.0, imbalance_gap=7, deviations=100.0)
    assert Scene(policy, loads).reason() is expected


def test_the_longer_match_wins_and_among_equals_the_less_busy() -> None:
    stage = Scene(AibrixPrefixCache(deviations=100.0), [5, 0, 0])
    # Half of the prompt becomes known elsewhere, too.
    half = prompt_of(*range(100, 105))
    chain = half.chain
    index = stage.chooser._index  # type: ignore[attr-defined]
    index.record(stage.others[0], chain, 100)
    assert stage.reason() is Reason.AFFINITY
    decision = choose(stage.chooser, request_of(half), stage.pool, stage.rng)
    assert decision.endpoint is stage.others[0]


def test_the_prompt_is_known_where_it_went_for_balance() -> None:
    stage = Scene(AibrixPrefixCache(), [4, 0, 0])
    moved = choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng).endpoint
    again = choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng)
    assert (again.endpoint, again.reason) == (moved, Reason.AFFINITY)
