"""What a gateway process has, and what every front door asks of it.

HTTP and gRPC both do three things: `identify` who calls, `admit` the request (which makes a
`Call`), and start its `flight`, whose answer a `Sink` takes. Everything after that is the
flight's, so no front door decides anything of its own.

Deadlines are looked at in one sweep a few times a second: no timer is made for a request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from typing import TYPE_CHECKING, Protocol

import orjson
from cardan.errors import RequestError
from cardan.ledger import Outcome
from cardan.lifecycle import Reject, RejectReason
from cardan.policies.base import Needs

from cardan_router.beat import beat
from cardan_router.boundary import give_up, internal
from cardan_router.calls import Reading, RequestIds, parse_body, read_call
from cardan_router.clock import monotonic
from cardan_router.flight import Flight
from cardan_router.limits import LimitsConfig, TimeoutsConfig, UpstreamConfig
from cardan_router.upstream.pools import Upstreams

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, MutableSequence

    from cardan.decision import Decision
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange
    from cardan.prompt import KeyConfig
    from cardan.request import Api
    from cardan.scheduler import Scheduler

    from cardan_router.calls import Body, Call
    from cardan_router.clock import Clock
    from cardan_router.record import FlightRecord
    from cardan_router.rejections import Told
    from cardan_router.sink import Sink

log = logging.getLogger(__name__)

# Who owns the models of `/v1/models`: by this a gateway knows another one.
OWNER = "cardan"
# Deadlines are seconds; five looks a second cost nothing and miss none by more than this.
SWEEP_S = 0.2


class Caller(Protocol):
    """Who calls: a tenant's name and the priority of its requests."""

    @property
    def name(self) -> str:
        """The tenant."""
        ...

    @property
    def priority(self) -> int:
        """Larger is sooner."""
        ...


class Authenticator(Protocol):
    """Knows whose a key is."""

    def find(self, key: str) -> Caller | None:
        """The caller, or None if it is nobody's key."""
        ...


class Recorder(Protocol):
    """What telemetry and the access log are told; each call must be quick and must not raise."""

    @property
    def gaps(self) -> MutableSequence[float]:
        """Times between two reads of a stream that has begun are added here, in seconds.

        This is told of every token, so it is one append; whoever records counts them later.
        """
        ...

    def flight_ended(self, flight: FlightRecord) -> None:
        """A request that was admitted has its one outcome; everything is on the flight."""
        ...

    def turned_away(self, told: Told, *, request_id: str, path: str, tenant: str) -> None:
        """A request was refused before it was admitted: wrong path, key, body…"""
        ...


class Waiting(Protocol):
    """Whoever carries a request that waits in the scheduler's queue."""

    def wake(self, now: Monotonic) -> bool:
        """There may be room. False if it goes on waiting."""
        ...

    def abandon(self, reject: Reject) -> None:
        """Turn it away."""
        ...

    def drop(self) -> None:
        """End it where `abandon` failed too."""
        ...


class NullRecorder:
    """Records nothing."""

    def __init__(self) -> None:
        self.gaps: deque[float] = deque(maxlen=0)

    def flight_ended(self, flight: FlightRecord) -> None:
        """See `Recorder`."""

    def turned_away(self, told: Told, *, request_id: str, path: str, tenant: str) -> None:
        """See `Recorder`."""


class Anybody:
    """The caller where no keys are asked for."""

    name = ""
    priority = 0


ANYBODY = Anybody()


