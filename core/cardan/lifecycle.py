"""One request's life, sans-IO.

A driver (HTTP, gRPC, ext_proc, a simulator) owns the bytes and the clock. It tells an `Exchange`
what happened and does what it answers. Every rule about what may be tried again, where, and how
often is here and nowhere else, so all front doors and the simulator behave alike.

    event          from        to          action
    arrive         NEW         DISPATCHED  Forward      an endpoint was found
                   NEW         WAITING     Wait         no room now, room in the queue
                   NEW         DONE        Reject       no such model, no endpoint, queue full
    wake           WAITING     (as arrive)
    first_byte     DISPATCHED  STREAMING   -            the head may go to the client
    failed         DISPATCHED  DISPATCHED  Forward      another endpoint, within the limits
                   DISPATCHED  WAITING     Wait         the others are at their limit in flight
                   DISPATCHED  DONE        Reject       the limits are reached
                   STREAMING   DONE        -            CUT: never retried, the client has bytes
    ended          DISPATCHED  DONE        -
                   STREAMING   DONE        -
    client_left    any         DONE        -
    deadline       any         DONE        Reject       (only a notice when STREAMING)

Limits on trying elsewhere (each failure kind wastes something different):

- STALE: a kept-alive connection was closed by the engine before any byte: most likely it had just
  timed out and nobody worked. Same endpoint, fresh connection, once, free of charge. If that one
  breaks too, the engine did see the request, twice: both count as breaks.
- CUT: a kept-alive connection that was used a moment ago broke before any byte. No engine's
  patience is that short: it is probably going away, and a fresh connection to it would break next.
  A break; elsewhere if there is anybody else, and only otherwise as after STALE.
- UNREACHABLE: no connection, nobody worked: any number of other endpoints, up to `max_attempts`.
- REFUSED: the engine had no room: up to `max_attempts`, and the fleet-wide retry budget pays, or a
  full fleet would be asked several times for each request.
- RESET, BROKEN (head), TIMEOUT (first byte): the engine may have died *of this request*, so at most
  one other endpoint is tried: a poisonous prompt visits two engines, not the fleet.

Every further dispatch asks for a fresh connection, so that there is no second doubt of that kind.
After the first byte nothing is ever tried again.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from cardan.ledger import Outcome
from cardan.value import Value

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.endpoint import EndpointId
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.ledger import Lease, Usage
    from cardan.request import RequestView
    from cardan.scheduler import Scheduler


class State(enum.Enum):
    """Where a request is in its life."""

    NEW = "new"
    WAITING = "waiting"
    DISPATCHED = "dispatched"
    STREAMING = "streaming"
    DONE = "done"


# Bound once: CPython 3.13 looks an enum's member up anew each time, with its class's and its own
# metaclass's dictionaries (10 ns, a dozen times a request).
_NEW, _WAITING, _DISPATCHED, _STREAMING, _DONE = State


class Failure(enum.StrEnum):
    """What went wrong with one dispatch, seen from the driver."""

    STALE = "stale"
    CUT = "cut"
    UNREACHABLE = "unreachable"
    REFUSED = "refused"
    RESET = "reset"
    BROKEN = "broken"
    TIMEOUT = "timeout"


class RejectReason(enum.StrEnum):
    """Why a request gets an answer from the gateway instead of an engine."""

    UNKNOWN_MODEL = "unknown-model"
    NO_ENDPOINT = "no-endpoint"
    QUEUE_FULL = "queue-full"
    QUEUE_TIMEOUT = "queue-timeout"
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    RESET = "reset"
    TIMEOUT = "timeout"
    DEADLINE = "deadline"
    SHUTTING_DOWN = "shutting-down"
    INTERNAL = "internal"


class Forward(Value):
    """Send the request to `lease.endpoint`. `fresh` forbids a kept-alive connection."""

    lease: Lease
    fresh: bool


class Wait:
    """Hold the request until it is woken, at the latest at `until`; then call `wake`."""

    __slots__ = ("until",)

    def __init__(self, until: Monotonic) -> None:
        self.until = until


class Reject:
    """Answer the client: there will be no answer from an engine."""

    __slots__ = ("message", "outcome", "reason", "retry_after_s")

    def __init__(
        self,
        reason: RejectReason,
        message: str,
        outcome: Outcome,
        retry_after_s: float | None = None,
    ) -> None:
        self.reason = reason
        self.message = message
        self.outcome = outcome
        self.retry_after_s = retry_after_s


Action = Forward | Wait | Reject


_OUTCOME = {
    Failure.UNREACHABLE: Outcome.UNREACHABLE,
    Failure.REFUSED: Outcome.REFUSED,
    Failure.RESET: Outcome.RESET,
    Failure.BROKEN: Outcome.RESET,
    Failure.TIMEOUT: Outcome.TIMEOUT,
    Failure.STALE: Outcome.RESET,
    Failure.CUT: Outcome.RESET,
}
_REJECT = {
    Failure.UNREACHABLE: (RejectReason.UNREACHABLE, "no endpoint could be reached"),
    Failure.REFUSED: (RejectReason.REFUSED, "every endpoint that was asked is full"),
    Failure.RESET: (RejectReason.RESET, "the engine closed the connection before it answered"),
    Failure.BROKEN: (RejectReason.RESET, "the engine's answer could not be read"),
    Failure.STALE: (RejectReason.RESET, "the engine closed the connection before it answered"),
    Failure.CUT: (RejectReason.RESET, "the engine closed the connection before it answered"),
    Failure.TIMEOUT: (RejectReason.TIMEOUT, "the engine did not begin to answer in time"),
}


class Exchange:
    """One request from arrival to its one outcome.

    What happened on the way stays on it for whoever records it: `retried` are the failures after
    which it was sent again, `rejected` is why the gateway answered it itself.
    """

    __slots__ = (
        "_full",
        "_scheduler",
        "_stale_at",
        "_visited",
        "attempts",
        "breaks",
        "decision",
        "failure",
        "first_byte_at",
        "lease",
        "outcome",
        "queued_until",
        "rejected",
        "request",
        "retried",
        "state",
    )

    def __init__(self, scheduler: Scheduler, request: RequestView) -> None:
        self._scheduler = scheduler
        self.request = request
        self.state = _NEW
        self.lease: Lease | None = None
        self.decision: Decision | None = None
        self.outcome: Outcome | None = None
        self.failure: Failure | None = None  # the last one that counted
        self.attempts = 0
        self.breaks = 0
        self.first_byte_at: Monotonic | None = None
        self.queued_until: Monotonic | None = None
        self.rejected: RejectReason | None = None
        # Nearly no request fails anywhere, so these are made when one does.
        self.retried: tuple[Failure, ...] = ()
        self._visited: tuple[EndpointId, ...] = ()
        self._full: frozenset[EndpointId] = frozenset()
        self._stale_at: EndpointState | None = None

    def __repr__(self) -> str:
        return f"<Exchange {self.request.request_id} {self.state.value} attempts={self.attempts}>"

    @property
    def spoiled(self) -> tuple[EndpointId, ...]:
        """Where this request failed, other than for lack of room: not to be tried again."""
        if not self._visited:
            return ()
        return tuple(id_ for id_ in self._visited if id_ not in self._full)

    def arrive(self, now: Monotonic) -> Action:
        """The request is complete: find it a place, let it wait, or turn it away."""
        if self.state is not _NEW:
            raise RuntimeError(f"{self!r} arrives twice")
        return self._place(now)

    def wake(self, now: Monotonic) -> Action:
        """There may be room now, or the wait is over."""
        if self.state is not _WAITING:
            raise RuntimeError(f"{self!r} was not waiting")
        return self._place(now)

    def first_byte(self, now: Monotonic, ok: bool = True) -> None:
        """The engine answers; from here on nothing is tried elsewhere.

        `ok` False: with an error, which is quick, computes no prompt and so teaches nothing.
        """
        if self.state is _DISPATCHED and self.lease is not None:
            self.state = _STREAMING
            self.first_byte_at = now
            if ok:
                self.lease.first_token(now)
            self._scheduler.endpoint_answered(self.lease.endpoint)

    def failed(self, failure: Failure, now: Monotonic) -> Action | None:
        """The dispatch failed. None when the client has bytes (end it honestly), or all is over."""
        if self.state is _DONE:
            return None
        lease = self.lease
        if self.state is _STREAMING:
            self._close(Outcome.TIMEOUT if failure is Failure.TIMEOUT else Outcome.CUT, now)
            if lease is not None:
                self._scheduler.endpoint_failed(lease.endpoint, failure, now)
            return None
        if self.state is not _DISPATCHED or lease is None:
            raise RuntimeError(f"{self!r} has nothing dispatched that could fail")
        endpoint = lease.endpoint
        if self._is_resent(failure, endpoint, now):
            self._stale_at = endpoint  # same lease: the engine never saw the request
            self.retried += (failure,)
            return Forward(lease, True)
        self.failure = failure
        self._scheduler.endpoint_failed(endpoint, failure, now)
        self.lease = None
        lease.close(_OUTCOME[failure], now)
        self._visited += (endpoint.id,)
        if failure is Failure.REFUSED:
            self._full |= {endpoint.id}
        else:
            self._full -= {endpoint.id}
        self.breaks += self._breaks_of(failure, endpoint)
        self._stale_at = None
        if self._may_retry(failure, now):
            retried = self._redispatch(failure, now)
            if retried is not None:
                return retried
        reason, message = _REJECT[failure]
        retry_after = 1.0 if failure in (Failure.REFUSED, Failure.UNREACHABLE) else None
        return self._reject(Reject(reason, message, _OUTCOME[failure], retry_after), now)

    def ended(self, outcome: Outcome, now: Monotonic, usage: Usage | None = None) -> None:
        """The engine's answer is complete (also when it is an error it wrote itself)."""
        if self.state is _DISPATCHED:
            self.first_byte(now, outcome is Outcome.OK)
        self._close(outcome, now, usage)

    def client_left(self, now: Monotonic) -> None:
        """The client closed its side; the driver closes the engine's. Harmless when done."""
        self._close(Outcome.CLIENT_LEFT, now)

    def deadline(self, now: Monotonic) -> Reject | None:
        """The request's own deadline passed. None when the client has bytes, or all is over."""
        if self.state is _DONE:
            return None
        if self.state is _STREAMING:
            self._close(Outcome.DEADLINE, now)
            return None
        words = "the request's deadline passed"
        return self._reject(Reject(RejectReason.DEADLINE, words, Outcome.DEADLINE), now)

    def abandon(self, reject: Reject, now: Monotonic) -> Reject:
        """Turn a request away, wherever it is: the gateway ends, or has failed at it."""
        return self._reject(reject, now)

    def _place(self, now: Monotonic) -> Action:
        placed = self._scheduler.place(self, now)
        if isinstance(placed, Reject):
            return self._reject(placed, now)
        if isinstance(placed, Wait):
            self.state = _WAITING
            return placed
        if self.state is _WAITING:
            self._scheduler.queue_leave(self)
        if not self.attempts:
            self._scheduler.budget.deposit()
        return self._dispatch(placed, now, self.attempts > 0)

    def _dispatch(self, decision: Decision, now: Monotonic, fresh: bool) -> Forward:
        self.decision = decision
        self.lease = self._scheduler.open(self.request, decision, now)
        if self.failure is not None:
            self.retried += (self.failure,)
        self.attempts += 1
        self.state = _DISPATCHED
        return Forward(self.lease, fresh)

    def _is_resent(self, failure: Failure, endpoint: EndpointState, now: Monotonic) -> bool:
        """Whether the same endpoint is asked again, on a fresh connection: once in a request."""
        if self._stale_at is not None or self.attempts > 1:
            return False
        if failure is Failure.CUT:
            others = self._scheduler.decide(self.request, now, exclude=(endpoint.id,))
            return others is None
        return failure is Failure.STALE

    def _breaks_of(self, failure: Failure, endpoint: EndpointState) -> int:
        """How often the endpoint has broken under this request, now that its visit is over."""
        was_stale = self._stale_at is endpoint
        if failure in (Failure.RESET, Failure.BROKEN):
            return 2 if was_stale else 1
        if failure is Failure.UNREACHABLE:  # it closed a connection and is gone: it may have died
            return int(was_stale)
        return int(failure in (Failure.TIMEOUT, Failure.STALE, Failure.CUT))

    def _redispatch(self, failure: Failure, now: Monotonic) -> Forward | Wait | None:
        decision = self._scheduler.decide(self.request, now, exclude=self._visited)
        if decision is None and self._full and failure is not Failure.REFUSED:
            # None is left that was not asked. One that was full a while ago may have room by now.
            decision = self._scheduler.decide(self.request, now, exclude=self.spoiled)
        if decision is not None:
            return self._dispatch(decision, now, True)
        wait = self._scheduler.wait_for_room(self, now)
        if wait is not None:
            self.state = _WAITING
        return wait

    def _may_retry(self, failure: Failure, now: Monotonic) -> bool:
        config = self._scheduler.retry
        if self.attempts >= config.max_attempts or self.breaks >= config.max_breaks:
            return False
        if self.request.deadline_at is not None and now >= self.request.deadline_at:
            return False
        return failure is not Failure.REFUSED or self._scheduler.budget.withdraw(now)

    def _reject(self, reject: Reject, now: Monotonic) -> Reject:
        if self.state is not _DONE:
            self.rejected = reject.reason
        self._close(reject.outcome, now)
        return reject

    def _close(self, outcome: Outcome, now: Monotonic, usage: Usage | None = None) -> None:
        """The single close: lease, outcome and room for the next in one place."""
        if self.state is _DONE:
            return
        if self.state is _WAITING:
            self._scheduler.queue_leave(self)
        self.state = _DONE
        self.outcome = outcome
        lease, self.lease = self.lease, None
        if lease is not None:
            lease.close(outcome, now, usage)
