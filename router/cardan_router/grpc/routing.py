"""The service `cardan.v1.Routing`: decisions for other data planes.

`Route` places an `Exchange` exactly as a flight does, waiting in the same queue, and gives its
lease away instead of dialing. `Report` tells the exchange what the other data plane saw.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from cardan.errors import RequestError
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Failure, Reject, Wait

from cardan_router.flight import Flight
from cardan_router.grpc import requests, responses
from cardan_router.grpc.answers import Answer
from cardan_router.grpc.boundary import guarded
from cardan_router.grpc.errors import duration, of_reject
from cardan_router.grpc.inference import admit
from cardan_router.grpc.leases import LeaseBook, Told
from cardan_router.http.routes import OPENAI_ROUTES, Forwarded, RouteTable
from cardan_router.pb.cardan.v1 import routing_pb2, routing_pb2_grpc
from cardan_router.receipts import public_name, receipt_of
from cardan_router.rejections import of_reject as told_of

if TYPE_CHECKING:
    from cardan.instants import Monotonic
    from cardan.lifecycle import Action, Exchange

    from cardan_router.calls import Call
    from cardan_router.gateway import Caller, Gateway
    from cardan_router.grpc.boundary import Context, Rpc
    from cardan_router.grpc.limits import GrpcLimits

_ROUTES = RouteTable(OPENAI_ROUTES)
_METHOD = "/cardan.v1.Routing/"
_OUTCOMES = {
    routing_pb2.OUTCOME_OK: Outcome.OK,
    routing_pb2.OUTCOME_CLIENT_ERROR: Outcome.CLIENT_ERROR,
    routing_pb2.OUTCOME_ENGINE_ERROR: Outcome.ENGINE_ERROR,
    routing_pb2.OUTCOME_CLIENT_LEFT: Outcome.CLIENT_LEFT,
    routing_pb2.OUTCOME_DEADLINE: Outcome.DEADLINE,
}
_FAILURES = {
    routing_pb2.FAILURE_UNREACHABLE: Failure.UNREACHABLE,
    routing_pb2.FAILURE_REFUSED: Failure.REFUSED,
    routing_pb2.FAILURE_RESET: Failure.RESET,
    routing_pb2.FAILURE_BROKEN: Failure.BROKEN,
    routing_pb2.FAILURE_TIMEOUT: Failure.TIMEOUT,
}


class RoutingService(routing_pb2_grpc.RoutingServicer):
    """Answers the calls of `cardan.v1.Routing`."""

    def __init__(self, gateway: Gateway, limits: GrpcLimits) -> None:
        self._gateway = gateway
        self._limits = limits
        self.leases = LeaseBook(limits, self._landed)
        # What the recorder is told of a routed request stands on a flight that never starts.
        self._flights: dict[Exchange, Flight] = {}

    def start(self) -> None:
        """Look at the leases' age whenever the gateway looks at deadlines."""
        self._gateway.sweepers.append(self._expire)

    def stop(self) -> None:
        """Nobody can report any more: close every lease."""
        if self._expire in self._gateway.sweepers:
            self._gateway.sweepers.remove(self._expire)
        self.leases.abandon_all(self._gateway.clock())

    async def Route(  # noqa: N802 - the proto's name
        self, request: routing_pb2.RouteRequest, context: Context
    ) -> routing_pb2.RouteResponse:
        """Decide where a request goes and open a lease."""
        return await guarded(self._gateway, context, _METHOD + "Route", self._route, request)

    async def Report(  # noqa: N802 - the proto's name
        self, request: routing_pb2.ReportRequest, context: Context
    ) -> routing_pb2.ReportResponse:
        """Tell what became of a lease."""
        return await guarded(self._gateway, context, _METHOD + "Report", self._report, request)

    async def _route(
        self, rpc: Rpc, request: routing_pb2.RouteRequest
    ) -> routing_pb2.RouteResponse:
        caller = rpc.identify(self._gateway)
        call = self._admit(rpc, request, caller)
        self.leases.check_room(pending=len(self._flights) - len(self.leases))
        flight = Flight(self._gateway, call, Answer())
        call.body = b""  # nobody here sends it
        exchange = flight.exchange
        self._flights[exchange] = flight
        try:
            reject = await self._place(flight)
        except asyncio.CancelledError:
            exchange.client_left(self._gateway.clock())
            self._landed(exchange, None, self._gateway.clock())
            raise
        if reject is not None:
            flight.status = told_of(reject).status
            self._landed(exchange, None, self._gateway.clock())
            raise of_reject(reject)
        name = self.leases.hold(exchange, self._gateway.clock())
        return self._response(name, exchange)

    async def _place(self, flight: Flight) -> Reject | None:
        """Wait until the exchange has a lease; or why it is turned away."""
        gateway, exchange = self._gateway, flight.exchange
        if gateway.draining:
            return exchange.abandon(gateway.shutting_down(), gateway.clock())
        begun = time.perf_counter()
        action = exchange.arrive(gateway.clock())
        flight.decision_s = time.perf_counter() - begun
        if isinstance(action, Wait):
            action = await _Waiting(gateway, exchange).until(action.until)
        return action if isinstance(action, Reject) else None

    def _landed(self, exchange: Exchange, usage: Usage | None, now: Monotonic) -> None:
        """A routed request has its one outcome."""
        flight = self._flights.pop(exchange)
        flight.usage = usage
        flight.ended_at = now
        self._gateway.recorder.flight_ended(flight)
        self._gateway.wake()

    def _admit(self, rpc: Rpc, request: routing_pb2.RouteRequest, caller: Caller) -> Call:
        kind = request.WhichOneof("request")
        if kind == "generate":
            api, body = requests.generate(request.generate, stream=True)
            return admit(self._gateway, rpc, api, body, caller)
        if kind == "embed":
            api, body = requests.embed(request.embed)
            return admit(self._gateway, rpc, api, body, caller)
        if kind == "http":
            return self._admit_http(rpc, request.http, caller)
        raise RequestError("one of generate, embed, http is required", param="request")

    def _admit_http(self, rpc: Rpc, request: routing_pb2.HttpRequest, caller: Caller) -> Call:
        route = _ROUTES.find(request.path)
        if not isinstance(route, Forwarded):
            raise RequestError("no engine is asked under this path", param="http.path")
        return self._gateway.admit(
            route.api, route.path, rpc.headers, request.body, caller, request_id=rpc.request_id
        )

    def _response(self, name: str, exchange: Exchange) -> routing_pb2.RouteResponse:
        lease = exchange.lease
        if lease is None:
            raise RuntimeError(f"{exchange!r} was placed without a lease")
        state = lease.endpoint
        flight = self._flights[exchange]
        flight.endpoint, flight.dispatched_at = state, lease.opened_at
        return routing_pb2.RouteResponse(
            target=routing_pb2.Target(
                endpoint=public_name(state), url=state.endpoint.url, engine=state.engine.value
            ),
            lease_id=name,
            lease_ttl=duration(self._limits.lease_ttl_s),
            receipt=responses.receipt(receipt_of(exchange, lease.opened_at)),
        )

    async def _report(
        self, rpc: Rpc, request: routing_pb2.ReportRequest
    ) -> routing_pb2.ReportResponse:
        tenant = rpc.identify(self._gateway).name
        told = self._tell(request, tenant, self._gateway.clock())
        response = routing_pb2.ReportResponse(closed=told.closed)
        if told.retry is not None:
            response.retry.CopyFrom(self._response(request.lease_id, told.retry))
        if told.reject is not None:
            response.rejection.CopyFrom(_rejection(told.reject))
        return response

    def _tell(self, request: routing_pb2.ReportRequest, tenant: str, now: Monotonic) -> Told:
        name = request.lease_id
        kind = request.WhichOneof("event")
        if kind == "first_token":
            return self.leases.first_token(name, tenant, now)
        if kind == "failed":
            failed = request.failed
            failure = _FAILURES.get(failed.failure)
            if failure is None:
                raise RequestError("is not set", param="failed.failure")
            return self.leases.failed(name, tenant, failure, failed.endpoint, now)
        if kind == "end":
            outcome = _OUTCOMES.get(request.end.outcome)
            if outcome is None:
                raise RequestError("is not set", param="end.outcome")
            return self.leases.ended(name, tenant, outcome, _usage(request.end), now)
        raise RequestError("one of first_token, failed, end is required", param="event")

    def _expire(self, now: Monotonic) -> None:
        self.leases.expire(now)


