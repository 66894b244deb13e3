"""The operator's port: health, metrics, and gateways that ask to wake a fleet.

Every replica answers; only the leader acts, so another one sends a push on (307) to the address
that the Lease names, and answers 503 while there is no leader. `/readyz` does not depend on
leading: a replica that waits is ready to take over. `/livez` fails where a tick hangs: the process
is started anew then, and another replica leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

import msgspec
from aiohttp import web
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from cardan_controller.wakes import Noted, WakeRequest

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.instants import WallTime
    from prometheus_client import CollectorRegistry

    from cardan_controller.wakes import Wakes

# A wake is some hundred bytes.
MAX_BODY_BYTES: Final = 4096
_decode = msgspec.json.Decoder(WakeRequest).decode


class Standing(Protocol):
    """What the port has to know of this replica."""

    def leads(self) -> bool:
        """Does it act?"""

    def leader_url(self) -> str:
        """Where the leader listens; empty while there is none."""

    def ready(self) -> bool:
        """Can it act, or take over?"""

    def hangs(self) -> str:
        """Why it gets on with nothing though it leads; empty if it does."""


class Port:
    """Request handlers."""

    def __init__(
        self,
        standing: Standing,
        wakes: Wakes,
        registry: CollectorRegistry,
        clock: Callable[[], WallTime],
    ) -> None:
        self._standing = standing
        self._wakes = wakes
        self._registry = registry
        self._clock = clock

    def application(self) -> web.Application:
        """What to serve."""
        app = web.Application(client_max_size=MAX_BODY_BYTES)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_post("/v1/wake", self._wake)
        return app

    async def _livez(self, request: web.Request) -> web.Response:
        del request
        trouble = self._standing.hangs()
        if trouble:
            return web.Response(status=503, text=f"{trouble}\n")
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.Response:
        del request
        if self._standing.ready():
            return web.Response(text="ready\n")
        return web.Response(status=503, text="not ready\n")

    async def _metrics(self, request: web.Request) -> web.Response:
        del request
        page = generate_latest(self._registry)
        return web.Response(body=page, headers={"content-type": CONTENT_TYPE_LATEST})

    async def _wake(self, request: web.Request) -> web.Response:
        if not self._standing.leads():
            url = self._standing.leader_url()
            if not url:
                return web.Response(status=503, text="no replica leads\n")
            return web.Response(status=307, headers={"location": f"{url}/v1/wake"})
        try:
            wanted = _decode(await request.read())
        except msgspec.DecodeError as error:
            return web.Response(status=400, text=f"{error}\n")
        if self._wakes.note(wanted, self._clock(), request.remote or "") is Noted.DROPPED:
            return web.Response(status=429, text="no fleet of that model, and too many of those\n")
        return web.Response(status=202, text="noted\n")
