"""`Route` decides as the gateway itself would, and every lease it gives can be closed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
import orjson
import pytest
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.policies import policy_named
from cardan.scheduler import AdmissionConfig
from cardan_router.clock import monotonic
from cardan_router.gateway import NullRecorder
from cardan_router.grpc.limits import GrpcLimits
from cardan_router.pb.cardan.v1 import inference_pb2, prompt_pb2, routing_pb2
from grpc import aio

from tests.fakes.waiting import until
from tests.router.grpc.door import MODEL, chat, door, failure
from tests.router.grpc.engine import engine

if TYPE_CHECKING:
    from cardan_router.record import FlightRecord

    from tests.router.grpc.door import Door

URLS = ["http://127.0.0.1:9", "http://127.0.0.2:9", "http://127.0.0.3:9"]

EMPTY_CHAT = inference_pb2.GenerateRequest(chat=prompt_pb2.Chat())
FIRST_TOKEN = routing_pb2.FirstToken()


def route(text: str = "hello") -> routing_pb2.RouteRequest:
    return routing_pb2.RouteRequest(generate=chat(text))


def end(
    lease_id: str, outcome: routing_pb2.Outcome.ValueType = routing_pb2.OUTCOME_OK
) -> routing_pb2.ReportRequest:
    usage = inference_pb2.Usage(prompt_tokens=5, cached_tokens=0)
    return routing_pb2.ReportRequest(
        lease_id=lease_id, end=routing_pb2.End(outcome=outcome, usage=usage)
    )


def failed_at(
    answer: routing_pb2.RouteResponse, failure_: routing_pb2.Failure.ValueType
) -> routing_pb2.ReportRequest:
    return routing_pb2.ReportRequest(
        lease_id=answer.lease_id,
        failed=routing_pb2.Failed(failure=failure_, endpoint=answer.target.endpoint),
    )


async def test_a_route_names_endpoint_reason_prediction_and_lease() -> None:
    async with door(URLS, policy=policy_named("dualmap")) as gate:
        answer = await gate.routing.Route(route())
        assert answer.target.endpoint in {"e0", "e1", "e2"}
        assert answer.target.url == URLS[int(answer.target.endpoint[1:])]
        assert answer.target.engine == "vllm"
        assert len(answer.receipt.candidates) == 2
        assert answer.receipt.endpoint == answer.target.endpoint
        assert answer.receipt.predicted_ttft_s > 0
        assert answer.lease_ttl.seconds == 600
        assert gate.open_leases == 1
        told = await gate.routing.Report(
            routing_pb2.ReportRequest(lease_id=answer.lease_id, first_token=FIRST_TOKEN)
        )
        assert not told.closed
        told = await gate.routing.Report(end(answer.lease_id))
        assert told.closed
        assert gate.open_leases == 0
        assert await gate.routing.Report(end(answer.lease_id)) == told


async def test_a_route_and_a_forwarded_request_go_to_the_same_endpoint() -> None:
    async with engine() as one, engine() as two, engine() as three:
        urls = [one.url, two.url, three.url]
        async with door(urls, policy=policy_named("session-hash")) as gate:
            for i in range(6):
                metadata = (("x-session-id", f"session-{i}"),)
                answer = await gate.routing.Route(route(), metadata=metadata)
                await gate.routing.Report(end(answer.lease_id))
                reply = await gate.inference.GenerateUnary(chat(explain=True), metadata=metadata)
                assert reply.receipt.endpoint == answer.target.endpoint


async def test_a_body_of_the_http_api_is_routed_as_the_same_request() -> None:
    async with door(URLS, policy=policy_named("dualmap")) as gate:
        first = await gate.routing.Route(route("the same prompt"))
        body = {"model": MODEL, "messages": [{"role": "user", "content": "the same prompt"}]}
        request = routing_pb2.HttpRequest(path="/v1/chat/completions", body=orjson.dumps(body))
        second = await gate.routing.Route(routing_pb2.RouteRequest(http=request))
        assert second.receipt.key == first.receipt.key
        embed = inference_pb2.EmbedRequest(inputs=[inference_pb2.EmbedInput(text="a")])
        await gate.routing.Route(routing_pb2.RouteRequest(embed=embed))
        assert gate.open_leases == 3


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("request", routing_pb2.RouteRequest()),
        ("http.path", routing_pb2.RouteRequest(http=routing_pb2.HttpRequest(path="/flush_cache"))),
        (
            "chat.messages",
            routing_pb2.RouteRequest(generate=EMPTY_CHAT),
        ),
    ],
)
async def test_a_wrong_route_names_its_field(
    field: str, request_: routing_pb2.RouteRequest
) -> None:
    async with door(URLS) as gate:
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Route(request_)
        assert failure(raised.value).field == field


async def test_a_failure_answers_with_the_next_endpoint_until_there_is_none() -> None:
    async with door(URLS) as gate:
        first = await gate.routing.Route(route())
        told = await gate.routing.Report(failed_at(first, routing_pb2.FAILURE_UNREACHABLE))
        assert told.retry.lease_id == first.lease_id
        assert told.retry.target.endpoint != first.target.endpoint
        assert told.retry.receipt.attempts == 2
        again = await gate.routing.Report(failed_at(first, routing_pb2.FAILURE_UNREACHABLE))
        assert again.retry.target == told.retry.target
        third = await gate.routing.Report(failed_at(told.retry, routing_pb2.FAILURE_UNREACHABLE))
        last = await gate.routing.Report(failed_at(third.retry, routing_pb2.FAILURE_UNREACHABLE))
        assert last.closed
        assert (last.rejection.reason, last.rejection.http_status) == ("ENGINE_UNREACHABLE", 503)
        assert last.rejection.retry_after.seconds == 1
        assert gate.open_leases == 0


@pytest.mark.parametrize(
    ("field", "request_"),
    [
        ("event", routing_pb2.ReportRequest(lease_id="x")),
        ("end.outcome", routing_pb2.ReportRequest(lease_id="x", end=routing_pb2.End())),
        ("failed.failure", routing_pb2.ReportRequest(lease_id="x", failed=routing_pb2.Failed())),
    ],
)
async def test_a_wrong_report_names_its_field(
    field: str, request_: routing_pb2.ReportRequest
) -> None:
    async with door(URLS) as gate:
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Report(request_)
        assert failure(raised.value).field == field


async def test_a_lease_nobody_knows_is_not_found() -> None:
    async with door(URLS) as gate:
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Report(end("0" * 32))
        got = failure(raised.value)
        assert (got.code, got.reason) == ("NOT_FOUND", "LEASE_NOT_FOUND")


async def test_leases_are_bounded_and_expire_by_themselves() -> None:
    limits = GrpcLimits(max_leases=1, lease_ttl_s=0.2)
    async with door(URLS, grpc_limits=limits) as gate:
        await gate.routing.Route(route())
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Route(route())
        got = failure(raised.value)
        assert (got.code, got.reason) == ("RESOURCE_EXHAUSTED", "TOO_MANY_LEASES")
        await until(lambda: gate.open_leases == 0)
        await gate.routing.Route(route())


async def test_a_route_waits_in_the_queue_and_is_woken_by_a_report() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with door(URLS[:1], admission=admission) as gate:
        first = await gate.routing.Route(route())
        second = asyncio.ensure_future(gate.routing.Route(route()))
        await _queued(gate, 1)
        await gate.routing.Report(end(first.lease_id))
        assert (await second).target.endpoint == "e0"
        assert gate.open_leases == 1


async def test_a_route_that_waits_too_long_is_turned_away() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=0.1)
    async with door(URLS[:1], admission=admission) as gate:
        await gate.routing.Route(route())
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Route(route())
        got = failure(raised.value)
        assert (got.code, got.reason, got.retry_s) == ("UNAVAILABLE", "QUEUE_TIMEOUT", 1.0)
        assert not gate.gateway.scheduler.queue


async def test_a_wait_that_is_looked_at_too_soon_goes_on() -> None:
    now = Monotonic(1000.0)
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=10.0)
    async with door(URLS[:1], admission=admission, clock=lambda: now) as gate:
        await gate.routing.Route(route())
        waiting = asyncio.ensure_future(gate.routing.Route(route()))
        await _queued(gate, 1)
        now = Monotonic(1009.9995)
        gate.gateway.sweep()
        assert len(gate.gateway.waiting) == 1
        now = Monotonic(1010.0)
        with pytest.raises(aio.AioRpcError) as raised:
            await waiting
        assert failure(raised.value).reason == "QUEUE_TIMEOUT"
        assert (len(gate.gateway.waiting), gate.gateway.scheduler.queued_bytes) == (0, 0)


async def test_a_timer_that_fires_early_ends_no_wait() -> None:
    """Event loops round their timers, uvloop's down; here the clock is slower than any of them."""
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=0.1)
    async with door(URLS[:1], admission=admission, clock=_slow_clock) as gate:
        await gate.routing.Route(route())
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Route(route())
        assert failure(raised.value).reason == "QUEUE_TIMEOUT"
        assert (gate.open_leases, len(gate.gateway.scheduler.queue)) == (1, 0)


