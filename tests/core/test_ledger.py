"""Leases: load goes up once and comes down once, whatever happens in between."""

from __future__ import annotations

import pytest
from cardan.decision import Candidate, Decision, Reason
from cardan.endpoint import Endpoint
from cardan.fleet import EndpointState, FleetConfig
from cardan.instants import Monotonic
from cardan.ledger import Lease, Ledger, Load, Outcome, Usage
from cardan.prompt import Prompt
from cardan.request import Api, RequestView

T0 = Monotonic(100.0)


def after(seconds: float) -> Monotonic:
    """An instant that much later than the first."""
    return Monotonic(T0 + seconds)


def endpoint() -> EndpointState:
    """An endpoint that has been there from the start."""
    return EndpointState(Endpoint(url="http://e:1"), FleetConfig(), T0, warm_until=T0)


def open_lease(
    ledger: Ledger,
    state: EndpointState,
    *,
    stream: bool = True,
    tokens: float = 1024.0,
    now: Monotonic = T0,
) -> Lease:
    """Dispatch a prompt of two blocks, of which nothing is cached."""
    request = RequestView(
        request_id="r",
        api=Api.CHAT,
        model="m",
        prompt=Prompt((1, 2), tokens, 512, 2),
        stream=stream,
        arrived_at=T0,
        slo_ttft_s=5.0,
    )
    chosen = Candidate(state, 0.0, tokens, 0.0, 0.1, 1.0)
    return ledger.open(request, Decision(chosen, (chosen,), Reason.ONLY), now)


def loads(load: Load) -> tuple[int, int, float, float, float]:
    """All that must be zero at rest."""
    waiting = len(load.waiting)
    return load.in_flight, waiting, load.waiting_tokens, load.silent_tokens, load.context_tokens


def test_a_stream_waits_until_its_first_token_and_runs_until_it_is_closed() -> None:
    ledger, state = Ledger(), endpoint()
    lease = open_lease(ledger, state)
    assert (ledger.open_leases, state.load.in_flight, list(state.load.waiting)) == (1, 1, [lease])
    assert state.load.waiting_tokens == lease.work_tokens > 0
    lease.first_token(after(0.1))
    assert loads(state.load) == (1, 0, 0.0, 0.0, 1024.0)
    assert state.load.last_first_token_at == after(0.1)
    lease.close(Outcome.OK, after(1))
    assert loads(state.load) == (0, 0, 0.0, 0.0, 0.0)
    assert (ledger.open_leases, state.load.dispatched_total) == (0, 1)


def test_a_request_that_does_not_stream_weighs_until_its_prompt_must_be_done() -> None:
    ledger, state = Ledger(), endpoint()
    lease = open_lease(ledger, state, stream=False)
    assert not state.load.waiting
    assert state.load.silent_tokens == lease.work_tokens
    lease.close(Outcome.OK, after(1))
    assert loads(state.load) == (0, 0, 0.0, 0.0, 0.0)


def test_silent_work_drains_at_the_endpoints_rate() -> None:
    load = Load()
    load.add_silent(1000.0, 100.0, T0)
    load.add_silent(500.0, 100.0, after(4))
    assert load.silent_tokens == pytest.approx(1100.0)
    load.add_silent(500.0, 100.0, after(400))
    assert load.silent_tokens == 500.0


def test_leases_close_in_any_order_and_leave_no_dust() -> None:
    ledger, state = Ledger(), endpoint()
    leases = [open_lease(ledger, state, tokens=0.1 * index + 1 / 3) for index in range(30)]
    for lease in leases[::3]:
        lease.first_token(after(1))
    for lease in [*leases[1::2], *leases[::2]]:
        lease.close(Outcome.CUT, after(2))
    assert loads(state.load) == (0, 0, 0.0, 0.0, 0.0)
    assert ledger.open_leases == 0


def test_the_oldest_that_waits_comes_first() -> None:
    ledger, state = Ledger(), endpoint()
    first, second, third = (open_lease(ledger, state, now=after(i)) for i in range(3))
    second.first_token(after(4))
    assert list(state.load.waiting) == [first, third]


def test_a_second_close_is_a_bug_and_says_so() -> None:
    lease = open_lease(Ledger(), endpoint())
    lease.close(Outcome.OK, T0)
    with pytest.raises(RuntimeError, match="closed twice"):
        lease.close(Outcome.OK, T0)
    assert lease.outcome is Outcome.OK


def test_a_first_token_counts_once_and_never_after_the_close() -> None:
    ledger, state = Ledger(), endpoint()
    lease = open_lease(ledger, state)
    lease.first_token(after(1))
    lease.first_token(after(2))
    assert lease.first_token_at == after(1)
    lease.close(Outcome.OK, after(2))
    late = open_lease(ledger, state)
    late.close(Outcome.CLIENT_LEFT, after(3))
    late.first_token(after(4))
    assert late.first_token_at is None
    assert loads(state.load) == (0, 0, 0.0, 0.0, 0.0)


def test_a_first_token_puts_the_prompt_into_the_shadow_and_a_failure_does_not() -> None:
    ledger, state = Ledger(), endpoint()
    open_lease(ledger, state).close(Outcome.RESET, after(1))
    assert state.shadow.match((1, 2)) == 0
    open_lease(ledger, state).first_token(after(1))
    assert state.shadow.match((1, 2)) == 2


def test_a_close_passes_on_what_the_engine_reported() -> None:
    """An engine that found nothing cached where a hit was predicted corrects the prediction."""
    ledger, state = Ledger(), endpoint()
    for _ in range(30):
        lease = open_lease(ledger, state)
        lease.decision.chosen.hit_tokens = 1000.0
        lease.first_token(after(1))
        lease.close(Outcome.OK, after(2), Usage(prompt_tokens=1024, cached_tokens=0))
    assert state.speed.hit_bias < 1.0
