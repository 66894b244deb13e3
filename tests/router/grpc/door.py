"""A whole gateway with a gRPC door, in this process, for tests."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any, NamedTuple

from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet
from cardan.policies import AnyPolicy, RoundRobin
from cardan.prompt import KeyConfig
from cardan.scheduler import AdmissionConfig, Scheduler
from cardan_router.clock import monotonic
from cardan_router.gateway import Gateway
from cardan_router.grpc.errors import DETAILS
from cardan_router.grpc.inference import InferenceService
from cardan_router.grpc.limits import GrpcLimits
from cardan_router.grpc.routing import RoutingService
from cardan_router.grpc.server import GrpcServer
from cardan_router.pb.cardan.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    prompt_pb2,
    routing_pb2_grpc,
)
from google.rpc import error_details_pb2, status_pb2
from grpc import aio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from cardan_router.clock import Clock
    from cardan_router.gateway import Authenticator, Recorder
    from cardan_router.limits import LimitsConfig

MODEL = "m"


class Door:
    """What a test of the gRPC door holds."""

    def __init__(self, gateway: Gateway, limits: GrpcLimits) -> None:
        self.gateway = gateway
        self.routing_service = RoutingService(gateway, limits)
        self.server = GrpcServer(
            InferenceService(gateway),
            self.routing_service,
            limits=limits,
            max_message_bytes=gateway.limits.max_body_bytes,
        )
        self.target = ""

    async def open(self) -> None:
        """Listen and connect."""
        self.target = f"127.0.0.1:{await self.server.start('127.0.0.1:0')}"
        await self.server.set_ready(ready=True)
        self.channel = aio.insecure_channel(self.target)
        self.inference = inference_pb2_grpc.InferenceStub(self.channel)
        self.routing = routing_pb2_grpc.RoutingStub(self.channel)

    @property
    def open_leases(self) -> int:
        """Leases that are not closed."""
        return self.gateway.scheduler.ledger.open_leases


@contextlib.asynccontextmanager
async def door(
    urls: Sequence[str],
    *,
    policy: AnyPolicy | None = None,
    limits: LimitsConfig | None = None,
    grpc_limits: GrpcLimits | None = None,
    admission: AdmissionConfig | None = None,
    keys: Authenticator | None = None,
    recorder: Recorder | None = None,
    model: str = MODEL,
    clock: Clock = monotonic,
) -> AsyncIterator[Door]:
    """A gateway in front of the engines at `urls`, which all serve `model`."""
    fleet = Fleet()
    endpoints = [Endpoint(url=url, name=f"e{i}") for i, url in enumerate(urls)]
    fleet.update(endpoints, clock())
    for state in fleet.endpoints.values():
        fleet.introspected(state, [model], EngineKind.VLLM)
    scheduler = Scheduler(fleet, policy or RoundRobin(), random.Random(1), admission=admission)
    gateway = Gateway(
        scheduler,
        KeyConfig(),
        slo_ttft_s=lambda _: 5.0,
        keys=keys,
        recorder=recorder,
        limits=limits,
        clock=clock,
    )
    made = Door(gateway, grpc_limits or GrpcLimits())
    sweeping = asyncio.create_task(gateway.run())
    await made.open()
    try:
        yield made
    finally:
        await made.channel.close(None)
        await made.server.stop(0.0)
        await gateway.shutdown(0.0)
        sweeping.cancel()
        assert made.open_leases == 0


def chat(
    text: str = "hello", max_tokens: int = 3, **fields: object
) -> inference_pb2.GenerateRequest:
    """A chat of one message."""
    return inference_pb2.GenerateRequest(
        model=MODEL,
        chat=prompt_pb2.Chat(messages=[prompt_pb2.Message(role="user", content=text)]),
        sampling=prompt_pb2.Sampling(max_tokens=max_tokens),
        **fields,  # type: ignore[arg-type]
    )


class Failed(NamedTuple):
    """A failed call, its details unpacked."""

    code: str
    reason: str
    request_id: str
    field: str
    retry_s: float | None
    message: str


def failure(error: aio.AioRpcError) -> Failed:
    """What a client reads from a failed call."""
    trailers: dict[str, Any] = dict(iter(error.trailing_metadata()))  # type: ignore[arg-type]
    status = status_pb2.Status.FromString(trailers[DETAILS])
    assert status.code == error.code().value[0]
    assert status.message == error.details()
    info = error_details_pb2.ErrorInfo()
    wrong = error_details_pb2.BadRequest()
    retry = error_details_pb2.RetryInfo()
    retry_s = None
    for detail in status.details:
        detail.Unpack(info)
        detail.Unpack(wrong)
        if detail.Unpack(retry):
            retry_s = retry.retry_delay.ToTimedelta().total_seconds()
    assert info.domain == "cardan.dev"
    assert info.metadata["request_id"] == trailers["x-request-id"]
    field = wrong.field_violations[0].field if wrong.field_violations else ""
    return Failed(
        error.code().name, info.reason, trailers["x-request-id"], field, retry_s, status.message
    )
