"""The gRPC port: services, health, reflection, limits, TLS, graceful stop.

`GrpcServer` is started by the process's composition root and stopped by it. Its health (service
names and the empty name of the whole server) follows the gateway's readiness: who watches it sees a
drain at once.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import grpc
from cardan.errors import ConfigError
from grpc import aio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from cardan_router.grpc.health import HealthService
from cardan_router.pb.cardan.v1 import (
    inference_pb2,
    inference_pb2_grpc,
    routing_pb2,
    routing_pb2_grpc,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_router.grpc.inference import InferenceService
    from cardan_router.grpc.limits import GrpcLimits
    from cardan_router.grpc.routing import RoutingService

log = logging.getLogger(__name__)

INFERENCE = inference_pb2.DESCRIPTOR.services_by_name["Inference"].full_name
HEALTH = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name
ROUTING = routing_pb2.DESCRIPTOR.services_by_name["Routing"].full_name
# Metadata may be as large as a head of the HTTP front door; gRPC's own default is 8 KiB.
MAX_METADATA_BYTES = 65_536

Pair = tuple[bytes, bytes]
"""A private key and its certificate chain, both PEM."""


class Certificates:
    """The pair new connections are served with; may be replaced at any time."""

    def __init__(self, pair: Pair) -> None:
        self._fresh: grpc.ServerCertificateConfiguration | None = None
        self._first = _configuration(pair)

    def replace(self, pair: Pair) -> None:
        """From the next connection on, serve with `pair`."""
        self._fresh = _configuration(pair)

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for a port that looks here at every handshake."""
        return grpc.dynamic_ssl_server_credentials(self._first, self._fetch)

    def _fetch(self) -> Any:  # noqa: ANN401 - None means "as before", which the stubs do not know
        fresh, self._fresh = self._fresh, None
        return fresh


class GrpcServer:
    """One listening gRPC server of this process."""

    def __init__(
        self,
        inference: InferenceService,
        routing: RoutingService,
        *,
        limits: GrpcLimits,
        max_message_bytes: int,
        reuse_port: bool = False,
    ) -> None:
        self.port = 0
        self._inference = inference
        self._routing = routing
        self._server = aio.server(options=_options(limits, max_message_bytes, reuse_port))
        self._health = HealthService(("", INFERENCE, ROUTING))
        inference_pb2_grpc.add_InferenceServicer_to_server(inference, self._server)
        routing_pb2_grpc.add_RoutingServicer_to_server(routing, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        names = (INFERENCE, ROUTING, HEALTH, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)

    async def start(self, address: str, certificates: Certificates | None = None) -> int:
        """Listen on `HOST:PORT`, not serving until `set_ready`; returns the port.

        `ConfigError` when the port is taken.
        """
        try:
            if certificates is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, certificates.credentials())
        except RuntimeError as error:
            raise ConfigError(f"grpc: cannot listen on {address}: {error}") from error
        await self._server.start()
        self._inference.start()
        self._routing.start()
        return self.port

    async def set_ready(self, *, ready: bool) -> None:
        """Tell health checks and their watchers."""
        self._health.set_ready(ready=ready)

    async def stop(self, grace_s: float) -> None:
        """Refuse new calls, let those that run end within `grace_s` seconds, cancel the rest."""
        self._health.stop()
        try:
            await self._server.stop(grace_s)
        finally:
            self._routing.stop()
            self._inference.stop()


def _configuration(pair: Pair) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration([pair])


def _options(
    limits: GrpcLimits, max_message_bytes: int, reuse_port: bool
) -> Sequence[tuple[str, Any]]:
    return (
        ("grpc.so_reuseport", int(reuse_port)),
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_send_message_length", -1),  # answers are bounded where they are gathered
        ("grpc.max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", MAX_METADATA_BYTES),
        ("grpc.max_concurrent_streams", limits.max_streams_per_connection),
        (
            "grpc.http2.min_recv_ping_interval_without_data_ms",
            round(limits.min_ping_interval_s * 1000),
        ),
        ("grpc.http2.max_ping_strikes", limits.ping_strikes),
        ("grpc.keepalive_time_ms", round(limits.keepalive_s * 1000)),
        ("grpc.keepalive_timeout_ms", round(limits.keepalive_timeout_s * 1000)),
        ("grpc.http2.max_pings_without_data", 0),  # the server's own pings need no data
        ("grpc.keepalive_permit_without_calls", 1),
    )