def _slow_clock() -> Monotonic:
    return Monotonic(monotonic() / 2)


async def test_a_bug_while_routing_leaves_no_exchange_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with door(URLS[:1]) as gate:

        def explode(*_: object) -> str:
            raise ZeroDivisionError

        with monkeypatch.context() as patched:
            patched.setattr(gate.routing_service.leases, "hold", explode)
            with pytest.raises(aio.AioRpcError) as raised:
                await gate.routing.Route(route())
        assert failure(raised.value).reason == "INTERNAL_ERROR"
        assert gate.open_leases == 0
        await gate.routing.Route(route())


async def test_a_failure_waits_for_room_elsewhere_and_is_told_where() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with door(URLS[:2], admission=admission) as gate:
        first = await gate.routing.Route(route())
        second = await gate.routing.Route(route())
        report = failed_at(first, routing_pb2.FAILURE_RESET)
        given_up = gate.routing.Report(report)
        await _queued(gate, 1)
        given_up.cancel()
        reports = [asyncio.ensure_future(gate.routing.Report(report)) for _ in range(2)]
        await asyncio.sleep(0.05)  # whether they are here before or after the room does not matter
        await gate.routing.Report(end(second.lease_id))
        for told in await asyncio.gather(*reports):
            assert (told.retry.lease_id, told.closed) == (first.lease_id, False)
            assert told.retry.target.endpoint == second.target.endpoint
        assert gate.open_leases == 1
        assert (await gate.routing.Report(end(first.lease_id))).closed


