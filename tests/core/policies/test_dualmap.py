"""DualMap follows its rule exactly: each branch on a case computed by hand.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens. Requests have an SLO of 4 s and theta is 0.5,
so a candidate fits up to 2 s.
"""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING

import pytest
from cardan.decision import Reason
from cardan.depth import DepthConfig
from cardan.policies import DualMap, Mode

from tests.core.policies.build import (
    NOW,
    choose,
    fleet_of,
    load,
    pool_of,
    prompt_of,
    request_of,
)
from tests.fakes.draining import drain

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.fleet import EndpointState, Fleet, Pool
    from cardan.prompt import Prompt

PROMPT = prompt_of(*range(11, 15))  # 2,048 tokens: 0.2 s cold


class Scene:
    """Four endpoints of which two, `first` and `second` in hash order, are PROMPT's candidates."""

    def __init__(self, policy: DualMap, n: int = 4) -> None:
        self.fleet: Fleet = fleet_of(n)
        self.chooser = policy.bind()
        self.rng = Random(7)
        self.first, self.second = [
            candidate.endpoint
            for candidate in choose(
                policy.bind(), request_of(PROMPT), self.pool, self.rng
            ).candidates
        ]

    @property
    def pool(self) -> Pool:
        return pool_of(self.fleet)

    @property
    def outside(self) -> list[EndpointState]:
        return [state for state in self.pool.routable if state not in (self.first, self.second)]

    def decide(self, prompt: Prompt = PROMPT, *, waited_s: float = 0.0) -> Decision:
        request = request_of(prompt, arrived_at=NOW - waited_s)
        return choose(self.chooser, request, self.pool, self.rng)


def scene(mode: Mode, **options: float) -> Scene:
    return Scene(DualMap(mode=mode, **options))  # type: ignore[arg-type]


def busy(state: EndpointState, seconds: float) -> None:
    """Work for that long lies before a new request."""
    load(state, 1, tokens_each=seconds * 10_000)


def test_there_are_d_candidates_and_the_choice_is_one_of_them() -> None:
    for d in (1, 2, 3, 4, 7):
        decision = choose(DualMap(d=d).bind(), request_of(PROMPT), pool_of(fleet_of(4)), Random(1))
        assert len(decision.candidates) == min(d, 4)
        assert decision.chosen in decision.candidates


def test_the_key_of_a_prefix_nobody_shares_is_its_first_block() -> None:
    decision = scene(Mode.STICK).decide()
    assert (decision.key, decision.depth) == (11, 1)


def test_a_hot_prefix_gets_a_longer_key_and_spreads() -> None:
    pool, chooser, rng = pool_of(fleet_of(8)), DualMap().bind(), Random(1)
    homes: Counter[str] = Counter()
    for number in range(400):
        prompt = prompt_of(1, 2, 1000 + number)
        homes[choose(chooser, request_of(prompt), pool, rng).endpoint.id] += 1
    assert len(homes) == 8
    assert max(homes.values()) < 120


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.STICK, Mode.SPILL])
def test_equal_reuse_goes_to_the_less_loaded(mode: Mode) -> None:
    play = scene(mode)
    busy(play.first, 0.5)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.TIE)


def test_equal_reuse_counts_blocks_not_biased_tokens() -> None:
    play = scene(Mode.STICK)
    for state in (play.first, play.second):
        state.shadow.insert(PROMPT.chain)
    play.first.speed.hit_bias = 0.9
    assert play.decide().reason is Reason.TIE


def test_predictions_within_noise_are_equal_and_the_fewer_in_flight_wins() -> None:
    """An engine that has stopped to answer is predicted no slower; what it has in flight tells."""
    stage = scene(Mode.STICK)
    stage.first.load.in_flight = 22
    busy(stage.second, 0.012)
    stage.second.load.in_flight = 1
    assert stage.decide().endpoint is stage.second


def test_equal_reuse_and_equal_load_is_a_coin() -> None:
    play = scene(Mode.STICK)
    homes = Counter(play.decide().endpoint.id for _ in range(400))
    assert abs(homes[play.first.id] - 200) < 40  # 4 sigma


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.STICK, Mode.SPILL])
def test_the_warm_candidate_is_kept_while_it_fits(mode: Mode) -> None:
    play = scene(mode)
    play.second.shadow.insert(PROMPT.chain[:2])
    busy(play.second, 1.8)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.WARM)


@pytest.mark.parametrize("mode", [Mode.PAPER, Mode.STICK, Mode.SPILL])
def test_a_warm_candidate_over_budget_is_left_for_one_that_fits(mode: Mode) -> None:
    play = scene(mode)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 2.1)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.first, Reason.SWITCH)


def test_what_was_waited_is_taken_from_the_budget() -> None:
    play = scene(Mode.STICK)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 1.0)
    assert play.decide().reason is Reason.WARM
    assert play.decide(waited_s=1.5).reason is Reason.SWITCH


def test_caution_is_taken_from_the_budget() -> None:
    play = scene(Mode.STICK)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 1.5)
    assert play.decide().reason is Reason.WARM
    play.second.speed.caution = 0.5
    assert play.decide().reason is Reason.SWITCH


def test_stick_stays_warm_when_nothing_fits() -> None:
    play = scene(Mode.STICK)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 9.0)
    busy(play.first, 2.5)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.HOPELESS)


def test_paper_takes_the_least_time_even_if_nothing_fits() -> None:
    play = scene(Mode.PAPER)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 9.0)
    busy(play.first, 2.5)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.first, Reason.LEAST_TTFT)


