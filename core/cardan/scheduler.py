"""Where the parts meet: fleet, policy, ledger, queue and budget behind one face.

`decide` is the routing decision; `place` adds admission (room now, room in the queue, or not at
all). Both are synchronous and open no lease: `cardan.lifecycle.Exchange` opens it in the same step,
so no two requests ever see the same empty slot.

Admission. The gateway holds a request in its queue only while no endpoint may be asked: none is
fit, or all are at `max_in_flight_per_endpoint` (0: no such limit, the engine queues). The queue is
bounded in requests, bytes and seconds; beyond that the request is shed with a reason and a
Retry-After, never silently. For a model that sleeps it waits within bounds of its own
(`cardan.holding`).

Where `queues` are held here and not by the engines (`cardan.queues`), a request whose endpoint has
been chosen also waits in this queue, for its turn there, and within the same bounds but for time.
`wakeable` tells who is to be woken, and `on_room` when to look. One that failed elsewhere has had
its wait: it is sent at once.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.held import HeldQueues
from cardan.holding import HOLD_RETRY_AFTER_S, Holding
from cardan.instants import Monotonic
from cardan.ledger import Ledger, Outcome
from cardan.lifecycle import Failure, Reject, RejectReason, Wait
from cardan.policies.base import Owning
from cardan.queues import QueuesConfig
from cardan.retries import RetryBudget, RetryConfig
from cardan.speed import work_tokens

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from random import Random

    from cardan.decision import Decision
    from cardan.fleet import EndpointState, Fleet, Pool
    from cardan.ledger import Lease
    from cardan.lifecycle import Exchange
    from cardan.policies import AnyPolicy
    from cardan.policies.base import Chooser
    from cardan.request import RequestView

# How long an endpoint that refused for lack of room is passed over while others are not: about one
# scheduling step of a busy engine, long enough to stop asking it for every request.
REFUSAL_BACKOFF_S = 0.25


class AdmissionConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Bounds of the gateway's own queue and of what it sends at once.

    `max_in_flight_per_endpoint` 0 leaves queueing to the engines, unless `queues` are held here.
    """

    max_in_flight_per_endpoint: Annotated[int, msgspec.Meta(ge=0)] = 0
    max_queued_requests: Annotated[int, msgspec.Meta(ge=0)] = 1024
    max_queued_bytes: Annotated[int, msgspec.Meta(ge=0)] = 268_435_456
    max_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 5.0
    queues: QueuesConfig = QueuesConfig()