async def test_a_failure_for_which_no_room_comes_is_closed_and_told_so_again() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=0.1)
    async with door(URLS[:2], admission=admission) as gate:
        first = await gate.routing.Route(route())
        await gate.routing.Route(route())
        report = failed_at(first, routing_pb2.FAILURE_RESET)
        told = await gate.routing.Report(report)
        assert (told.closed, told.rejection.reason) == (True, "QUEUE_TIMEOUT")
        assert await gate.routing.Report(report) == told
        assert (len(gate.routing_service.leases), gate.open_leases) == (1, 1)
        assert not gate.gateway.scheduler.queue


async def test_a_lease_that_ends_while_it_waits_wakes_whoever_waits() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with door(URLS[:2], admission=admission) as gate:
        first = await gate.routing.Route(route())
        await gate.routing.Route(route())
        report = failed_at(first, routing_pb2.FAILURE_RESET)
        waiting = asyncio.ensure_future(gate.routing.Report(report))
        await _queued(gate, 1)
        await gate.routing.Report(end(first.lease_id, routing_pb2.OUTCOME_CLIENT_LEFT))
        told = await waiting
        assert told.closed
        assert not told.HasField("retry")
        assert not gate.gateway.waiting


async def test_a_route_waits_no_longer_than_its_request_is_worth() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=600.0)
    async with door(URLS[:1], admission=admission) as gate:
        await gate.routing.Route(route())
        with pytest.raises(aio.AioRpcError) as raised:
            await gate.routing.Route(route(), metadata=(("x-request-timeout-ms", "100"),))
        got = failure(raised.value)
        assert (got.code, got.reason) == ("DEADLINE_EXCEEDED", "DEADLINE_EXCEEDED")
        assert not gate.gateway.scheduler.queue


async def test_a_route_that_is_cancelled_leaves_the_queue() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with door(URLS[:1], admission=admission) as gate:
        await gate.routing.Route(route())
        waiting = gate.routing.Route(route())
        await _queued(gate, 1)
        waiting.cancel()
        await _queued(gate, 0)
        assert not gate.gateway.waiting


async def test_a_draining_gateway_routes_nothing_new() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1)
    async with door(URLS[:1], admission=admission) as gate:
        first = await gate.routing.Route(route())
        waiting = asyncio.ensure_future(gate.routing.Route(route()))
        await _queued(gate, 1)
        await gate.gateway.shutdown(0.0)
        for call in (waiting, gate.routing.Route(route())):
            with pytest.raises(aio.AioRpcError) as raised:
                await call
            assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
            assert failure(raised.value).reason == "SHUTTING_DOWN"
        assert (await gate.routing.Report(end(first.lease_id))).closed


class Notes(NullRecorder):
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.flights: list[FlightRecord] = []

    def flight_ended(self, flight: FlightRecord) -> None:
        self.flights.append(flight)


async def test_routed_requests_are_recorded_like_forwarded_ones() -> None:
    notes = Notes()
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_queued_requests=0)
    async with door(URLS[:1], recorder=notes, admission=admission) as gate:
        answer = await gate.routing.Route(route())
        with pytest.raises(aio.AioRpcError):
            await gate.routing.Route(route())
        await gate.routing.Report(end(answer.lease_id))
        turned_away, routed = notes.flights
        assert turned_away.exchange.outcome is Outcome.SHED
        assert turned_away.status == 429
        assert routed.exchange.outcome is Outcome.OK
        assert routed.endpoint is not None
        assert (routed.endpoint.id, routed.call.view.model) == ("e0", MODEL)
        assert routed.usage is not None
        assert routed.usage.prompt_tokens == 5
        assert routed.arrived_at <= (routed.dispatched_at or 0.0) <= (routed.ended_at or 0.0)


async def _queued(gate: Door, count: int) -> None:
    await until(lambda: len(gate.gateway.scheduler.queue) == count)