def test_spill_takes_an_endpoint_outside_that_fits() -> None:
    play = scene(Mode.SPILL, spill_share=1.0)
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 9.0)
    busy(play.first, 2.5)
    decision = play.decide()
    assert decision.reason is Reason.SPILL
    assert decision.endpoint in play.outside
    assert decision.endpoint not in [candidate.endpoint for candidate in decision.candidates]


def test_spill_stays_when_nothing_outside_fits_either() -> None:
    play = scene(Mode.SPILL, spill_share=1.0)
    play.second.shadow.insert(PROMPT.chain)
    for state in play.pool.routable:
        busy(state, 9.0)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.HOPELESS)


def test_spill_stays_when_it_gains_less_than_it_recomputes() -> None:
    long = prompt_of(*range(11, 43))  # 16,384 tokens: about 2.1 s cold
    play = Scene(DualMap(mode=Mode.SPILL, spill_share=1.0, theta=1.0))
    play.second.shadow.insert(long.chain)
    busy(play.second, 4.1)  # just over the budget of 4 s; an idle endpoint would need over 2 s
    busy(play.first, 9.0)
    assert play.decide(long).reason is Reason.SPILL
    for state in play.outside:
        busy(state, 1.0)  # now it would gain a second and recompute for 1.6
    decision = play.decide(long)
    assert (decision.endpoint, decision.reason) == (play.second, Reason.HOPELESS)


def test_at_most_the_allowed_share_of_requests_spills() -> None:
    play = Scene(DualMap(mode=Mode.SPILL, spill_share=0.05, depth=DepthConfig(hot_share=1e6)))
    play.second.shadow.insert(PROMPT.chain)
    busy(play.second, 9.0)
    busy(play.first, 2.5)
    reasons = Counter(play.decide().reason for _ in range(400))
    assert 18 <= reasons[Reason.SPILL] <= 20


def test_ordered_takes_the_first_that_fits_in_hash_order() -> None:
    play = scene(Mode.ORDERED)
    play.second.shadow.insert(PROMPT.chain)
    assert play.decide().endpoint is play.first
    assert play.decide().reason is Reason.ORDERED
    busy(play.first, 2.5)
    assert play.decide().endpoint is play.second


def test_ordered_falls_back_to_the_head() -> None:
    play = scene(Mode.ORDERED)
    busy(play.first, 9.0)
    busy(play.second, 2.5)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.first, Reason.HOPELESS)


def test_the_only_endpoint_is_the_choice() -> None:
    decision = choose(DualMap().bind(), request_of(PROMPT), pool_of(fleet_of(1)), Random(1))
    assert decision.reason is Reason.ONLY


def test_a_request_without_a_prompt_goes_to_the_less_loaded_of_two() -> None:
    pool, chooser, rng = pool_of(fleet_of(3)), DualMap().bind(), Random(1)
    busy(pool.routable[0], 1.0)
    busy(pool.routable[1], 0.5)
    homes = Counter(str(choose(chooser, request_of(), pool, rng).endpoint.id) for _ in range(300))
    assert homes["e00"] == 0
    assert abs(homes["e02"] - 200) < 35
    assert choose(chooser, request_of(), pool, rng).reason is Reason.LEAST_TTFT


def test_a_draining_endpoint_serves_what_only_it_holds() -> None:
    play = scene(Mode.STICK)
    play.first.shadow.insert(PROMPT.chain)
    drain(play.fleet, play.first.id)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.first, Reason.DRAINING_WARM)


def test_a_draining_endpoint_gets_nothing_that_others_hold_as_well() -> None:
    play = scene(Mode.STICK)
    for state in play.pool.routable:
        state.shadow.insert(PROMPT.chain)
    drain(play.fleet, play.first.id)
    assert play.decide().endpoint is not play.first


def test_a_draining_endpoint_over_budget_is_left_alone() -> None:
    play = scene(Mode.STICK)
    play.first.shadow.insert(PROMPT.chain)
    busy(play.first, 2.5)
    drain(play.fleet, play.first.id)
    assert play.decide().endpoint is not play.first


def test_a_retry_never_returns_to_an_endpoint_that_may_not_be_asked() -> None:
    play = scene(Mode.STICK)
    play.first.shadow.insert(PROMPT.chain)
    rest = [state for state in play.pool.routable if state is not play.first]
    request = request_of(PROMPT)
    decision = play.chooser.choose(request, play.pool, rest, NOW, play.rng)
    assert decision.endpoint in rest
    again = choose(play.chooser, request, play.pool, play.rng)
    assert again.endpoint is play.first  # and nothing of the detour was remembered


def test_a_draining_endpoint_gets_no_retry() -> None:
    play = scene(Mode.STICK)
    play.first.shadow.insert(PROMPT.chain)
    drain(play.fleet, play.first.id)
    rest = play.pool.routable[1:]
    decision = play.chooser.choose(request_of(PROMPT), play.pool, rest, NOW, play.rng)
    assert decision.endpoint in rest


def test_replicas_with_nothing_shared_agree_on_the_candidates() -> None:
    one, other = (Scene(DualMap(), n=16) for _ in range(2))
    for number in range(100):
        prompt = prompt_of(number, number + 1000)
        ours, theirs = (
            [candidate.endpoint.id for candidate in scene.decide(prompt).candidates]
            for scene in (one, other)
        )
        assert ours == theirs
