"""Laws of prediction: whatever was observed, told or not told, every figure is finite and not
negative, and more work never looks faster.
"""

from __future__ import annotations

from math import isfinite

from cardan.estimate import backlog_tokens, estimate
from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.metrics import EngineMetrics
from cardan.prompt import Prompt
from hypothesis import given
from hypothesis import strategies as st

from tests.core.policies.build import NOW, fleet_of, load, pool_of, prompt_of, request_of

seconds = st.floats(0, 1e5)
tokens = st.floats(0, 1e7)
maybe = st.none() | st.floats(0, 1e9)
counts = st.none() | st.integers(0, 10**9)
metrics = st.none() | st.builds(
    EngineMetrics,
    at=st.floats(NOW - 10, NOW + 1),
    waiting=maybe,
    running=maybe,
    waiting_uncached_tokens=maybe,
)
# One request's history: how long its prompt is, whether it streams, when its first token comes, and
# what the engine reports.
histories = st.tuples(tokens, st.booleans(), seconds, counts, counts)


@given(st.lists(histories, max_size=30), metrics, st.integers(0, 3), seconds)
def test_predictions_are_finite_and_not_negative_after_any_history(
    requests: list[tuple[float, bool, float, int | None, int | None]],
    told: EngineMetrics | None,
    still_open: int,
    later: float,
) -> None:
    state = pool_of(fleet_of(1)).routable[0]
    for length, stream, took_s, prompt_tokens, cached_tokens in requests:
        (lease,) = load(state, 1, tokens_each=length, stream=stream)
        lease.decision.chosen.hit_tokens = length / 2
        lease.first_token(Monotonic(NOW + took_s))
        usage = Usage(prompt_tokens, 1, cached_tokens)
        lease.close(Outcome.OK, Monotonic(NOW + took_s), usage)
    load(state, still_open, tokens_each=1000)
    state.metrics = told
    state.shadow.insert((1, 2))
    for prompt in (prompt_of(1, 2, 3), prompt_of(1, tail=7), Prompt((), 0.0, 512, 0)):
        candidate = estimate(state, request_of(prompt), Monotonic(NOW + later))
        figures = (
            candidate.hit_tokens,
            candidate.uncached_tokens,
            candidate.backlog_s,
            candidate.ttft_s,
            state.speed.cautious_s(candidate.ttft_s),
        )
        assert all(isfinite(figure) and figure >= 0 for figure in figures), figures
    speed = state.speed
    assert 0 < speed.rate_tokens_per_s() < 1e12
    assert 0 < speed.hit_bias <= 1.25
    assert 0 <= speed.caution <= 1


@given(st.lists(tokens, min_size=1, max_size=20), tokens, tokens)
def test_more_work_never_looks_faster(lengths: list[float], less: float, more: float) -> None:
    state = pool_of(fleet_of(1)).routable[0]
    for number, length in enumerate(lengths):
        (lease,) = load(state, 1, tokens_each=length, at=NOW + number)
        lease.first_token(Monotonic(NOW + number + 0.5))
        lease.close(Outcome.OK, Monotonic(NOW + number + 0.5))
    less, more = sorted((less, more))
    ttft_s = state.speed.ttft_s
    assert ttft_s(0, less, less) <= ttft_s(0, more, more)
    assert ttft_s(less, 10, 10) <= ttft_s(more, 10, 10)
    assert ttft_s(0, less, more) <= ttft_s(0, more, more)


@given(st.lists(tokens, max_size=8), seconds, seconds)
def test_the_backlog_only_shrinks_while_nothing_happens(
    lengths: list[float], early: float, late: float
) -> None:
    state = pool_of(fleet_of(1)).routable[0]
    for length in lengths:
        load(state, 1, tokens_each=length)
    early, late = sorted((early, late))
    at_once = backlog_tokens(state, NOW)
    assert at_once >= backlog_tokens(state, Monotonic(NOW + early))
    assert backlog_tokens(state, Monotonic(NOW + early)) >= backlog_tokens(
        state, Monotonic(NOW + late)
    )


@given(st.lists(st.tuples(tokens, st.booleans()), max_size=12))
def test_at_rest_there_is_no_backlog(lengths: list[tuple[float, bool]]) -> None:
    state = pool_of(fleet_of(1)).routable[0]
    leases = [
        lease
        for length, stream in lengths
        for lease in load(state, 1, tokens_each=length, stream=stream)
    ]
    for number, lease in enumerate(leases):
        if number % 2:
            lease.first_token(NOW)
        lease.close(Outcome.OK if number % 2 else Outcome.CLIENT_LEFT, NOW)
    assert backlog_tokens(state, NOW) == 0
