"""The service `cardan.v1.Routing`: decisions for other data planes.

`Route` places an `Exchange` exactly as a flight does, waiting in the same queue, and gives its
lease away instead of dialing. `Report` tells the exchange what the other data plane saw.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cardan.errors import RequestError
from cardan.ledger import Outcome, Usage
from cardan.lifecycle import Exchange, Failure, Reject, State, Wait

from cardan_router.forwarded import OPENAI_ROUTES
from cardan_router.grpc import requests, responses
from cardan_router.grpc.boundary import guarded
from cardan_router.grpc.errors import duration, of_reject
from cardan_router.grpc.inference import admit
from cardan_router.grpc.leases import LeaseBook, Told
from cardan_router.grpc.waiting import WaitingRoom
from cardan_router.pb.cardan.v1 import routing_pb2, routing_pb2_grpc
from cardan_router.receipts import public_name, receipt_of
from cardan_router.record import FlightRecord
from cardan_router.rejections import of_reject as told_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import Monotonic
    from cardan.lifecycle import Action

    from cardan_router.calls import Call
    from cardan_router.gateway import Caller, Gateway
    from cardan_router.grpc.boundary import Context, Rpc
    from cardan_router.grpc.limits import GrpcLimits

_APIS = {route.path: route.api for route in OPENAI_ROUTES}
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
        self._room = WaitingRoom(gateway)
        self._records: dict[Exchange, Routed] = {}

    def start(self) -> None:
        """Look at waits and at the leases' age whenever the gateway looks at deadlines."""
        self._gateway.sweepers.append(self._sweep)

    def stop(self) -> None:
        """Nobody can report any more: close every lease."""
        if self._sweep in self._gateway.sweepers:
            self._gateway.sweepers.remove(self._sweep)
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
        self.leases.check_room(pending=len(self._records) - len(self.leases))
        call.body = b""  # nobody here sends it
        exchange = Exchange(self._gateway.scheduler, call.view)
        self._records[exchange] = Routed(call, exchange)
        try:
            await self._place(exchange)
            response = self._response(exchange)
            response.lease_id = self.leases.hold(exchange, self._gateway.clock())
        except BaseException:  # also when it is cancelled: no exchange stays behind
            now = self._gateway.clock()
            exchange.client_left(now)
            self._landed(exchange, None, now)
            raise
        return response

    async def _place(self, exchange: Exchange) -> None:
        """Wait until the exchange has a lease. Raises `CallError` where it is turned away."""
        gateway, record = self._gateway, self._records[exchange]
        if gateway.draining:
            action: Action | None = exchange.abandon(gateway.shutting_down(), gateway.clock())
        else:
            begun = time.perf_counter()
            action = exchange.arrive(gateway.clock())
            record.decision_s = time.perf_counter() - begun
        if isinstance(action, Wait):
            action = await self._room.enter(exchange).over()
        if isinstance(action, Reject):
            record.status = told_of(action).status
            raise of_reject(action)

    def _landed(self, exchange: Exchange, usage: Usage | None, now: Monotonic) -> None:
        """A routed request has its one outcome."""
        self._room.leave(exchange)
        record = self._records.pop(exchange)
        record.usage = usage
        record.ended_at = now
        self._gateway.recorder.flight_ended(record)
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
        api = _APIS.get(request.path)
        if api is None:
            raise RequestError("no engine is asked under this path", param="http.path")
        return self._gateway.admit(
            api, request.path, rpc.headers, request.body, caller, request_id=rpc.request_id
        )

    def _response(self, exchange: Exchange) -> routing_pb2.RouteResponse:
        lease = exchange.lease
        if lease is None:
            raise RuntimeError(f"{exchange!r} was placed without a lease")
        state = lease.endpoint
        record = self._records[exchange]
        record.endpoint, record.dispatched_at = state, lease.opened_at
        return routing_pb2.RouteResponse(
            target=routing_pb2.Target(
                endpoint=public_name(state), url=state.endpoint.url, engine=state.engine.value
            ),
            lease_ttl=duration(self._limits.lease_ttl_s),
            receipt=responses.receipt(receipt_of(exchange, lease.opened_at)),
        )

    async def _report(
        self, rpc: Rpc, request: routing_pb2.ReportRequest
    ) -> routing_pb2.ReportResponse:
        tenant = rpc.identify(self._gateway).name
        told = self._tell(request, tenant, self._gateway.clock())
        name = request.lease_id
        while told.retry is not None and told.retry.state is State.WAITING:
            # A call that is cancelled leaves the wait to the next one, or to the lease's end.
            await self._room.enter(told.retry, self._turn_away(name)).over()
            told = self.leases.standing(name, tenant)
        response = routing_pb2.ReportResponse(closed=told.closed)
        if told.retry is not None:
            response.retry.CopyFrom(self._response(told.retry))
            response.retry.lease_id = name
        if told.reject is not None:
            response.rejection.CopyFrom(_rejection(told.reject))
        return response

    def _turn_away(self, name: str) -> Callable[[Reject], None]:
        return lambda reject: self.leases.turned_away(name, reject, self._gateway.clock())

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

    def _sweep(self, now: Monotonic) -> None:
        self._room.check(now)
        self.leases.expire(now)


class Routed(FlightRecord):
    """What the recorder is told of a request that others carried: no bytes, no status of theirs."""

    __slots__ = ()

    def __init__(self, call: Call, exchange: Exchange) -> None:
        self.call = call
        self.exchange = exchange
        self.arrived_at = call.view.arrived_at
        self.endpoint = self.dispatched_at = self.ended_at = self.usage = None
        self.decision_s = 0.0
        self.status = self.reads = self.bytes_out = 0
        self.is_stream = call.view.stream


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
