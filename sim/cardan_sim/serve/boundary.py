"""The HTTP boundary: one request in, exactly one answer, error or cut connection out.

Here and nowhere else are the key checked, routes found, faults inflicted, exceptions turned into
answers, and requests counted.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cardan_sim.serve import faults
from cardan_sim.serve.context import Call
from cardan_sim.serve.errors import ApiError, MethodError, NotFoundError

if TYPE_CHECKING:
    from aiohttp import web

    from cardan_sim.serve.context import Context, Handler

_LOG: Final = logging.getLogger("cardan_sim.serve")
_BUG: Final = "Internal server error"


@dataclass(frozen=True, slots=True)
class Route:
    """A handler, and how it is treated.

    work: it is recorded and struck by the faults. kind: the error shape ("messages" or "").
    open: no key needed although the make guards the path.
    """

    handler: Handler
    work: bool = False
    kind: str = ""
    open: bool = False


# path -> method -> route; a path that ends with * takes any tail without a slash.
Routes = dict[str, dict[str, Route]]


class Boundary:
    """Answers every request of one server."""

    def __init__(self, context: Context, routes: Routes) -> None:
        """`routes` as the make has them."""
        self._context = context
        self._routes = routes
        # Seeded: which requests an error rate strikes is the same in every run.
        self._rng = random.Random(context.settings.seed)

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Never raises; a client that leaves cancels it."""
        context = self._context
        call = Call(context, request, None)
        key = (request.path, request.method)
        context.requests[key] += 1
        context.active[key] += 1
        context.quiet.clear()
        response: web.StreamResponse | None = None
        try:
            response = await self._route(call)
        except ApiError as error:
            response = self._refuse(call, error)
        except ConnectionError:
            response = call.raw()  # to nobody: the connection is gone, cut by a fault or its client
        except Exception as error:  # noqa: BLE001 - the request boundary: a bug is a 500, not a hang
            _LOG.exception("%s %s", request.method, request.path, exc_info=error)
            response = self._refuse(
                call, ApiError(500, "Internal server error", "InternalServerError")
            )
        finally:
            context.active[key] -= 1
            if not context.active.total():
                context.quiet.set()
            if response is not None:
                context.responses[*key, response.status] += 1
        return response

    async def _route(self, call: Call) -> web.StreamResponse:
        self._check_key(call)
        found = self._find(call)
        if found is None:
            redirect = self._redirect(call)
            if redirect is not None:
                return redirect
            raise NotFoundError
        methods, tail = found
        route = methods.get(call.request.method)
        if route is None:
            raise MethodError(", ".join(methods))
        if route.work:
            call = self._recorded(call)
        call.tail, call.kind = tail, route.kind
        if not route.work:
            return await route.handler(self._context, call)
        return await self._work(route, call)

    async def _work(self, route: Route, call: Call) -> web.StreamResponse:
        """A request for work: faults first, and its record gets the status."""
        try:
            struck = await self._strike(call)
            response = struck or await route.handler(self._context, call)
        except ApiError as error:
            response = self._refuse(call, error)
        if call.record is not None:
            call.record.status = response.status
            if response.status >= 400:
                call.record.outcome = call.record.outcome or "error"
        return response

    def _recorded(self, call: Call) -> Call:
        request = call.request
        peer = request.transport.get_extra_info("peername") if request.transport else None
        headers = [(name.lower(), value) for name, value in request.headers.items()]
        port = peer[1] if peer else 0
        record = self._context.records.open(request.method, request.raw_path, port, headers)
        return Call(self._context, request, record)

    async def _strike(self, call: Call) -> web.StreamResponse | None:
        """Inflict the faults; an answer if one of them is the answer."""
        fault = self._context.faults
        if fault.latency_s:
            await asyncio.sleep(fault.latency_s)
        if fault.hang:
            await call.raw_body()
            await asyncio.get_running_loop().create_future()
        if fault.close_before_head or fault.reset_before_head or fault.broken_head:
            await call.raw_body()
            self._cut(call, fault)
        if fault.error_rate and self._rng.random() < fault.error_rate:
            await call.raw_body()
            raise ApiError(fault.error_status, "a fault was asked for", "InternalServerError")
        return None

    def _cut(self, call: Call, fault: faults.Faults) -> None:
        if fault.reset_before_head:
            faults.reset(call.request.transport)
        else:
            faults.close(call.request.transport, faults.BROKEN_HEAD if fault.broken_head else b"")
        if call.record is not None:
            call.record.outcome = "error"
        raise faults.CutError

    def _check_key(self, call: Call) -> None:
        settings = self._context.settings
        path = call.path
        if settings.api_key is None or call.request.method == "OPTIONS":
            return
        if path.startswith(("/faults", "/sim/")) or not self._context.make.needs_key(path):
            return
        scheme, _, key = call.headers.get("authorization", "").partition(" ")
        given = key.encode() if scheme.lower() == "bearer" else b""
        if not hmac.compare_digest(given, settings.api_key.encode()):
            raise ApiError(401, "Unauthorized")

    def _find(self, call: Call) -> tuple[dict[str, Route], str] | None:
        methods = self._routes.get(call.path)
        if methods is not None:
            return methods, ""
        folder, _, tail = call.path.rpartition("/")
        methods = self._routes.get(folder + "/*")
        return (methods, tail) if methods is not None and tail else None

    def _redirect(self, call: Call) -> web.StreamResponse | None:
        """A trailing slash too many is redirected, with the client's own idea of our name."""
        bare = call.path.rstrip("/")
        if bare == call.path or bare not in self._routes:
            return None
        host = call.headers.get("host", "localhost")
        return call.raw(status=307, headers={"Location": f"http://{host}{bare}"})

    def _refuse(self, call: Call, error: ApiError) -> web.StreamResponse:
        error = self._context.make.judge(error)
        content_type, body = self._context.make.error_body(error, call.kind)
        extra = {"Allow": error.allowed} if isinstance(error, MethodError) else {}
        guarded = error.status == 401 or content_type.startswith("text/plain")
        return call.raw(body, content_type, error.status, guarded=guarded, headers=extra)
