"""A prediction counts what lies before a request: our own, what the engine tells of others', and
nothing that is stale.

With a rate of 10,000 tokens/s and 20 ms of overhead, which is how endpoints start, 1,000 tokens of
backlog are 100 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.estimate import backlog_tokens, estimate, stalled_s
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.metrics import STALE_AFTER_S, EngineMetrics
from cardan.speed import work_tokens

from tests.core.policies.build import NOW, fleet_of, load, pool_of, prompt_of, request_of

if TYPE_CHECKING:
    from cardan.fleet import EndpointState


@pytest.fixture
def state() -> EndpointState:
    return pool_of(fleet_of(1)).routable[0]


def later(seconds: float) -> Monotonic:
    return Monotonic(NOW + seconds)


def test_a_cold_prompt_is_all_uncached(state: EndpointState) -> None:
    candidate = estimate(state, request_of(prompt_of(1, 2, 3, 4)), NOW)
    assert (candidate.hit_tokens, candidate.uncached_tokens) == (0, 2048)
    assert candidate.backlog_s == 0
    assert candidate.ttft_s == pytest.approx(0.02 + work_tokens(2048, 2048) / 10_000)


def test_held_blocks_are_hits(state: EndpointState) -> None:
    state.shadow.insert((1, 2, 3))
    candidate = estimate(state, request_of(prompt_of(1, 2, 3, 4)), NOW)
    assert (candidate.hit_tokens, candidate.uncached_tokens) == (1536, 512)


def test_a_repeated_prompt_hits_all_but_its_last_token(state: EndpointState) -> None:
    state.shadow.insert((1, 2, 9))
    candidate = estimate(state, request_of(prompt_of(1, 2, tail=9)), NOW)
    assert (candidate.hit_tokens, candidate.uncached_tokens) == (1279, 1)


def test_without_the_tail_only_full_blocks_hit(state: EndpointState) -> None:
    state.shadow.insert((1, 2, 8))
    candidate = estimate(state, request_of(prompt_of(1, 2, tail=9)), NOW)
    assert (candidate.hit_tokens, candidate.uncached_tokens) == (1024, 256)


def test_what_engines_report_scales_the_hit(state: EndpointState) -> None:
    state.shadow.insert((1, 2))
    state.speed.hit_bias = 0.5
    assert estimate(state, request_of(prompt_of(1, 2, 3)), NOW).hit_tokens == 512


def test_an_unread_prompt_counts_by_its_bytes(state: EndpointState) -> None:
    candidate = estimate(state, request_of(body_bytes=8000), NOW)
    assert candidate.uncached_tokens == 2000


def test_prompts_under_way_are_a_backlog(state: EndpointState) -> None:
    load(state, 2, tokens_each=1000)
    candidate = estimate(state, request_of(prompt_of(1)), NOW)
    assert candidate.backlog_s == pytest.approx(0.2)
    assert candidate.ttft_s == pytest.approx(0.02 + (2000 + work_tokens(512, 512)) / 10_000)


def test_the_backlog_shrinks_as_the_endpoint_works(state: EndpointState) -> None:
    load(state, 2, tokens_each=1000)
    assert backlog_tokens(state, later(0.05)) == pytest.approx(1500)
    assert backlog_tokens(state, later(9.0)) == 0


def test_progress_is_counted_from_the_last_first_token(state: EndpointState) -> None:
    first, *_ = load(state, 3, tokens_each=1000)
    first.first_token(later(0.1))
    assert backlog_tokens(state, later(0.15)) == pytest.approx(1500, rel=0.05)  # it learned


def test_a_closed_request_is_no_backlog(state: EndpointState) -> None:
    for lease in load(state, 2, tokens_each=1000):
        lease.close(Outcome.CLIENT_LEFT, NOW)
    assert backlog_tokens(state, NOW) == 0


def test_answers_that_do_not_stream_drain_at_the_learned_rate(state: EndpointState) -> None:
    load(state, 2, tokens_each=1000, stream=False)
    assert backlog_tokens(state, later(0.05)) == pytest.approx(1500)
    assert backlog_tokens(state, later(5.0)) == 0
    load(state, 1, tokens_each=1000, stream=False, at=later(5.0))
    assert backlog_tokens(state, later(5.05)) == pytest.approx(500)


def test_a_long_answer_that_does_not_stream_is_no_stall(state: EndpointState) -> None:
    load(state, 1, tokens_each=1000, stream=False)
    assert stalled_s(state, later(60.0)) == 0


def test_a_long_answer_that_does_not_stream_hides_no_new_work(state: EndpointState) -> None:
    load(state, 1, tokens_each=1000, stream=False)
    load(state, 1, tokens_each=5000, at=later(10.0))
    assert backlog_tokens(state, later(10.0)) == pytest.approx(5000)


def test_the_end_of_an_answer_that_does_not_stream_is_no_first_token(
    state: EndpointState,
) -> None:
    (silent,) = load(state, 1, tokens_each=1000, stream=False)
    load(state, 1, tokens_each=5000)
    silent.first_token(later(0.3))
    assert backlog_tokens(state, later(0.4)) == pytest.approx(1000)


def test_what_waits_beyond_our_own_is_others(state: EndpointState) -> None:
    load(state, 2, tokens_each=1000)
    state.metrics = EngineMetrics(at=NOW, waiting=5.0)
    state.speed.siblings.mean_work_tokens = 600.0
    assert backlog_tokens(state, NOW) == pytest.approx(2000 + 3 * 600)


def test_our_own_waiting_is_not_counted_twice(state: EndpointState) -> None:
    load(state, 4, tokens_each=1000)
    state.metrics = EngineMetrics(at=NOW, waiting=3.0)
    assert backlog_tokens(state, NOW) == pytest.approx(4000)


def test_uncached_tokens_that_an_engine_tells_beat_a_guess(state: EndpointState) -> None:
    load(state, 1, tokens_each=1000)
    state.metrics = EngineMetrics(at=NOW, waiting=9.0, waiting_uncached_tokens=2500.0)
    assert backlog_tokens(state, NOW) == pytest.approx(2500)


@pytest.mark.parametrize("metrics", [None, EngineMetrics(at=NOW - STALE_AFTER_S - 0.1, waiting=50)])
def test_stale_or_absent_metrics_leave_our_own_accounting(
    state: EndpointState, metrics: EngineMetrics | None
) -> None:
    load(state, 2, tokens_each=1000)
    state.metrics = metrics
    assert backlog_tokens(state, NOW) == pytest.approx(2000)


def test_a_metric_that_is_missing_is_not_zero_and_not_an_error(state: EndpointState) -> None:
    load(state, 2, tokens_each=1000)
    state.metrics = EngineMetrics(at=NOW)
    assert backlog_tokens(state, NOW) == pytest.approx(2000)


def test_three_seconds_without_a_first_token_are_a_stall(state: EndpointState) -> None:
    load(state, 1, tokens_each=1000)
    assert stalled_s(state, later(2.9)) == 0
    assert stalled_s(state, later(3.5)) == pytest.approx(3.5)
    assert estimate(state, request_of(prompt_of(1)), later(3.5)).ttft_s > 3.5


def test_a_recent_first_token_is_no_stall(state: EndpointState) -> None:
    first, *_ = load(state, 2, tokens_each=1000)
    first.first_token(later(3.0))
    assert stalled_s(state, later(4.0)) == 0
    assert stalled_s(state, later(5.5)) == pytest.approx(5.5)


def test_a_prompt_that_was_predicted_to_take_long_is_no_stall(state: EndpointState) -> None:
    (lease,) = load(state, 1, tokens_each=100_000)
    lease.decision.chosen.ttft_s = 12.0
    assert stalled_s(state, later(10.0)) == 0
    assert stalled_s(state, later(25.0)) == pytest.approx(25.0)
