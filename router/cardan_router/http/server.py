"""A listener: its routes, its connections, its end."""

from __future__ import annotations

import asyncio
import logging
import urllib.parse
from typing import TYPE_CHECKING

from cardan.errors import RequestError

from cardan_router.clock import wall_time
from cardan_router.forwarded import OPENAI_ROUTES, Forwarded
from cardan_router.gateway import ANYBODY
from cardan_router.http.connection import HttpConnection
from cardan_router.http.routes import (
    Local,
    Request,
    Response,
    RouteTable,
    allowed,
    allows,
)
from cardan_router.http.writing import HttpDate
from cardan_router.limits import HttpConfig

if TYPE_CHECKING:
    import ssl
    from collections.abc import Iterable

    from cardan.instants import Monotonic

    from cardan_router.calls import Body
    from cardan_router.gateway import Caller, Gateway
    from cardan_router.http.routes import Route
    from cardan_router.wire.heads import RequestHead

log = logging.getLogger(__name__)

# Connections that may wait to be accepted: a burst of clients while the loop is busy for 100 ms.
BACKLOG = 4096
# How often a listener that is being left looks who is still there.
EMPTIED_S = 0.2
# Connections wait for their clients in seconds, so once a second is enough, and 5,000 cost 1 ms.
CHECK_S = 1.0


