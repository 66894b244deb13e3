"""The speed of an endpoint is learned from first tokens alone, whatever the start was."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING

import pytest
from cardan.decision import Candidate, Decision, Reason
from cardan.instants import Monotonic
from cardan.ledger import Ledger, Outcome, Usage
from cardan.lifecycle import Exchange
from cardan.metrics import EngineMetrics
from cardan.policies import RoundRobin
from cardan.prompt import Prompt
from cardan.scheduler import Scheduler
from cardan.siblings import START_RATE_TOKENS_PER_S
from cardan.speed import Speed, work_tokens

from tests.core.policies.build import NOW, fleet_of, pool_of, prompt_of, request_of

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.ledger import Lease


def lease_of(
    state: EndpointState,
    tokens: float,
    *,
    hit: float = 0.0,
    at: float = NOW,
    stream: bool = True,
) -> Lease:
    """A request of `tokens` at an idle endpoint, predicted as the endpoint would now."""
    uncached = tokens - hit
    chosen = Candidate(state, hit, uncached, 0.0, state.speed.ttft_s(0.0, uncached, tokens), 1.0)
    request = request_of(Prompt((), tokens, 512, 0), arrived_at=at, stream=stream)
    return Ledger().open(request, Decision(chosen, (chosen,), Reason.POLICY), Monotonic(at))


def endpoint_state() -> EndpointState:
    return pool_of(fleet_of(1)).routable[0]


def serve(state: EndpointState, rate: float, overhead_s: float, lengths: list[float]) -> None:
    """First tokens as an engine of that rate and overhead gives them, one request at a time."""
    now = max(NOW, state.load.last_first_token_at or NOW)
    for tokens in lengths:
        now = Monotonic(now + 1.0)
        lease = lease_of(state, tokens, at=now)
        now = Monotonic(now + overhead_s + work_tokens(tokens, tokens) / rate)
        lease.first_token(now)


def queue(state: EndpointState, rate: float, overhead_s: float, lengths: list[float]) -> None:
    """Requests that are all sent at once to an engine that computes them in turn."""
    at = Monotonic(max(NOW, state.load.last_first_token_at or NOW) + 1.0)
    leases = [lease_of(state, tokens, at=at) for tokens in lengths]
    now = Monotonic(at + overhead_s)
    for lease in leases:
        now = Monotonic(now + lease.work_tokens / rate)
        lease.first_token(now)


def lengths(seed: int, n: int) -> list[float]:
    rng = Random(seed)
    return [rng.choice([100.0, 700.0, 3000.0, 8000.0]) for _ in range(n)]


def test_attention_makes_long_prompts_dearer_than_linear() -> None:
    assert work_tokens(1000, 1000) == pytest.approx(1018)
    assert work_tokens(32_000, 32_000) == pytest.approx(32_000 * 1.576)


def test_the_end_of_a_long_prompt_costs_more_than_its_beginning() -> None:
    assert work_tokens(1000, 20_000) > work_tokens(1000, 1000)


def test_a_new_endpoint_is_predicted_from_the_fleets_prior() -> None:
    speed = Speed()
    assert speed.rate_tokens_per_s() == START_RATE_TOKENS_PER_S
    assert speed.ttft_s(0, 0, 0) == pytest.approx(0.02)
    assert speed.ttft_s(10_000, 0, 0) == pytest.approx(1.02)


# From a laptop's CPU to twice an H100; algorithms constants differ by the factors of real fleets.
@pytest.mark.parametrize("rate", [500.0, 2000.0, 7400.0, 27_700.0, 60_000.0])
def test_any_rate_is_learned_within_sixty_requests(rate: float) -> None:
    state = endpoint_state()
    serve(state, rate, 0.015, lengths(1, 60))
    predicted = state.speed.ttft_s(0, 4000, 4000)
    assert predicted == pytest.approx(0.015 + work_tokens(4000, 4000) / rate, rel=0.25)


def test_a_slow_start_of_every_request_becomes_overhead_not_rate() -> None:
    state = endpoint_state()
    serve(state, 10_000.0, 0.2, lengths(2, 120))
    assert state.speed.overhead_s == pytest.approx(0.2, rel=0.25)
    assert state.speed.rate_tokens_per_s() == pytest.approx(10_000, rel=0.25)


def test_the_rate_is_learned_from_a_long_queue_too() -> None:
    state = endpoint_state()
    queue(state, 25_000.0, 0.02, lengths(7, 200))
    assert state.speed.rate_tokens_per_s() == pytest.approx(25_000, rel=0.1)


def test_prompts_that_are_computed_together_do_not_look_free() -> None:
    """Eight prompts a step end in the same moment: the first took it all, the others nothing."""
    state, now = endpoint_state(), NOW
    for _ in range(40):
        leases = [lease_of(state, 500.0, at=now) for _ in range(8)]
        now = Monotonic(now + 0.02 + sum(lease.work_tokens for lease in leases) / 20_000)
        for lease in leases:
            lease.first_token(now)
    # 4,000 tokens take 0.22 s with the overhead, so a queue sees about 18,000 a second.
    assert 15_000 <= state.speed.rate_tokens_per_s() <= 25_000


def test_nothing_is_learned_while_others_prompts_lie_before_ours() -> None:
    state = endpoint_state()
    state.metrics = EngineMetrics(at=NOW, waiting=50.0)
    before = state.speed.ttft_s(0, 4000, 4000)
    lease_of(state, 4000.0).first_token(Monotonic(NOW + 2.0))
    assert state.speed.ttft_s(0, 4000, 4000) == before


def test_prompts_of_one_length_only_still_give_a_line() -> None:
    state = endpoint_state()
    serve(state, 20_000.0, 0.02, [6000.0] * 120)
    assert state.speed.ttft_s(0, 6000, 6000) == pytest.approx(
        0.02 + work_tokens(6000, 6000) / 20_000, rel=0.1
    )


def test_one_hidden_queue_does_not_bend_the_line() -> None:
    state = endpoint_state()
    serve(state, 10_000.0, 0.02, lengths(3, 60))
    before = state.speed.ttft_s(0, 4000, 4000)
    start = state.load.last_first_token_at or NOW
    lease = lease_of(state, 4000.0, at=start + 1)
    lease.first_token(Monotonic(start + 31))
    serve(state, 10_000.0, 0.02, [1000.0, 1000.0])
    assert state.speed.ttft_s(0, 4000, 4000) < before * 1.2


def test_an_engine_that_slows_down_is_followed_within_minutes() -> None:
    state = endpoint_state()
    serve(state, 20_000.0, 0.02, lengths(4, 200))
    serve(state, 8_000.0, 0.02, lengths(5, 200))
    assert state.speed.ttft_s(0, 4000, 4000) == pytest.approx(
        0.02 + work_tokens(4000, 4000) / 8000, rel=0.3
    )


def test_an_answer_that_is_not_streamed_teaches_no_speed() -> None:
    state = endpoint_state()
    before = state.speed.ttft_s(0, 4000, 4000)
    lease_of(state, 4000.0, stream=False).first_token(Monotonic(NOW + 30.0))
    assert state.speed.ttft_s(0, 4000, 4000) == before


@pytest.mark.parametrize("head_first", [True, False])
def test_an_error_is_quick_and_teaches_nothing(head_first: bool) -> None:
    fleet = fleet_of(1)
    state = pool_of(fleet).routable[0]
    exchange = Exchange(Scheduler(fleet, RoundRobin(), Random(1)), request_of(prompt_of(1, 2, 3)))
    exchange.arrive(NOW)
    before = state.speed.ttft_s(0, 4000, 4000)
    if head_first:
        exchange.first_byte(Monotonic(NOW + 0.001), ok=False)
    exchange.ended(Outcome.CLIENT_ERROR, Monotonic(NOW + 0.001))
    assert state.speed.ttft_s(0, 4000, 4000) == before
    assert len(state.shadow) == 0
    assert (state.load.in_flight, state.load.waiting_tokens) == (0, 0)


def test_caution_grows_until_four_of_five_keep_the_prediction() -> None:
    state, rng = endpoint_state(), Random(6)
    kept = 0
    for number in range(2000):
        lease = lease_of(state, 4000.0, at=NOW + number)
        promised = state.speed.cautious_s(lease.decision.chosen.ttft_s)
        took_s = (0.02 + work_tokens(4000, 4000) / 10_000) * rng.uniform(0.6, 1.8)
        lease.first_token(Monotonic(NOW + number + took_s))
        kept += number >= 1000 and took_s <= promised
    assert 0.72 <= kept / 1000 <= 0.88


def test_caution_at_most_doubles_a_prediction() -> None:
    state = endpoint_state()
    for number in range(200):
        lease = lease_of(state, 100.0, at=NOW + number)
        lease.first_token(Monotonic(NOW + number + 20.0))
    assert state.speed.cautious_s(1.0) <= 2.0


def test_an_engine_that_finds_less_than_predicted_lowers_the_bias() -> None:
    state = endpoint_state()
    for number in range(50):
        hit = 4000 * state.speed.hit_bias
        lease = lease_of(state, 5000.0, hit=hit, at=NOW + number)
        state.speed.correct(lease, Usage(5000, 10, 2000), Monotonic(NOW + number))
    assert state.speed.hit_bias == pytest.approx(0.5, abs=0.05)


def test_an_engine_without_a_prefix_cache_is_still_believed_a_little() -> None:
    state = endpoint_state()
    for number in range(500):
        hit = 4000 * state.speed.hit_bias
        lease = lease_of(state, 5000.0, hit=hit, at=NOW + number)
        state.speed.correct(lease, Usage(5000, 10, 0), Monotonic(NOW + number))
    assert 0 < state.speed.hit_bias <= 0.06


def test_missing_cached_tokens_are_not_zero() -> None:
    state = endpoint_state()
    state.speed.correct(lease_of(state, 5000.0, hit=4000.0), Usage(5000, 10, None), NOW)
    assert state.speed.hit_bias == 1.0


def test_the_bias_compares_real_tokens_with_real_tokens() -> None:
    """A text of 1.5 tokens per estimated token: 6,000 real cached ones are 4,000 estimated."""
    state = endpoint_state()
    for number in range(200):
        lease = lease_of(state, 5000.0, hit=4000.0 * state.speed.hit_bias, at=NOW + number)
        state.speed.correct(lease, Usage(7500, 10, 6000), Monotonic(NOW + number))
    assert state.speed.siblings.token_ratio == pytest.approx(1.5, rel=0.01)
    assert state.speed.hit_bias == pytest.approx(1.0, abs=0.05)
