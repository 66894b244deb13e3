"""The parts of the core together, on engines that queue: routing by DualMap keeps caches warm and
loads even, learns what each engine can do, and predicts what then happens.

Seeds are fixed, so every figure is the same in every run; the margins are wide all the same.
"""

from __future__ import annotations

from statistics import median

import pytest
from cardan.policies import AnyPolicy, DualMap, LeastRequest, Mode, RoundRobin

from tests.core.policies.queueing import Play, Result, conversations, strangers

SLO_S = 2.0
EIGHT = [10_000.0] * 8


def play(policy: AnyPolicy, rates: list[float], per_s: float, n: int = 2000) -> Result:
    return Play(policy, rates, slo_s=SLO_S, seed=1).run(conversations(n, per_s, seed=2))


@pytest.mark.parametrize("baseline", [RoundRobin(), LeastRequest()], ids=["rr", "least"])
def test_dualmap_beats_policies_that_do_not_look_at_prompts(baseline: AnyPolicy) -> None:
    ours, theirs = play(DualMap(), EIGHT, 40.0), play(baseline, EIGHT, 40.0)
    assert ours.attainment(SLO_S) > theirs.attainment(SLO_S) + 0.1
    assert ours.hit_ratio() > theirs.hit_ratio() + 0.1


@pytest.mark.parametrize("seed", [2, 3, 4])
def test_one_system_prompt_for_all_neither_makes_an_endpoint_hot_nor_starves_one(seed: int) -> None:
    """One that missed the first burst does not hold the system prompt: it must not matter."""
    arrivals = conversations(2000, 25.0, seed=seed)
    result = Play(DualMap(), EIGHT, slo_s=SLO_S, seed=1).run(arrivals)
    served = [engine.served for engine in result.engines.values()]
    assert max(served) < 1.5 * 2000 / 8
    assert min(served) > 0.5 * 2000 / 8


def test_past_saturation_sticking_keeps_what_the_papers_rule_gives_up() -> None:
    stick = play(DualMap(mode=Mode.STICK), EIGHT, 60.0)
    paper = play(DualMap(mode=Mode.PAPER), EIGHT, 60.0)
    assert stick.hit_ratio() > paper.hit_ratio()
    assert sum(stick.ttfts_s) < sum(paper.ttfts_s)


def test_predictions_are_close_to_what_happens() -> None:
    result = play(DualMap(), EIGHT, 30.0)
    errors = [abs(actual - predicted) for predicted, actual in result.predictions[500:]]
    typical = median(actual for _, actual in result.predictions[500:])
    assert median(errors) < 0.25 * typical


def test_every_endpoints_own_speed_is_learned() -> None:
    """On prompts that share nothing. (One whose beginning was in the queue before it turns out to
    be less work than predicted; then the rate comes out high, as the work that it divides does.)
    """
    rates = [6_000.0, 6_000.0, 12_000.0, 12_000.0, 27_000.0, 27_000.0]
    arrivals = strangers(1000, 11.0, seed=2)
    result = Play(DualMap(), rates, slo_s=SLO_S, seed=1).run(arrivals)
    for state, engine in zip(
        result.scheduler.fleet.endpoints.values(), result.engines.values(), strict=True
    ):
        assert engine.served > 50
        assert state.speed.rate_tokens_per_s() == pytest.approx(engine.rate, rel=0.05), state.id


def test_slow_endpoints_get_less() -> None:
    rates = [3_000.0, 3_000.0, 30_000.0, 30_000.0]
    engines = list(play(DualMap(d=3), rates, 15.0).engines.values())
    assert max(engine.served for engine in engines[:2]) < min(e.served for e in engines[2:])


def test_at_rest_nothing_is_left_on_the_books() -> None:
    result = play(DualMap(mode=Mode.SPILL), EIGHT, 50.0)
    assert len(result.ttfts_s) == 2000
    assert result.scheduler.ledger.open_leases == 0
    for state in result.scheduler.fleet.endpoints.values():
        load = state.load
        assert (load.in_flight, len(load.waiting), load.waiting_tokens) == (0, 0, 0)


def test_the_shadow_believes_what_the_engine_holds() -> None:
    result = play(DualMap(), EIGHT, 30.0)
    for state in result.scheduler.fleet.endpoints.values():
        assert state.speed.hit_bias == pytest.approx(1.0, abs=0.1)
