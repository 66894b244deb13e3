"""The port itself: health, reflection, limits, TLS, graceful stop."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from cardan.errors import ConfigError
from cardan_router.grpc.inference import InferenceService
from cardan_router.grpc.limits import GrpcLimits
from cardan_router.grpc.routing import RoutingService
from cardan_router.grpc.server import Certificates, GrpcServer
from cardan_router.pb.cardan.v1 import inference_pb2, inference_pb2_grpc
from google.protobuf import descriptor_pool, json_format, message_factory
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)

from tests.fakes.waiting import DEADLINE_S, soon, until
from tests.router.grpc.door import MODEL, chat, door
from tests.router.grpc.engine import engine

if TYPE_CHECKING:
    from pathlib import Path

    from cardan_router.gateway import Gateway

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
NAMES = ("", "cardan.v1.Inference", "cardan.v1.Routing")


def server_of(gateway: Gateway, limits: GrpcLimits | None = None) -> GrpcServer:
    limits = limits or GrpcLimits()
    return GrpcServer(
        InferenceService(gateway),
        RoutingService(gateway, limits),
        limits=limits,
        max_message_bytes=1_000_000,
    )


async def test_health_follows_readiness_and_its_watchers_are_told() -> None:
    async with engine() as one, door([one.url]) as gate:
        health = health_pb2_grpc.HealthStub(gate.channel)
        for name in NAMES:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == SERVING
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        await gate.server.set_ready(ready=False)
        assert (await watch.read()).status == NOT_SERVING
        for name in NAMES:
            answer = await health.Check(health_pb2.HealthCheckRequest(service=name))
            assert answer.status == NOT_SERVING
        watch.cancel()


async def test_a_watcher_does_not_hold_up_a_stop() -> None:
    async with engine() as one, door([one.url]) as gate:
        health = health_pb2_grpc.HealthStub(gate.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service="cardan.v1.Inference"))
        assert (await watch.read()).status == SERVING
        await soon(gate.server.stop(600.0))
        assert (await watch.read()).status == NOT_SERVING
        assert await watch.code() is grpc.StatusCode.OK


async def test_an_unknown_service_is_not_found_and_may_be_watched() -> None:
    async with engine() as one, door([one.url]) as gate:
        health = health_pb2_grpc.HealthStub(gate.channel)
        request = health_pb2.HealthCheckRequest(service="other")
        with pytest.raises(aio.AioRpcError) as raised:
            await health.Check(request)
        assert raised.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(request)
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()


async def test_reflection_lists_the_services() -> None:
    async with engine() as one, door([one.url]) as gate:
        stub = reflection_pb2_grpc.ServerReflectionStub(gate.channel)
        call = stub.ServerReflectionInfo()
        await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
        await call.done_writing()
        listed = (await call.read()).list_services_response.service
        assert {service.name for service in listed} == {
            "cardan.v1.Inference",
            "cardan.v1.Routing",
            "grpc.health.v1.Health",
            "grpc.reflection.v1alpha.ServerReflection",
        }


async def test_a_client_without_the_protos_calls_by_reflection() -> None:
    async with engine() as one, door([one.url]) as gate:
        text = await asyncio.to_thread(_call_by_reflection, gate.target)
        assert text == "w0 w1 w2 "
        assert one.asks[0].body["messages"] == [{"role": "user", "content": "hello"}]


def _call_by_reflection(target: str) -> str:
    """What grpcurl does: ask the server for its messages, fill them from JSON, call."""
    with grpc.insecure_channel(target) as channel:
        pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
        method = pool.FindServiceByName("cardan.v1.Inference").FindMethodByName("Generate")
        make = message_factory.GetMessageClass
        request = json_format.Parse(
            '{"model":"m","chat":{"messages":[{"role":"user","content":"hello"}]}}',
            make(method.input_type)(),
        )
        call = channel.unary_stream(
            "/cardan.v1.Inference/Generate",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=make(method.output_type).FromString,
        )
        return "".join(c.text for reply in call(request, timeout=DEADLINE_S) for c in reply.choices)


async def test_stopping_lets_running_streams_end_and_takes_nothing_new() -> None:
    async with engine() as one, door([one.url]) as gate:
        one.go_on.clear()
        call = gate.inference.Generate(chat())
        await call.read()
        health = health_pb2_grpc.HealthStub(gate.channel)
        watch = health.Watch(health_pb2.HealthCheckRequest(service=""))
        assert (await watch.read()).status == SERVING
        stopping = asyncio.create_task(gate.server.stop(20.0))
        assert (await watch.read()).status == NOT_SERVING
        late = aio.insecure_channel(gate.target)
        with pytest.raises(aio.AioRpcError) as raised:
            await inference_pb2_grpc.InferenceStub(late).ListModels(
                inference_pb2.ListModelsRequest(), timeout=DEADLINE_S
            )
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        await late.close(None)
        one.go_on.set()
        assert await _last(call) == 3
        await stopping


async def _last(call: aio.UnaryStreamCall[Any, Any]) -> int:
    """Read a stream to its end; the tokens that its last message counts."""
    count = 0
    while isinstance(piece := await call.read(), inference_pb2.GenerateResponse):
        count = piece.usage.completion_tokens
    return count


async def test_stopping_without_grace_cancels_and_stops_the_engines() -> None:
    async with engine() as one, door([one.url]) as gate:
        one.go_on.clear()
        call = gate.inference.Generate(chat())
        await call.read()
        await gate.server.stop(0.0)
        await until(lambda: one.running == 0)
        with pytest.raises(aio.AioRpcError):
            await _last(call)


async def test_a_stop_that_is_cut_short_leaves_no_service_running() -> None:
    async with engine() as one, door([one.url]) as gate:
        one.go_on.clear()
        call = gate.inference.Generate(chat())
        await call.read()
        stopping = asyncio.create_task(gate.server.stop(20.0))
        await asyncio.sleep(0)
        stopping.cancel()
        with pytest.raises(asyncio.CancelledError):
            await stopping
        assert gate.gateway.sweepers == []
        one.go_on.set()
        assert await _last(call) == 3


async def test_a_taken_port_is_said_in_one_sentence() -> None:
    async with engine() as one, door([one.url]) as gate:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            address = f"127.0.0.1:{taken.getsockname()[1]}"
            with pytest.raises(ConfigError, match=f"cannot listen on {address}"):
                await server_of(gate.gateway).start(address)


async def test_two_servers_share_a_port_when_told_to() -> None:
    async with engine() as one, door([one.url]) as gate:
        servers = [
            GrpcServer(
                InferenceService(gate.gateway),
                RoutingService(gate.gateway, GrpcLimits()),
                limits=GrpcLimits(),
                max_message_bytes=1_000_000,
                reuse_port=True,
            )
            for _ in range(2)
        ]
        port = await servers[0].start("127.0.0.1:0")
        assert await servers[1].start(f"127.0.0.1:{port}") == port
        for server in servers:
            await server.stop(0.0)


async def test_no_more_calls_than_the_limit_run_on_one_connection() -> None:
    limits = GrpcLimits(max_streams_per_connection=2)
    async with engine() as one, door([one.url], grpc_limits=limits) as gate:
        await gate.inference.ListModels(inference_pb2.ListModelsRequest())  # settings have come
        one.go_on.clear()
        calls = [gate.inference.GenerateUnary(chat()) for _ in range(5)]
        await until(lambda: len(one.asks) == 2)
        one.go_on.set()
        # gRPC's server refuses a stream that comes before it has freed the one that just ended.
        ends = await asyncio.gather(*calls, return_exceptions=True)
        codes = [end.code() for end in ends if isinstance(end, aio.AioRpcError)]
        assert set(codes) <= {grpc.StatusCode.UNAVAILABLE}
        assert len(ends) - len(codes) >= 2
        assert one.most_running == 2


async def test_a_client_that_pings_too_often_is_sent_away() -> None:
    async with engine() as one, door([one.url]) as gate:
        options = (
            ("grpc.keepalive_time_ms", 100),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
        )
        one.go_on.clear()
        async with aio.insecure_channel(gate.target, options=options) as channel:
            call = inference_pb2_grpc.InferenceStub(channel).GenerateUnary(chat())
            with pytest.raises(aio.AioRpcError) as raised:
                await call
        assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
        assert "Too many pings" in str(raised.value.details())


def _pair(folder: Path, name: str) -> tuple[bytes, bytes]:
    key, cert = folder / f"{name}.key", folder / f"{name}.crt"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    command += ["-nodes", "-days", "2", "-subj", f"/CN={name}", "-addext"]
    command += [f"subjectAltName=DNS:{name}", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(command, check=True, capture_output=True)
    return key.read_bytes(), cert.read_bytes()


async def _greet(target: str, name: str, root: bytes) -> str:
    options = (("grpc.ssl_target_name_override", name),)
    credentials = grpc.ssl_channel_credentials(root)
    async with aio.secure_channel(target, credentials, options=options) as channel:
        stub = inference_pb2_grpc.InferenceStub(channel)
        answer = await stub.ListModels(inference_pb2.ListModelsRequest(), timeout=DEADLINE_S)
        return answer.models[0].id


async def test_tls_serves_a_new_certificate_to_new_connections(tmp_path: Path) -> None:
    old, new = _pair(tmp_path, "old.test"), _pair(tmp_path, "new.test")
    async with engine() as one, door([one.url]) as gate:
        server = server_of(gate.gateway)
        certificates = Certificates(old)
        target = f"127.0.0.1:{await server.start('127.0.0.1:0', certificates)}"
        assert await _greet(target, "old.test", old[1]) == MODEL
        certificates.replace(new)
        assert await _greet(target, "new.test", new[1]) == MODEL
        assert await _greet(target, "new.test", new[1]) == MODEL
        with pytest.raises(aio.AioRpcError):
            await _greet(target, "old.test", old[1])
        await server.stop(0.0)
