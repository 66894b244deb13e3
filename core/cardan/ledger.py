"""What this process has in flight, kept by leases.

A lease is opened when a request is dispatched to an endpoint, told of the first token, and closed
exactly once with an outcome. All load accounting hangs on it, so a counter cannot leak: peers that
count by hand leak on exceptions and on clients that leave.

Law: the number of open leases equals the requests in flight, and both are zero at rest.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from cardan.speed import work_tokens
from cardan.value import Value

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class Outcome(enum.StrEnum):
    """How a lease or a request ended. The label of `cardan_requests_total`."""

    OK = "ok"
    CLIENT_ERROR = "client-error"  # the engine answered 4xx
    ENGINE_ERROR = "engine-error"  # the engine answered 5xx, or an error event inside a stream
    REFUSED = "refused"  # the engine had no room (503, or a refusal inside a 200 stream)
    UNREACHABLE = "unreachable"  # no connection
    RESET = "reset"  # the connection broke before the first byte of the answer
    CUT = "cut"  # the connection broke after it
    TIMEOUT = "timeout"  # first byte or next byte did not come in time
    CLIENT_LEFT = "client-left"
    DEADLINE = "deadline"  # the request's own deadline passed
    SHED = "shed"  # never dispatched: no room, no endpoint, queue time-out
    INVALID = "invalid"  # never dispatched: the request is wrong
    INTERNAL = "internal"  # the gateway itself failed at it


class Usage(Value):
    """What the engine reported: prompt, cached and generated tokens; None where it did not say."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    cached_tokens: int | None = None


class Load:
    """One endpoint's work as this process knows it.

    `in_flight` counts open leases; `waiting` holds those of streams without a first token in
    dispatch order and `waiting_tokens` the sum of their prompts' work. An answer that is
    not streamed shows its first byte when all is over, so nothing tells when its prompt is done:
    such prompts are in `silent_tokens`, which were left at `silent_at` and drain at the endpoint's
    rate. `context_tokens` are the prompt tokens of all open leases. `refused_until` is when the
    endpoint may be asked again after it refused for lack of room. `assigned_tokens` is the work of
    prompts that wait for their turn here in the gateway (`cardan.queues`) and hold no lease yet.
    """

    __slots__ = (
        "assigned_tokens",
        "context_tokens",
        "dispatched_total",
        "in_flight",
        "last_first_token_at",
        "refused_until",
        "silent_at",
        "silent_tokens",
        "waiting",
        "waiting_tokens",
    )

    def __init__(self) -> None:
        self.in_flight = 0
        self.waiting: dict[Lease, None] = {}
        self.waiting_tokens = 0.0
        self.assigned_tokens = 0.0
        self.context_tokens = 0.0
        self.dispatched_total = 0
        self.last_first_token_at: Monotonic | None = None
        self.refused_until = 0.0
        self.silent_tokens = 0.0
        self.silent_at = 0.0

    def add_silent(self, tokens: float, rate: float, now: Monotonic) -> None:
        """A request that will not stream was sent; `rate` in tokens per second drains the rest."""
        left = self.silent_tokens - rate * (now - self.silent_at)
        self.silent_tokens = left + tokens if left > 0.0 else tokens
        self.silent_at = now


class Lease:
    """One dispatch of one request to one endpoint.

    `work_tokens` is what its prompt is predicted to cost, in equivalent tokens (`cardan.speed`).
    """

    __slots__ = (
        "closed_at",
        "decision",
        "endpoint",
        "first_token_at",
        "ledger",
        "opened_at",
        "outcome",
        "request",
        "work_tokens",
    )

    def __init__(
        self, ledger: Ledger, request: RequestView, decision: Decision, now: Monotonic
    ) -> None:
        self.ledger = ledger
        self.request = request
        self.decision = decision
        self.endpoint: EndpointState = decision.chosen.endpoint
        self.work_tokens = work_tokens(decision.chosen.uncached_tokens, request.prompt.tokens)
        self.opened_at = now
        self.first_token_at: Monotonic | None = None
        self.closed_at: Monotonic | None = None
        self.outcome: Outcome | None = None

    def first_token(self, now: Monotonic) -> None:
        """The first token (or the first byte of an answer) has come. Later calls do nothing."""
        if self.first_token_at is not None or self.outcome is not None:
            return
        self.first_token_at = now
        self.ledger.on_first_token(self, now)

    def close(self, outcome: Outcome, now: Monotonic, usage: Usage | None = None) -> None:
        """End the lease. A second close is a bug of ours and raises `RuntimeError`."""
        if self.outcome is not None:
            raise RuntimeError(f"lease of {self.request.request_id} closed twice")
        self.outcome = outcome
        self.closed_at = now
        self.ledger.on_close(self, now, usage)


class Ledger:
    """All open leases of this process. Opened here, closed by the lease itself."""

    def __init__(self) -> None:
        self.open_leases = 0

    def open(self, request: RequestView, decision: Decision, now: Monotonic) -> Lease:
        """Account a dispatch; no await may lie between the decision and this."""
        lease = Lease(self, request, decision, now)
        endpoint = lease.endpoint
        load = endpoint.load
        load.in_flight += 1
        load.dispatched_total += 1
        if request.stream:
            load.waiting[lease] = None
            load.waiting_tokens += lease.work_tokens
        else:
            load.add_silent(lease.work_tokens, endpoint.speed.line.known()[0], now)
        load.context_tokens += request.prompt.tokens
        self.open_leases += 1
        return lease

    def on_first_token(self, lease: Lease, now: Monotonic) -> None:
        """Move a lease from waiting to running; the endpoint's speed and shadow learn."""
        endpoint = lease.endpoint
        if lease.request.stream:  # nobody else waits
            self._stop_waiting(lease)
            endpoint.load.last_first_token_at = now
        endpoint.learn_first_token(lease, now)

    def on_close(self, lease: Lease, now: Monotonic, usage: Usage | None) -> None:
        """Take a lease off the books; the endpoint learns from what the engine reported."""
        endpoint = lease.endpoint
        load = endpoint.load
        if lease.first_token_at is None:
            self._stop_waiting(lease)
        load.in_flight -= 1
        load.context_tokens -= lease.request.prompt.tokens
        if not load.in_flight:
            load.context_tokens = 0.0  # float dust must not outlive the work
            load.silent_tokens = 0.0
        self.open_leases -= 1
        endpoint.learn_close(lease, now, usage)

    @staticmethod
    def _stop_waiting(lease: Lease) -> None:
        load = lease.endpoint.load
        if lease not in load.waiting:
            return
        del load.waiting[lease]
        load.waiting_tokens -= lease.work_tokens
        if not load.waiting:
            load.waiting_tokens = 0.0