class Gateway:
    """Scheduler, upstream connections, clock, keys, limits: one for each process.

    `keys` None lets everybody in. `slo_ttft_s` tells the promise for a model, in seconds.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        key: KeyConfig,
        *,
        slo_ttft_s: Callable[[str], float],
        keys: Authenticator | None = None,
        recorder: Recorder | None = None,
        limits: LimitsConfig | None = None,
        timeouts: TimeoutsConfig | None = None,
        upstream: UpstreamConfig | None = None,
        clock: Clock = monotonic,
    ) -> None:
        self.scheduler = scheduler
        self.fleet = scheduler.fleet
        self.keys = keys
        self.recorder: Recorder = recorder or NullRecorder()
        self.limits = limits or LimitsConfig()
        self.timeouts = timeouts or TimeoutsConfig()
        self.clock = clock
        self.upstreams = Upstreams(upstream or UpstreamConfig(), self.timeouts, clock)
        self.ids = RequestIds()
        self.flights: dict[Flight, None] = {}
        self.waiting: dict[Exchange, Waiting] = {}
        self.sweepers: list[Callable[[Monotonic], None]] = []
        scheduler.on_room.append(self.wake)
        self.on_placed: Callable[[Call, Decision], None] | None = None
        self.draining = False
        self.started_at_unix_s = int(time.time())
        self._wake_planned = False
        self._failed_sweepers: set[str] = set()
        self._all_landed: asyncio.Event | None = None
        self._reading = self._make_reading(key, slo_ttft_s)

    def reconfigure(
        self,
        key: KeyConfig,
        *,
        slo_ttft_s: Callable[[str], float],
        keys: Authenticator | None,
        limits: LimitsConfig,
        timeouts: TimeoutsConfig,
        upstream: UpstreamConfig,
    ) -> None:
        """Take a new configuration; call it after the scheduler's own. What runs goes on."""
        self.keys = keys
        self.limits = limits
        self.timeouts = timeouts
        self.upstreams.reconfigure(upstream, timeouts)
        self._reading = self._make_reading(key, slo_ttft_s)

    @property
    def ready(self) -> bool:
        """May traffic be sent here: not shutting down, and there is a model to ask for."""
        return not self.draining and bool(self.models())

    def identify(self, headers: Mapping[str, str]) -> Caller:
        """Who calls, by `Authorization: Bearer` or `x-api-key`. Raises `RequestError`."""
        keys = self.keys
        if keys is None:
            return ANYBODY
        scheme, _, key = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            key = headers.get("x-api-key", "")
        caller = keys.find(key.strip()) if key else None
        if caller is None:
            raise RequestError(
                "a wrong API key was given" if key else "no API key was given",
                code="invalid_api_key",
            )
        return caller

    def admit(
        self,
        api: Api,
        path: str,
        headers: Mapping[str, str],
        body: Body,
        caller: Caller,
        request_id: str,
        fields: dict[str, object] | None = None,
        passed: str | None = None,
    ) -> Call:
        """A request in the engine's and in routing's terms. Raises `RequestError`.

        `path` is where the engine is asked. `fields` is the parsed body, and `passed` the header
        lines that an engine may see, where the caller has them.
        """
        now = self.clock()
        if fields is None:
            fields = parse_body(body)
        model = fields.get("model")
        if type(model) is not str or not model:
            model = self._only_model(model)
        return read_call(
            self._reading,
            api,
            path,
            headers,
            body,
            fields,
            model,
            passed,
            request_id,
            caller.name,
            caller.priority,
            now,
        )

    def flight(self, call: Call, sink: Sink) -> Flight:
        """A flight for a call, whose answer `sink` gets. The front door starts it."""
        flight = Flight(self, call, sink)
        self.flights[flight] = None
        return flight

    def landed(self, flight: Flight) -> None:
        """A flight has its outcome: record it, and look whether there is room for another."""
        self.flights.pop(flight, None)
        if self.scheduler.queue:
            self.wake()
        if self._all_landed is not None and not self.flights:
            self._all_landed.set()
        self.recorder.flight_ended(flight)

    def models_body(self) -> bytes:
        """`/v1/models`: what the fleet serves, and what it would if somebody asked."""
        return orjson.dumps(
            {"object": "list", "data": [self._model_object(name) for name in self.models()]}
        )

    def model_body(self, name: str) -> bytes | None:
        """`/v1/models/{name}`; None if nobody serves it."""
        return orjson.dumps(self._model_object(name)) if name in self.models() else None

    def models(self) -> list[str]:
        """Every model that may be asked for: those that are served, and those that sleep."""
        sleepers = self.fleet.overlay.sleepers()
        return sorted({*self.fleet.models(), *sleepers}) if sleepers else self.fleet.models()

    def wake(self) -> None:
        """There may be room for requests that wait: look once, after the present step."""
        if self.scheduler.queue and not self._wake_planned:
            self._wake_planned = True
            asyncio.get_running_loop().call_soon(self._wake_waiting)

    def endpoints_left(self, gone: Iterable[EndpointState]) -> None:
        """Endpoints are no longer in the fleet: close what is idle there."""
        still_used = {state.endpoint.url for state in self.fleet.endpoints.values()}
        for state in gone:
            if state.endpoint.url not in still_used:
                self.upstreams.close(state.endpoint.url)
        self.wake()

    def sweep(self) -> None:
        """Look at every deadline. Called every `SWEEP_S`."""
        now = self.clock()
        for flight in list(self.flights):
            try:
                flight.check(now)
            except Exception as error:  # noqa: BLE001 - the request boundary, which logs
                give_up(flight, error)
        for sweeper in (self.upstreams.sweep, *self.sweepers):
            try:
                sweeper(now)
            except Exception:  # one that fails must not keep the others from their deadlines
                if repr(sweeper) not in self._failed_sweepers:  # it will fail five times a second
                    self._failed_sweepers.add(repr(sweeper))
                    log.exception("%s failed", sweeper)
        self.wake()

    async def run(self) -> None:
        """Sweep until cancelled: one of the process's long-lived tasks."""
        while True:
            await beat(SWEEP_S)
            self.sweep()

    async def shutdown(self, grace_s: float) -> bool:
        """Refuse what is new, let what runs finish. True if all of it did within `grace_s`."""
        self.draining = True
        self._turn_waiting_away()
        self._all_landed = asyncio.Event()
        if self.flights:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._all_landed.wait(), grace_s)
        finished = not self.flights
        for flight in list(self.flights):
            flight.abandon(self.shutting_down())
        self.upstreams.close_all()
        return finished

    def shutting_down(self) -> Reject:
        """The answer to whoever comes now."""
        return Reject(RejectReason.SHUTTING_DOWN, "the gateway is shutting down", Outcome.SHED, 1.0)

    def _make_reading(self, key: KeyConfig, slo_ttft_s: Callable[[str], float]) -> Reading:
        upstream = self.upstreams.config
        return Reading(
            key,
            slo_ttft_s,
            wants_prompt=Needs.PROMPT in self.scheduler.policy.needs(),
            pass_authorization=upstream.pass_authorization and not upstream.api_key,
        )

    def _only_model(self, given: object) -> str:
        """The model of a body without one: the only one there is, which engines assume too."""
        if given is not None and given != "":
            raise RequestError("model must be a string", param="model")
        models = self.models()
        if len(models) == 1:
            return models[0]
        raise RequestError("you must provide a model", param="model", code="missing_model")

    def _model_object(self, name: str) -> dict[str, object]:
        return {
            "id": name,
            "object": "model",
            "created": self.started_at_unix_s,
            "owned_by": OWNER,
        }

    def _wake_waiting(self) -> None:
        """Wake those whom the scheduler names, one after the other."""
        self._wake_planned = False
        now = self.clock()
        for exchange in self.scheduler.wakeable(now):
            waiting = self.waiting.get(exchange)
            if waiting is not None:
                _wake(waiting, exchange, now)

    def _turn_waiting_away(self) -> None:
        for exchange in list(self.scheduler.queue):
            flight = self.waiting.get(exchange)
            if flight is not None:
                flight.abandon(self.shutting_down())


def _wake(waiting: Waiting, exchange: Exchange, now: Monotonic) -> None:
    """Wake one; a bug that meets it there ends it, and not the others' waiting."""
    try:
        waiting.wake(now)
    except Exception:  # the request boundary
        log.exception("request %s failed", exchange.request.request_id)
        _give_up(waiting, exchange)


def _give_up(waiting: Waiting, exchange: Exchange) -> None:
    try:
        waiting.abandon(internal())
    except Exception:  # what failed may be the telling itself
        log.exception("request %s could not be told so", exchange.request.request_id)
        waiting.drop()
