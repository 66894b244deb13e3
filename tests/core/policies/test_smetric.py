"""SMetric's rule for sessions, on cases computed by hand.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens; the SLO is 4 s.
"""

from __future__ import annotations

from random import Random

from cardan.decision import Reason
from cardan.policies import SMetric

from tests.core.policies.build import NOW, choose, fleet_of, load, pool_of, prompt_of, request_of

FIRST = prompt_of(*range(11, 15))
LATER = prompt_of(*range(11, 19))


def test_a_session_begins_where_the_fewest_tokens_wait() -> None:
    pool = pool_of(fleet_of(3))
    load(pool.routable[0], 1, tokens_each=100.0)
    load(pool.routable[1], 9, tokens_each=10.0)
    load(pool.routable[2], 1, tokens_each=200.0)
    decision = choose(SMetric().bind(), request_of(FIRST), pool, Random(1))
    assert (decision.endpoint.id, decision.reason) == ("e01", Reason.POLICY)


def test_a_later_turn_stays_while_its_deadline_allows() -> None:
    pool, chooser = pool_of(fleet_of(2)), SMetric().bind()
    home = pool.routable[1]
    home.shadow.insert(FIRST.chain)
    load(home, 1, tokens_each=37_000.0)  # 3.7 s and 0.25 s to compute, of 4 s
    decision = choose(chooser, request_of(LATER), pool, Random(1))
    assert (decision.endpoint, decision.reason) == (home, Reason.WARM)
    load(home, 1, tokens_each=1_000.0)
    decision = choose(chooser, request_of(LATER), pool, Random(1))
    assert (decision.endpoint.id, decision.reason) == ("e00", Reason.SWITCH)


def test_what_was_waited_and_the_slack_change_the_deadline() -> None:
    pool = pool_of(fleet_of(2))
    home = pool.routable[1]
    home.shadow.insert(FIRST.chain)
    load(home, 1, tokens_each=20_000.0)
    waited = request_of(LATER, arrived_at=NOW - 2.0)
    assert choose(SMetric().bind(), waited, pool, Random(1)).reason is Reason.SWITCH
    assert choose(SMetric(slack=2.0).bind(), waited, pool, Random(1)).reason is Reason.WARM


def test_when_nobody_can_meet_it_the_session_stays() -> None:
    pool = pool_of(fleet_of(2))
    home, other = pool.routable[1], pool.routable[0]
    home.shadow.insert(FIRST.chain)
    load(home, 1, tokens_each=90_000.0)
    load(other, 1, tokens_each=50_000.0)
    decision = choose(SMetric().bind(), request_of(LATER), pool, Random(1))
    assert (decision.endpoint, decision.reason) == (home, Reason.HOPELESS)


def test_of_equal_overlaps_the_least_loaded_is_home() -> None:
    pool = pool_of(fleet_of(3))
    for state, tokens in zip(pool.routable, (0.0, 2_000.0, 1_000.0), strict=True):
        load(state, 1, tokens_each=tokens)
    for state in pool.routable[1:]:
        state.shadow.insert(FIRST.chain)
    assert choose(SMetric().bind(), request_of(LATER), pool, Random(1)).endpoint.id == "e02"


def test_a_system_prompt_that_everybody_shares_makes_no_later_turn() -> None:
    """It would send every session to whoever was the first to hold it."""
    pool, chooser, rng = pool_of(fleet_of(8)), SMetric().bind(), Random(1)
    for number in range(200):
        choose(chooser, request_of(prompt_of(1, 2, 1000 + number)), pool, rng)
    holder = pool.routable[3]
    holder.shadow.insert((1, 2))
    load(holder, 1, tokens_each=1.0)
    fresh = choose(chooser, request_of(prompt_of(1, 2, 5000)), pool, rng)
    assert fresh.reason is Reason.POLICY
    holder.shadow.insert((1, 2, 5000))
    again = choose(chooser, request_of(prompt_of(1, 2, 5000, 5001)), pool, rng)
    assert (again.endpoint, again.reason) == (holder, Reason.WARM)
