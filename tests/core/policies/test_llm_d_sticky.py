"""llm-d's filter and scorers, on cases computed by hand."""

from __future__ import annotations

from random import Random

import pytest
from cardan.decision import Reason
from cardan.metrics import EngineMetrics
from cardan.policies import LlmDSticky, Needs

from tests.core.policies.build import NOW, choose, fleet_of, load, pool_of, prompt_of, request_of

PROMPT = prompt_of(*range(100, 110))
CHART = LlmDSticky(
    affinity_threshold=0.0,
    token_load_weight=0.0,
    prefix_weight=3.0,
    queue_weight=2.0,
    kv_weight=2.0,
)


class Scene:
    """A prompt of ten blocks that was routed to `owner`, one of two."""

    def __init__(self, policy: LlmDSticky) -> None:
        self.pool, self.rng = pool_of(fleet_of(2)), Random(1)
        self.chooser = policy.bind()
        self.owner = choose(self.chooser, request_of(PROMPT), self.pool, self.rng).endpoint
        (self.other,) = [state for state in self.pool.routable if state is not self.owner]

    def reason(self, blocks: int = 10) -> Reason:
        """Why a prompt that shares `blocks` of ten goes where it goes."""
        prompt = prompt_of(*range(100, 100 + blocks), *range(900, 910 - blocks))
        decision = choose(self.chooser, request_of(prompt), self.pool, self.rng)
        assert (decision.endpoint is self.owner) == (decision.reason is Reason.AFFINITY)
        return decision.reason


def test_an_endpoint_is_sticky_from_the_threshold_on() -> None:
    for blocks, reason in ((8, Reason.AFFINITY), (7, Reason.POLICY)):
        stage = Scene(LlmDSticky())
        load(stage.owner, 1, tokens_each=100_000.0)
        assert stage.reason(blocks) is reason


def test_it_is_left_once_it_lies_eighteen_seconds_behind() -> None:
    stage = Scene(LlmDSticky())
    load(stage.owner, 1, tokens_each=15_928.0 * 18)
    assert stage.reason() is Reason.AFFINITY
    load(stage.owner, 1, tokens_each=1.0)
    assert stage.reason() is Reason.BALANCE


def test_it_is_measured_against_the_least_loaded_other() -> None:
    stage = Scene(LlmDSticky())
    load(stage.owner, 1, tokens_each=300_000.0)
    load(stage.other, 1, tokens_each=20_000.0)
    assert stage.reason() is Reason.AFFINITY


def test_a_penalty_of_zero_always_sticks() -> None:
    stage = Scene(LlmDSticky(max_penalty_s=0.0))
    load(stage.owner, 1, tokens_each=1e7)
    assert stage.reason() is Reason.AFFINITY


def test_among_sticky_ones_the_least_loaded_is_taken() -> None:
    stage = Scene(LlmDSticky())
    load(stage.owner, 1, tokens_each=300_000.0)
    assert stage.reason() is Reason.BALANCE  # and now both hold it
    decision = choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng)
    assert (decision.endpoint, decision.reason) == (stage.other, Reason.AFFINITY)


@pytest.mark.parametrize(("kv_used", "stays"), [(0.4, True), (0.6, False)])
def test_the_chart_s_weights_are_summed(kv_used: float, stays: bool) -> None:
    stage = Scene(CHART)
    stage.owner.observe(EngineMetrics(at=NOW, waiting=4.0, kv_used_ratio=kv_used))
    stage.other.observe(EngineMetrics(at=NOW, waiting=0.0, kv_used_ratio=0.0))
    # 3 x 1 + 2 x 0 + 2 x (1 - used) against 0 + 2 + 2
    decision = choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng)
    assert (decision.endpoint is stage.owner) is stays


def test_without_metrics_our_own_accounts_stand_for_queue_and_cache() -> None:
    stage = Scene(LlmDSticky(affinity_threshold=0.0, token_load_weight=0.0, queue_weight=1.0))
    load(stage.owner, 1)
    chosen = [
        choose(stage.chooser, request_of(PROMPT), stage.pool, stage.rng).endpoint for _ in range(9)
    ]
    assert chosen == [stage.other] * 9


def test_engines_are_scraped_only_for_scorers_that_read_it() -> None:
    assert LlmDSticky().needs() == Needs.PROMPT
    assert CHART.needs() == Needs.PROMPT | Needs.ENGINE_METRICS
