"""DualMap's ablations choose within the pair by one thing alone, on cases computed by hand.

Endpoints predict 20 ms plus 100 ms per 1,000 tokens. `first` and `second` are the pair in hash
order; nobody else may ever be chosen.
"""

from __future__ import annotations

import pytest
from cardan.decision import Reason
from cardan.policies import DualMap, Mode

from tests.core.policies.build import NOW, load, prompt_of
from tests.core.policies.test_dualmap import PROMPT, Scene

ABLATIONS = [Mode.AFFINITY, Mode.LEAST_LOADED, Mode.MIN_TTFT]


def scene(mode: Mode) -> Scene:
    return Scene(DualMap(mode=mode))


def test_affinity_stays_warm_at_any_price() -> None:
    stage = scene(Mode.AFFINITY)
    stage.second.shadow.insert(PROMPT.chain[:1])
    load(stage.second, 100, tokens_each=10_000.0)
    decision = stage.decide()
    assert (decision.endpoint, decision.reason) == (stage.second, Reason.AFFINITY)


def test_affinity_between_equals_goes_by_what_runs_and_not_by_what_waits() -> None:
    stage = scene(Mode.AFFINITY)
    (running,) = load(stage.first, 1)
    running.first_token(NOW)
    stage.first.load.context_tokens = 10.0
    load(stage.second, 100, tokens_each=10_000.0)
    assert stage.decide().endpoint is stage.second


def test_affinity_counts_what_everybody_shares() -> None:
    """So does the paper's code: who missed the first burst of a hot prompt stays cold."""
    stage = Scene(DualMap(mode=Mode.AFFINITY))
    for number in range(60):
        stage.decide(prompt_of(1, 2, 1000 + number))
    fresh = prompt_of(1, 2, 5000)
    first, second = [candidate.endpoint for candidate in stage.decide(fresh).candidates]
    first.shadow.insert((1, 2))
    load(first, 100, tokens_each=10_000.0)
    assert {stage.decide(fresh).endpoint for _ in range(5)} == {first}
    assert second.shadow.match(fresh.chain) == 0


def test_least_loaded_takes_no_notice_of_reuse() -> None:
    stage = scene(Mode.LEAST_LOADED)
    stage.second.shadow.insert(PROMPT.chain)
    (lease,) = load(stage.second, 1, tokens_each=0.0)
    lease.decision.chosen.hit_tokens = 2.0  # all of it cached, and it counts
    load(stage.first, 9, tokens_each=0.1)
    decision = stage.decide()
    assert (decision.endpoint, decision.reason) == (stage.first, Reason.POLICY)


def test_min_ttft_leaves_a_warm_one_that_fits_for_one_that_is_sooner() -> None:
    stage = scene(Mode.MIN_TTFT)
    stage.second.shadow.insert(PROMPT.chain)
    load(stage.second, 1, tokens_each=5_000.0)  # 0.5 s against 0.23 s, both within 2 s
    decision = stage.decide()
    assert (decision.endpoint, decision.reason) == (stage.first, Reason.LEAST_TTFT)
    assert scene(Mode.PAPER).decide().reason is Reason.TIE


@pytest.mark.parametrize("mode", ABLATIONS)
def test_an_ablation_stays_within_the_pair(mode: Mode) -> None:
    stage = scene(mode)
    for state in (stage.first, stage.second):
        load(state, 50, tokens_each=10_000.0)
    for state in stage.outside:
        state.shadow.insert(PROMPT.chain)
    chosen = {stage.decide().endpoint for _ in range(10)}  # more would make the prefix hot
    assert chosen <= {stage.first, stage.second}
