"""Mode `free`, each branch on a case computed by hand: first turns, held elsewhere, the late.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens. Requests have an SLO of 4 s and theta is 0.5,
so a candidate fits up to 2 s. A prompt of 2,048 tokens takes 0.225 s where nothing is cached.
"""

from __future__ import annotations

from collections import Counter
from random import Random

from cardan.decision import Reason
from cardan.depth import DepthConfig
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan.policies import DualMap, Mode

from tests.core.policies.build import (
    MODEL,
    NOW,
    choose,
    fleet_of,
    load,
    pool_of,
    prompt_of,
    request_of,
)
from tests.core.policies.test_dualmap import PROMPT, Scene, busy
from tests.fakes.draining import drain

LONG = prompt_of(*range(11, 43))  # 16,384 tokens: 2.1 s cold


def scene(n: int = 4, **options: float) -> Scene:
    return Scene(DualMap(**options), n)  # type: ignore[arg-type]


def all_busy(play: Scene, seconds: float) -> None:
    for state in play.pool.routable:
        busy(state, seconds)


def test_it_is_the_default() -> None:
    assert DualMap().mode is Mode.FREE


def test_a_first_turn_goes_to_the_soonest_of_all() -> None:
    play = scene()
    third, fourth = play.outside
    for state, seconds in ((play.first, 1.0), (play.second, 0.9), (third, 0.3), (fourth, 0.5)):
        busy(state, seconds)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (third, Reason.FIRST_TURN)
    assert [one.endpoint for one in decision.candidates] == [play.first, play.second]


def test_a_first_turn_stays_with_its_candidates_for_a_gain_within_the_error() -> None:
    play = scene()
    all_busy(play, 0.5)
    decision = play.decide()
    assert decision.reason is Reason.TIE
    assert decision.endpoint in (play.first, play.second)
    for state in (play.first, play.second):
        busy(state, 0.04)  # 40 ms less to do elsewhere: 50 ms count, or 5 % of 0.765 s
    assert play.decide().reason is Reason.TIE
    for state in (play.first, play.second):
        busy(state, 0.02)
    assert play.decide().reason is Reason.FIRST_TURN


def test_a_first_turn_looks_at_no_more_than_its_sample() -> None:
    play = Scene(DualMap(first_sample=4, depth=DepthConfig(hot_share=1e6)), 40)
    for state in (play.first, play.second):
        busy(state, 1.0)
    idle = play.outside[0]
    for state in play.outside[1:]:
        busy(state, 0.5)
    homes = Counter(play.decide().endpoint is idle for _ in range(1000))
    assert 60 <= homes[True] <= 145  # one in ten: 100 +- 4.5 sigma


def test_without_a_sample_it_stays_within_its_candidates() -> None:
    play = scene(first_sample=0)
    busy(play.first, 1.0)
    busy(play.second, 0.9)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.TIE)


def test_what_is_hot_is_nobodys_own_and_such_a_prompt_is_a_first_turn() -> None:
    play = scene(n=8)
    for number in range(400):  # blocks 1 and 2 become hot; keys are three blocks long
        play.decide(prompt_of(1, 2, 1000 + number))
    new = prompt_of(1, 2, 5000, 5001)
    owners = [one.endpoint for one in play.decide(new).candidates]
    for state in owners:
        state.shadow.insert((1, 2))
        busy(state, 1.0)
    assert play.decide(new).reason is Reason.FIRST_TURN


def test_who_lacks_the_hot_blocks_is_not_left_out_for_it() -> None:
    """Computing them once is worth it: who is never asked would lack them for ever."""
    play = scene(n=8)
    for number in range(400):
        play.decide(prompt_of(1, 2, 1000 + number))
    idle = play.outside[0]
    for state in play.pool.routable:
        if state is not idle:
            state.shadow.insert((1, 2))  # 0.1 s
            busy(state, 0.08)
    fresh = (prompt_of(1, 2, number, number + 1) for number in range(5000, 5100, 2))
    homes = [play.decide(prompt) for prompt in fresh]
    assert {one.endpoint for one in homes} == {idle}


def test_a_later_turn_finds_what_is_held_outside_its_candidates() -> None:
    play = scene()
    holder = play.outside[0]
    holder.shadow.insert(PROMPT.chain)
    busy(holder, 1.5)
    later = prompt_of(*range(11, 16))
    decision = play.decide(later)
    assert (decision.endpoint, decision.reason) == (holder, Reason.WARM)
    assert holder in [one.endpoint for one in decision.candidates]


def test_the_holder_is_left_for_a_candidate_like_any_warm_one() -> None:
    play = scene()
    holder = play.outside[0]
    holder.shadow.insert(PROMPT.chain)
    busy(holder, 3.5)
    decision = play.decide()
    assert decision.reason is Reason.SWITCH
    assert decision.endpoint in (play.first, play.second)