class Scheduler:
    """Decides, for every request of this process, where it goes."""

    def __init__(
        self,
        fleet: Fleet,
        policy: AnyPolicy,
        rng: Random,
        *,
        retry: RetryConfig | None = None,
        admission: AdmissionConfig | None = None,
    ) -> None:
        self.fleet = fleet
        self.policy = policy
        self.ledger = Ledger()
        self.retry = retry or RetryConfig()
        self.admission = admission or AdmissionConfig()
        self.budget = RetryBudget(self.retry)
        self.queue: dict[Exchange, None] = {}
        self.queued_bytes = 0
        self.holding = Holding()
        self.queues = self._make_queues()
        self.on_room: list[Callable[[], None]] = []  # told when those assigned may be `wakeable`
        self._waiting: Counter[str] = Counter()  # by model, those who wait for any endpoint at all
        self._rng = rng
        self._choosers: dict[str, Chooser] = {}
        self._refused_until = 0.0

    def reconfigure(
        self, policy: AnyPolicy, retry: RetryConfig, admission: AdmissionConfig
    ) -> None:
        """Take a new configuration; what runs goes on. A policy that stays keeps its memory."""
        if policy != self.policy:
            self.policy = policy
            self._choosers.clear()
        if retry != self.retry:
            self.retry = retry
            self.budget = RetryBudget(retry)
        if admission != self.admission:
            self.admission = admission
            self._requeue()

    def decide(
        self, request: RequestView, now: Monotonic, exclude: Collection[str] = ()
    ) -> Decision | None:
        """The routing decision; None if no endpoint may be asked."""
        pool = self.fleet.pool(request.model, now)
        if pool is None:
            return None
        eligible = self._eligible(pool, now, exclude)
        if not eligible:
            return None
        chooser = self._choosers.get(request.model)
        if chooser is None:
            chooser = self._choosers[request.model] = self.policy.bind()
        return chooser.choose(request, pool, eligible, now, self._rng)

    def owners(self, model: str, key: int, now: Monotonic) -> Sequence[EndpointState]:
        """Whom a key of a model belongs to; nobody where the policy knows no keys."""
        pool, chooser = self.fleet.pool(model, now), self._choosers.get(model)
        if pool is not None and pool.routable and isinstance(chooser, Owning):
            return chooser.owners(key, pool)
        return ()

    def open(self, request: RequestView, decision: Decision, now: Monotonic) -> Lease:
        """Account a dispatch. One that could not be reached gets a single request on trial."""
        health = decision.chosen.endpoint.health
        if not health.reachable:
            health.trial_begins(now)
            self.fleet.touch()
        return self.ledger.open(request, decision, now)

    def place(self, exchange: Exchange, now: Monotonic) -> Decision | Wait | Reject:
        """Admission and decision for a request that is new or was waiting.

        Who comes new stands behind those who wait for the same model, or a client that sends one
        request after the other would take every place that its own answers free.
        """
        request = exchange.request
        if self.queues is not None and exchange in self.queues:
            in_turn = self._in_turn(self.queues, exchange, now)
            if in_turn is not None:
                return in_turn
        if self._waiting and exchange not in self.queue and self._waiting[request.model]:
            return self._queue(exchange, now)
        decision = self.decide(request, now, exchange.spoiled)
        if decision is not None:
            if self.queues is None:
                return decision
            return self._assign(self.queues, exchange, decision, now)
        known = self.fleet.models()
        if known and request.model not in known and not self.fleet.expects(request.model, now):
            return Reject(
                RejectReason.UNKNOWN_MODEL,
                f"the model {request.model!r} does not exist",
                Outcome.INVALID,
            )
        return self._queue(exchange, now)

    def wait_for_room(self, exchange: Exchange, now: Monotonic) -> Wait | None:
        """A dispatch failed and every other endpoint is at its limit: may it wait for one?

        None if there is no other, or no room in the queue.
        """
        pool = self.fleet.pool(exchange.request.model, now)
        if pool is None or not self.admission.max_in_flight_per_endpoint:
            return None
        if all(state.id in exchange.spoiled for state in pool.routable):
            return None
        placed = self._queue(exchange, now)
        return placed if isinstance(placed, Wait) else None

    def queue_leave(self, exchange: Exchange) -> None:
        """A waiting request is placed, gone or late."""
        if exchange in self.queue:
            self.holding.leave(exchange)
            del self.queue[exchange]
            self.queued_bytes -= exchange.request.body_bytes
            if self.queues is None or not self.queues.leave(exchange):
                self._count_waiting(exchange, -1)

    def wakeable(self, now: Monotonic) -> Iterator[Exchange]:
        """Those to wake now, each before the next is asked for.

        First who waits for an endpoint that may not be asked any more, then whose turn it is, then
        those who wait for any endpoint, oldest first, until each model's first one has no luck.
        """
        if self.queues is not None:
            yield from self.queues.stranded(now)
            self.queues.migrate(now)
            yield from self.queues.next_up(now)
            if len(self.queues) == len(self.queue):
                return
        stuck: set[str] = set()
        for exchange in list(self.queue):
            model = exchange.request.model
            if model in stuck or not self._waits_for_any(exchange):
                continue
            yield exchange
            # One that failed somewhere may wait for what others need not wait for.
            if self._waits_for_any(exchange) and not exchange.attempts:
                stuck.add(model)

    def endpoint_answered(self, endpoint: EndpointState) -> None:
        """Bytes came from an endpoint: it is well."""
        if endpoint.health.request_succeeded():
            self.fleet.touch()
        if self.queues is not None:
            self._room_again()

    def endpoint_failed(self, endpoint: EndpointState, failure: Failure, now: Monotonic) -> None:
        """A dispatch failed there: weigh it as the evidence it is."""
        if failure is Failure.REFUSED:
            endpoint.load.refused_until = self._refused_until = now + REFUSAL_BACKOFF_S
            changed = endpoint.health.request_succeeded()
        elif failure is Failure.UNREACHABLE:
            changed = endpoint.health.unreachable(now)
        else:
            changed = endpoint.health.request_failed(now)
        if changed:
            self.fleet.touch()
        if self.queues is not None:
            self._room_again()

    def _eligible(
        self, pool: Pool, now: Monotonic, exclude: Collection[str]
    ) -> Sequence[EndpointState]:
        """Who may be asked now: the pool's own list when that is everybody.

        A policy takes that list at its word: it remembers answers by the pool's version and may
        choose a draining endpoint too. So it gets a copy when anyone at all must be left out.
        """
        limit = self.admission.max_in_flight_per_endpoint
        if not exclude and not limit and now >= self._refused_until:
            return pool.routable
        room = [
            state
            for state in (*pool.routable, *pool.draining)
            if state.id not in exclude and not (limit and state.load.in_flight >= limit)
        ]
        willing = [state for state in room if now >= state.load.refused_until]
        if len(willing) == len(pool.routable) + len(pool.draining):
            return pool.routable
        draining = set(pool.draining)
        return [state for state in willing if state not in draining] or [
            state for state in room if state not in draining
        ]

    def _queue(self, exchange: Exchange, now: Monotonic) -> Wait | Reject:
        held = self._hold(exchange, now)
        if held is not None:
            return held
        limits = self.admission
        until = exchange.queued_until
        if until is None:
            until = exchange.queued_until = Monotonic(now + limits.max_wait_s)
        if now >= until:
            if exchange.request.model in self.fleet.models():
                reason, message = RejectReason.QUEUE_TIMEOUT, "no endpoint had room in time"
            else:
                reason, message = RejectReason.NO_ENDPOINT, "no endpoint is ready"
            return Reject(reason, message, Outcome.SHED, 1.0)
        if exchange in self.queue:  # woken without luck: it keeps its place
            return Wait(until)
        if self._is_full(exchange):
            return _full()
        self._stand(exchange)
        return Wait(until)

    def _is_full(self, exchange: Exchange) -> bool:
        """Whether the queue has no room for one more."""
        limits = self.admission
        requests = len(self.queue) - self.holding.requests
        size = self.queued_bytes - self.holding.bytes + exchange.request.body_bytes
        return requests >= limits.max_queued_requests or size > limits.max_queued_bytes

    def _hold(self, exchange: Exchange, now: Monotonic) -> Wait | Reject | None:
        """Wait for a model that sleeps to wake up; None where it is not for that that one waits."""
        dormant = self.fleet.overlay.dormant(exchange.request.model)
        if dormant is None:
            return None
        pool = self.fleet.pool(exchange.request.model, now)
        if pool is not None and pool.routable:
            return None
        until = exchange.queued_until
        if exchange in self.holding and until is not None:
            return Wait(until) if now < until else _asleep("has not woken up in time")
        if not self.holding.enter(exchange, dormant):
            if exchange in self.queue:  # it came before the model slept, and waits as it did
                return None
            return _asleep("sleeps, and no more requests may wait for it")
        until = exchange.queued_until = Monotonic(now + dormant.hold_s)
        if exchange not in self.queue:
            self._stand(exchange)
        return Wait(until)

    def _stand(self, exchange: Exchange) -> None:
        """At the end of the queue."""
        self.queue[exchange] = None
        self.queued_bytes += exchange.request.body_bytes
        self._count_waiting(exchange, 1)

    def _count_waiting(self, exchange: Exchange, by: int) -> None:
        """One more or less of those who wait for any endpoint, and have not failed anywhere."""
        if not exchange.attempts:
            model = exchange.request.model
            self._waiting[model] += by
            if not self._waiting[model]:
                del self._waiting[model]

    def _waits_for_any(self, exchange: Exchange) -> bool:
        return exchange in self.queue and (self.queues is None or exchange not in self.queues)

    # -- queues that are held here ----------------------------------------------------------------

    def _assign(
        self, queues: HeldQueues, exchange: Exchange, decision: Decision, now: Monotonic
    ) -> Decision | Wait | Reject:
        """Send it, if nobody waits there and there is room; else it waits for its turn."""
        request, chosen = exchange.request, decision.chosen
        work = work_tokens(chosen.uncached_tokens, request.prompt.tokens)
        if queues.at(chosen.endpoint) is None and queues.has_room(chosen.endpoint, work, now):
            return decision
        until = Monotonic(request.arrived_at + queues.config.max_wait_s)
        if now >= until:
            return _late()
        if exchange not in self.queue:
            if self._is_full(exchange):
                return _full()
            self._stand(exchange)
        self._count_waiting(exchange, -1)
        self.holding.leave(exchange)
        exchange.queued_until = until
        queues.enter(exchange, decision, now)
        if queues.needs_look(chosen.endpoint, now):
            self._room_again()
        return Wait(until)

    def _in_turn(
        self, queues: HeldQueues, exchange: Exchange, now: Monotonic
    ) -> Decision | Wait | Reject | None:
        """Who is assigned goes, waits on or is late; None if it has to be decided anew."""
        turn, until = queues.turn(exchange), exchange.queued_until
        if turn is None or until is None or queues.is_stranded(turn, now):
            self._unassign(queues, exchange)
            return None
        if queues.may_go(turn, now):
            return turn.sent(now)
        return Wait(until) if now < until else _late()

    def _unassign(self, queues: HeldQueues, exchange: Exchange) -> None:
        """It waits for any endpoint again, for as long as anybody may."""
        queues.leave(exchange)
        exchange.queued_until = None
        self._count_waiting(exchange, 1)

    def _requeue(self) -> None:
        """Admission has changed: who waits for its turn is decided anew."""
        if self.queues is not None:
            for turn in self.queues.turns():
                self._unassign(self.queues, turn.exchange)
        self.queues = self._make_queues()
        self._room_again()

    def _make_queues(self) -> HeldQueues | None:
        config, limit = self.admission.queues, self.admission.max_in_flight_per_endpoint
        return HeldQueues(config, limit, self.fleet, self.owners) if config.held else None

    def _room_again(self) -> None:
        if self.queue:
            for tell in self.on_room:
                tell()


def _asleep(what: str) -> Reject:
    return Reject(RejectReason.NO_ENDPOINT, f"the model {what}", Outcome.SHED, HOLD_RETRY_AFTER_S)


def _full() -> Reject:
    return Reject(RejectReason.QUEUE_FULL, "the queue is full", Outcome.SHED, 1.0)


def _late() -> Reject:
    words = "its turn did not come in time"
    return Reject(RejectReason.QUEUE_TIMEOUT, words, Outcome.SHED, 1.0)
