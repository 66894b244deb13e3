"""The front doors of a process: HTTP, gRPC if asked for, and a listener for the operator.

All of them stand before the same `Gateway`. They open together, follow one readiness, and close
together: a listener stays open while it drains and says that it does, which a load balancer
understands better than a refused connection.
"""

from __future__ import annotations

import asyncio
import errno
import os
from typing import TYPE_CHECKING

from cardan_router.config import parse_address
from cardan_router.http.server import HttpServer, openai_routes
from cardan_router.logs import tell
from cardan_router.sockets import ListenError, bind
from cardan_router.tls import make_context, read_pair, reload_context

if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping

    from cardan_router.admin import Admin
    from cardan_router.config import Address, Config, TlsConfig
    from cardan_router.gateway import Gateway
    from cardan_router.grpc.server import Certificates, GrpcServer
    from cardan_router.readiness import Readiness

# How soon gRPC's health service learns what /readyz says.
FOLLOW_S = 0.1
# Doors close this much later than the gateway cuts what still runs, so that clients are told what
# has happened; who reads gets it within a few steps of the loop.
LAST_WORDS_S = 0.5


class FrontDoors:
    """Everything that listens."""

    def __init__(
        self,
        gateway: Gateway,
        admin: Admin,
        readiness: Readiness,
        config: Config,
        shared: Mapping[str, Address] | None,
    ) -> None:
        self._gateway = gateway
        self._readiness = readiness
        self._config = config
        self._shared = shared or {}
        self._tls: ssl.SSLContext | None = None
        self._certificates: Certificates | None = None
        own = admin.own_routes(guarded=not config.admin, ui=config.ui.enabled)
        health = admin.health_routes()
        routes = (*openai_routes(gateway), *health, *(() if config.admin else own))
        self.http = HttpServer(gateway, routes, config.http)
        self.admin = HttpServer(gateway, (*health, *own), config.http) if config.admin else None
        self.grpc: GrpcServer | None = None
        self._grpc_stop: list[asyncio.Task[None]] = []

    @property
    def connections(self) -> int:
        """Clients connected over HTTP."""
        return self.http.connections

    async def open(self) -> None:
        """Listen everywhere; raises `ListenError` or `ConfigError` with a sentence."""
        config = self._config
        if config.tls.enabled:
            self._tls = make_context(config.tls)
        await self._listen(self.http, "listen", self._tls)
        if self.admin is not None:
            await self._listen(self.admin, "admin", None)
        if config.grpc:
            await self._open_grpc(config)

    def announce(self) -> None:
        """Say where we listen, on standard error (standard output is the access log's)."""
        scheme = "https" if self._tls else "http"
        lines = [f"listening on {scheme}://{self._where(self.http)}"]
        if self.grpc is not None:
            host = parse_address(self._config.grpc)._replace(port=self.grpc.port)
            lines.append(f"listening on grpc://{host}")
        if self.admin is not None:
            lines.append(f"metrics and status page at http://{self._where(self.admin)}/ui")
        for line in lines:
            tell(line)

    async def follow_readiness(self) -> None:
        """Tell gRPC's health watchers what `/readyz` says, for ever."""
        told = False
        while self.grpc is not None:
            ready = self._readiness.look().ready
            if ready is not told:
                await self.grpc.set_ready(ready=ready)
                told = ready
            await asyncio.sleep(FOLLOW_S)

    def reload_certificates(self, tls: TlsConfig) -> None:
        """New connections get what the files hold now. Turning TLS on or off takes a restart."""
        if self._tls is not None and tls.enabled:
            pair = read_pair(tls)  # all that may fail, before the first of the two changes
            reload_context(self._tls, tls)
            if self._certificates is not None:
                self._certificates.replace(pair)

    async def linger(self, linger_s: float, grace_s: float) -> float:
        """Serve on for `linger_s`, and until all clients have gone, for `grace_s` more at most.

        Every answer says that its connection ends. gRPC has a word for that which needs no answer
        (GOAWAY): its clients are told after `linger_s`, when nobody is sent here any more. Returns
        what is left of `grace_s`.
        """
        self.http.draining = True
        await asyncio.sleep(linger_s)
        loop = asyncio.get_running_loop()
        until = loop.time() + grace_s
        emptied = loop.create_task(self.http.emptied(linger_s))
        await asyncio.wait({emptied, *self._stop_grpc(grace_s)}, timeout=grace_s)
        emptied.cancel()
        return max(0.0, until - loop.time())

    async def close(self, grace_s: float) -> None:
        """Let what runs finish within `grace_s`, then close all listeners."""
        stops = self._stop_grpc(grace_s)
        await asyncio.gather(self.http.drain(grace_s + LAST_WORDS_S), *stops)
        if self.admin is not None:
            await self.admin.close()

    def _stop_grpc(self, grace_s: float) -> list[asyncio.Task[None]]:
        """Begin to stop gRPC, if that has not begun; what is to be waited for then."""
        if self.grpc is not None:
            stop = self.grpc.stop(grace_s + LAST_WORDS_S)
            self._grpc_stop = [asyncio.get_running_loop().create_task(stop)]
            self.grpc = None
        return self._grpc_stop

    async def _listen(self, server: HttpServer, field: str, tls: ssl.SSLContext | None) -> None:
        address = self._address(field)
        try:
            await server.start(
                address.host, address.port, tls=tls, reuse_port=field in self._shared
            )
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                raise ListenError(f"{address} is taken by another process") from error
            raise ListenError(f"cannot listen on {address}: {error.strerror}") from error

    async def _open_grpc(self, config: Config) -> None:
        # gRPC's C core writes lines of its own to standard error; what matters, we say ourselves.
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")
        from cardan_router.grpc.inference import InferenceService
        from cardan_router.grpc.routing import RoutingService
        from cardan_router.grpc.server import Certificates, GrpcServer

        address = self._address("grpc")
        if "grpc" not in self._shared:
            bind(address).close()  # a taken port is told as that of HTTP is
        if config.tls.enabled:
            self._certificates = Certificates(read_pair(config.tls))
        server = GrpcServer(
            InferenceService(self._gateway),
            RoutingService(self._gateway, config.grpc_limits),
            limits=config.grpc_limits,
            max_message_bytes=config.limits.max_body_bytes,
            reuse_port="grpc" in self._shared,
        )
        await server.start(str(address), self._certificates)
        self.grpc = server

    def _address(self, field: str) -> Address:
        shared = self._shared.get(field)
        return shared if shared is not None else parse_address(getattr(self._config, field))

    @staticmethod
    def _where(server: HttpServer) -> str:
        host, port = server.addresses[0]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