class _Waiting:
    """A request in the gateway's queue that no flight carries."""

    def __init__(self, gateway: Gateway, exchange: Exchange) -> None:
        self._gateway = gateway
        self._exchange = exchange
        self._action: asyncio.Future[Action] = asyncio.get_running_loop().create_future()

    async def until(self, deadline: Monotonic) -> Action:
        """What became of the request, at the latest at `deadline` or at its own."""
        own = self._exchange.request.deadline_at
        deadline = deadline if own is None else min(deadline, own)
        self._gateway.waiting[self._exchange] = self
        try:
            async with asyncio.timeout(deadline - self._gateway.clock()):
                return await asyncio.shield(self._action)
        except TimeoutError:
            if self._action.done():  # both in one turn of the loop
                return self._action.result()
            return self._late(own)
        finally:
            self._gateway.waiting.pop(self._exchange, None)

    def _late(self, own: Monotonic | None) -> Action:
        now = self._gateway.clock()
        reject = self._exchange.deadline(now) if own is not None and now >= own else None
        return self._exchange.wake(now) if reject is None else reject

    def wake(self, now: Monotonic) -> bool:
        """There may be room; False if there was none."""
        action = self._exchange.wake(now)
        if isinstance(action, Wait):
            return False
        self._settle(action)
        return True

    def abandon(self, reject: Reject) -> None:
        """The gateway shuts down."""
        self._settle(self._exchange.abandon(reject, self._gateway.clock()))

    def _settle(self, action: Action) -> None:
        self._gateway.waiting.pop(self._exchange, None)
        self._action.set_result(action)


def _usage(end: routing_pb2.End) -> Usage | None:
    if not end.HasField("usage"):
        return None
    usage = end.usage
    return Usage(
        prompt_tokens=usage.prompt_tokens if usage.HasField("prompt_tokens") else None,
        completion_tokens=usage.completion_tokens if usage.HasField("completion_tokens") else None,
        cached_tokens=usage.cached_tokens if usage.HasField("cached_tokens") else None,
    )


def _rejection(reject: Reject) -> routing_pb2.Rejection:
    told = told_of(reject)
    out = routing_pb2.Rejection(
        reason=told.code.upper(), message=reject.message, http_status=told.status
    )
    if reject.retry_after_s is not None:
        out.retry_after.CopyFrom(duration(reject.retry_after_s))
    return out