class HttpServer:
    """Serves HTTP/1.1 on one address.

    `now` is the gateway's clock at the last sweep, `date_line` the `Date` header of that moment.
    """

    def __init__(
        self, gateway: Gateway, routes: Iterable[Route], config: HttpConfig | None = None
    ) -> None:
        self.gateway = gateway
        self.routes = RouteTable(routes)
        self.config = config or HttpConfig()
        self.now: Monotonic = gateway.clock()
        self.draining = False
        self._connections: set[HttpConnection] = set()
        self._server: asyncio.Server | None = None
        self._date = HttpDate()
        self.date_line = self._date.line(wall_time())
        self._checked_at = self.now

    @property
    def connections(self) -> int:
        """How many clients are connected."""
        return len(self._connections)

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """Host and port of each socket."""
        sockets = () if self._server is None else self._server.sockets
        return [sock.getsockname()[:2] for sock in sockets]

    async def start(
        self,
        host: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        reuse_port: bool = False,
    ) -> None:
        """Listen; port 0 lets the kernel choose. Raises `OSError` if the address is taken."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: HttpConnection(self),
            host,
            port,
            ssl=tls,
            backlog=BACKLOG,
            reuse_port=reuse_port or None,
        )
        self.gateway.sweepers.append(self.sweep)

    def welcome(self, connection: HttpConnection) -> bool:
        """A client has connected; False if there are too many."""
        self._connections.add(connection)
        return len(self._connections) <= self.gateway.limits.max_connections

    def farewell(self, connection: HttpConnection) -> None:
        """A client is gone."""
        self._connections.discard(connection)

    def sweep(self, now: Monotonic) -> None:
        """Look at the deadlines of all connections."""
        self.now = now
        self.date_line = self._date.line(wall_time())
        if now - self._checked_at >= CHECK_S:
            self._checked_at = now
            for connection in list(self._connections):
                try:
                    connection.check(now)
                except Exception:  # one connection fails, and the others keep their deadlines
                    log.exception("a client's connection failed")
                    connection.abort()

    def resolve(self, head: RequestHead) -> tuple[Route | None, Caller]:
        """The route of a request and who asks, by the head alone.

        Raises `RequestError` for what must be refused before its body is read.
        """
        gateway, method = self.gateway, head.method
        route = self.routes.find(head.path)
        caller: Caller = ANYBODY
        if type(route) is Forwarded and method == "POST":
            if gateway.keys is not None:
                caller = gateway.identify(head.headers)
        elif route is None and method != "OPTIONS":
            raise RequestError(f"there is nothing at {head.path[:200]}", code="unknown_url")
        elif route is not None and not allows(route, method):
            raise RequestError("this method has no meaning here", code="method_not_allowed")
        elif isinstance(route, Local) and route.needs_key:
            caller = gateway.identify(head.headers)
        if head.length > gateway.limits.max_body_bytes:
            limit = gateway.limits.max_body_bytes
            raise RequestError(f"the body is over {limit} bytes", code="request_too_large")
        if "expect" in head.headers or "content-encoding" in head.headers:
            _check_headers(head)
        return route, caller

    def respond(self, head: RequestHead, route: Route | None, body: Body) -> Response:
        """The answer to what is not forwarded. Raises `RequestError`."""
        if isinstance(route, Local) and head.method != "OPTIONS":
            rest = head.path[len(route.path) :]
            request = Request(head.method, head.path, rest, head.query, head.headers, bytes(body))
            return route.answer(request)
        return self.options(head, route)

    def cors_lines(self, origin: str) -> str:
        """What a browser must be told so that a page of `origin` may read the answer."""
        origins = self.config.cors_origins
        if origin not in origins and "*" not in origins:
            return ""
        return (
            f"access-control-allow-origin: {origin}\r\nvary: origin\r\n"
            "access-control-expose-headers: x-request-id, x-cardan-explain, retry-after\r\n"
        )

    def options(self, head: RequestHead, route: Route | None) -> Response:
        """What may be done here; the answer to a browser's preflight too."""
        methods = "GET, HEAD, OPTIONS, POST" if route is None else allowed(route)
        headers = [("allow", methods)]
        if self.cors_lines(head.headers.get("origin", "")):
            wanted = head.headers.get("access-control-request-headers", "authorization")
            headers += [
                ("access-control-allow-methods", methods),
                ("access-control-allow-headers", wanted),
                ("access-control-max-age", "86400"),
            ]
        return Response(204, headers=tuple(headers))

    async def emptied(self, idle_s: float) -> None:
        """Wait until no client is connected; those that ask nothing for `idle_s` are let go.

        HTTP/1.1 cannot tell a client between two requests that its connection will be closed, so
        one that is in use is not: its next answer says it. One that was idle for longer than
        clients keep connections is of no use to anybody.
        """
        while self._connections:
            for connection in list(self._connections):
                connection.close_if_idle(idle_s)
            await asyncio.sleep(EMPTIED_S)

    async def drain(self, grace_s: float) -> None:
        """Let running answers finish within `grace_s`, then close everything.

        Until then the listener stays open and says 503, which a load balancer understands better
        than a refused connection.
        """
        self.draining = True
        for connection in list(self._connections):
            connection.close_if_idle()
        until = self.gateway.clock() + grace_s
        # A write buffer tells nobody when it is empty.
        while self._owes() and self.gateway.clock() < until:  # noqa: ASYNC110
            await asyncio.sleep(0.02)
        await self.close()

    def _owes(self) -> bool:
        return any(connection.is_owing for connection in self._connections)

    async def close(self) -> None:
        """Close the listener and every connection."""
        if self._server is not None:
            self._server.close()
        for connection in list(self._connections):
            connection.abort()
        if self.sweep in self.gateway.sweepers:
            self.gateway.sweepers.remove(self.sweep)
        await asyncio.sleep(0)  # transports tell their protocols in the next step


def openai_routes(gateway: Gateway) -> tuple[Route, ...]:
    """What every gateway answers: the engines' API, and the models of the fleet."""

    def models(_: Request) -> Response:
        return Response(200, gateway.models_body())

    def model(request: Request) -> Response:
        return _model(gateway, request)

    return (
        *OPENAI_ROUTES,
        Local("/v1/models", models, needs_key=True),
        Local("/v1/models/", model, is_prefix=True, needs_key=True),
    )


def _model(gateway: Gateway, request: Request) -> Response:
    name = urllib.parse.unquote(request.rest)
    body = gateway.model_body(name)
    if body is None:
        raise RequestError(
            f"the model {name[:200]!r} does not exist", param="model", code="model_not_found"
        )
    return Response(200, body)


def _check_headers(head: RequestHead) -> None:
    """Raises `RequestError` for what the body's headers ask and nobody here does."""
    if head.headers.get("content-encoding", "identity").lower() != "identity":
        raise RequestError("send the body uncompressed", code="unsupported_encoding")
    if head.headers.get("expect", "100-continue").lower() != "100-continue":
        raise RequestError("only 100-continue can be expected", code="expectation_failed")
