"""A gateway without sockets: it drives real exchanges on a real scheduler.

This is what `cardan_router.flight` and `cardan_router.gateway` do around the core, and no more:
send where the exchange says, tell it what came, place those who wait when there may be room. Where
a request goes, whether it waits, whether it is tried again: all that is the core's.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Final, Protocol

from cardan.instants import Monotonic
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Exchange, Failure, Forward, State, Wait
from cardan.request import Api, RequestView

if TYPE_CHECKING:
    from cardan.lifecycle import Action
    from cardan.scheduler import Scheduler

    from cardan_sim.simulate.jobs import Job, Naming
    from cardan_sim.simulate.kernel import Kernel

MODEL: Final = "model"
BYTES_PER_TOKEN: Final = 4
# `cardan_router.limits.TimeoutsConfig.first_byte_s`, which bounds the engines' queues.
FIRST_BYTE_S: Final = 600.0


class Upstream(Protocol):
    """The way to the engines."""

    def send(self, flight: Flight, endpoint_id: str) -> None:
        """Bring a request to an engine; what comes of it is told to the flight's gateway."""
        ...

    def leave(self, flight: Flight) -> None:
        """The gateway has given up on what it sent: the engine notices that its client is gone."""
        ...

    def landed(self, flight: Flight) -> None:
        """A request has its one outcome."""
        ...


class Flight:
    """One request on its way. `key` names its present dispatch at the engine, `engine` which."""

    __slots__ = ("engine", "exchange", "gateway", "job", "key", "number", "until")

    def __init__(self, number: int, job: Job, gateway: Gateway, exchange: Exchange) -> None:
        self.number = number
        self.job = job
        self.gateway = gateway
        self.exchange = exchange
        self.engine = -1
        self.key = -1
        self.until = 0.0  # when its present wait is over


class Gateway:
    """One gateway process: its scheduler, and those it has in hand."""

    def __init__(
        self,
        kernel: Kernel,
        scheduler: Scheduler,
        upstream: Upstream,
        naming: Naming,
        slo_ttft_s: float,
        waiting: dict[Exchange, Flight] | None = None,
    ) -> None:
        self.kernel = kernel
        self.scheduler = scheduler
        self._upstream = upstream
        self._naming = naming
        self._slo_ttft_s = slo_ttft_s
        # Gateways of one mind wake each other's: whoever's turn it is may be anybody's.
        self._waiting: dict[Exchange, Flight] = {} if waiting is None else waiting
        self._sent: deque[tuple[float, Flight, int]] = deque()
        self._wake_planned = False
        scheduler.on_room.append(self.wake)

    @property
    def now(self) -> Monotonic:
        """The time as the core wants it."""
        return Monotonic(self.kernel.now)

    def arrive(self, job: Job, number: int) -> None:
        """A client's request is complete."""
        now = self.now
        view = RequestView(
            str(number),
            Api.CHAT,
            MODEL,
            self._naming.prompt(job),
            True,
            now,
            self._slo_ttft_s,
            body_bytes=BYTES_PER_TOKEN * job.tokens,
            session=job.session,
            tenant=job.tenant,
        )
        exchange = Exchange(self.scheduler, view)
        flight = Flight(number, job, self, exchange)
        self._act(flight, exchange.arrive(now))

    def began(self, flight: Flight) -> None:
        """The first token has come."""
        flight.exchange.first_byte(self.now)

    def finished(self, flight: Flight, cached_tokens: int, output_tokens: int) -> None:
        """The answer is complete, with the engine's word on its prompt."""
        usage = Usage(flight.job.tokens, output_tokens, cached_tokens)
        flight.exchange.ended(Outcome.OK, self.now, usage)
        self._land(flight)

    def refused_for_good(self, flight: Flight) -> None:
        """The engine says that no engine of its kind could serve this: a client's error."""
        flight.exchange.ended(Outcome.CLIENT_ERROR, self.now)
        self._land(flight)

    def failed(self, flight: Flight, failure: Failure) -> None:
        """The dispatch failed: perhaps it goes elsewhere."""
        action = flight.exchange.failed(failure, self.now)
        if action is None:
            self._land(flight)
        else:
            self._act(flight, action)

    def tick(self) -> None:
        """Once a second: weights of those who joined rise, and deadlines are looked at."""
        self.scheduler.fleet.tick(self.now)
        self._sweep()
        self.wake()

    def wake(self) -> None:
        """There may be room for those who wait: look once, after the present step."""
        if self.scheduler.queue and not self._wake_planned:
            self._wake_planned = True
            self.kernel.after(0.0, self._wake_waiting)

    def _act(self, flight: Flight, action: Action) -> None:
        if isinstance(action, Forward):
            self._waiting.pop(flight.exchange, None)
            self._upstream.send(flight, action.lease.endpoint.id)
            self._sent.append((self.kernel.now, flight, flight.key))
        elif isinstance(action, Wait):
            self._waiting[flight.exchange] = flight
            flight.until = action.until
        else:
            self._land(flight)

    def _sweep(self) -> None:
        """Who has waited for too long is told so; what has had no first byte for too long fails."""
        for waiting in list(self._waiting.values()):
            if self.kernel.now >= waiting.until:
                waiting.gateway._wake_one(waiting)
        sent = self._sent
        while sent:
            at, flight, key = sent[0]
            pending = flight.key == key and flight.exchange.state is State.DISPATCHED
            if pending and self.kernel.now - at < FIRST_BYTE_S:
                return
            sent.popleft()
            if pending:
                self._upstream.leave(flight)
                self.failed(flight, Failure.TIMEOUT)

    def _wake_waiting(self) -> None:
        """Wake those whom the scheduler names, one after the other."""
        self._wake_planned = False
        for exchange in self.scheduler.wakeable(self.now):
            flight = self._waiting.get(exchange)
            if flight is not None:
                flight.gateway._wake_one(flight)

    def _wake_one(self, flight: Flight) -> None:
        """There may be room, or the wait is over."""
        exchange = flight.exchange
        if exchange.state is not State.WAITING or exchange not in self._waiting:
            return
        self._act(flight, exchange.wake(self.now))

    def _land(self, flight: Flight) -> None:
        self._waiting.pop(flight.exchange, None)
        self._upstream.landed(flight)
        self.wake()