def test_who_holds_it_outside_is_not_asked_where_a_candidate_holds_it_too() -> None:
    play = scene()
    play.outside[0].shadow.insert(PROMPT.chain)
    play.first.shadow.insert(PROMPT.chain[:2])
    assert play.decide().endpoint is play.first


def test_a_switch_must_gain_four_times_what_it_recomputes() -> None:
    play = scene(theta=1.0)  # 8,192 tokens held are 0.82 s: the gain must be over 3.28 s
    play.second.shadow.insert(LONG.chain[:16])
    busy(play.first, 1.0)  # 3.1 s
    busy(play.second, 4.0)  # 5.2 s
    assert play.decide(LONG).reason is Reason.HOPELESS
    busy(play.second, 2.0)  # 7.2 s
    decision = play.decide(LONG)
    assert (decision.endpoint, decision.reason) == (play.first, Reason.SWITCH)


def test_a_warm_one_that_misses_the_slo_is_left_for_one_that_keeps_it() -> None:
    play = scene()  # neither is within 2 s
    play.second.shadow.insert(PROMPT.chain[:1])
    busy(play.first, 2.5)
    busy(play.second, 3.5)
    assert play.decide().reason is Reason.HOPELESS
    busy(play.second, 1.0)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.first, Reason.SWITCH)


def test_a_late_first_turn_waits_where_it_is_late_already() -> None:
    play = scene(late_slos=16.0)
    all_busy(play, 4.5)
    longest = play.outside[1]
    busy(longest, 20.0)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (longest, Reason.LATE)


def test_it_is_not_late_while_somebody_keeps_the_slo() -> None:
    play = scene(late_slos=16.0)
    all_busy(play, 4.5)
    busy(play.outside[1], 20.0)
    play.outside[0].load.waiting_tokens = 10_000 * 3.0
    assert play.decide().endpoint is play.outside[0]


def test_the_late_are_gathered_up_to_a_bound() -> None:
    play = scene(late_slos=2.0)  # 8 s
    all_busy(play, 4.5)
    busy(play.outside[0], 20.0)
    busy(play.outside[1], 2.0)
    assert play.decide().endpoint is play.outside[1]
    all_busy(play, 5.0)  # now nobody is within the bound: the soonest
    decision = play.decide()
    assert decision.reason is Reason.TIE
    assert decision.endpoint in (play.first, play.second)


def test_the_late_are_not_gathered_unless_there_is_a_bound() -> None:
    play = scene()
    all_busy(play, 4.5)
    busy(play.outside[1], 20.0)
    assert play.decide().reason is Reason.TIE


def test_what_an_idle_endpoint_would_not_do_in_time_is_not_gathered() -> None:
    play = scene()
    huge = prompt_of(*range(100, 164))  # 32,768 tokens: 5.2 s
    all_busy(play, 4.5)
    busy(play.outside[1], 20.0)
    assert play.decide(huge).reason is Reason.TIE


def test_nobody_is_gathered_at_an_endpoint_that_stalls() -> None:
    play = scene()
    stalled = play.outside[1]
    load(stalled, 1, tokens_each=300_000.0, at=NOW - 4.0)  # waits for 4 s, predicted 0.05
    all_busy(play, 4.5)
    assert play.decide().endpoint is not stalled


def test_a_warm_late_one_stays_where_it_wastes_least() -> None:
    play = scene()
    play.second.shadow.insert(PROMPT.chain)
    all_busy(play, 4.5)
    busy(play.outside[1], 20.0)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.HOPELESS)


def test_a_key_that_the_controller_has_moved_goes_where_the_controller_says() -> None:
    play = scene()
    third, fourth = play.outside
    third.shadow.insert(PROMPT.chain)
    moved = ModelOverlay(owners={f"{PROMPT.chain[0]:016x}": (fourth.id,)})
    play.fleet.apply(RoutingOverlay(models={MODEL: moved}), NOW)
    busy(fourth, 1.0)
    decision = play.decide()
    asked = [one.endpoint for one in decision.candidates]
    assert decision.moved
    assert decision.endpoint in asked
    assert third not in asked


def test_what_drains_is_no_place_to_begin() -> None:
    play = scene()
    for state in (play.first, play.second):
        busy(state, 1.0)
    leaving = play.outside[0]
    drain(play.fleet, leaving.id)
    homes = {play.decide().endpoint for _ in range(20)}
    assert leaving not in homes


def test_with_no_more_endpoints_than_candidates_nothing_is_outside() -> None:
    play = scene(n=2)
    busy(play.first, 1.0)
    decision = play.decide()
    assert (decision.endpoint, decision.reason) == (play.second, Reason.TIE)


def test_a_lone_endpoint_is_the_choice() -> None:
    decision = choose(DualMap().bind(), request_of(PROMPT), pool_of(fleet_of(1)), Random(1))
    assert decision.reason is Reason.ONLY
