"""`grpc.health.v1`: may traffic be sent here?

The library's own servicer keeps its watchers until they leave, and a graceful stop waits for every
call: one load balancer that watches would hold up each shutdown for the whole grace. Ours tells
the watchers that it stops, and ends their calls.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan_router.grpc.boundary import Context

_Answer = health_pb2.HealthCheckResponse


class HealthService(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # it has no stubs
    """Answers for a fixed set of services that are ready or not together."""

    def __init__(self, services: Iterable[str]) -> None:
        self._services = frozenset(services)
        self._ready = False
        self._stopped = False
        self._changed = asyncio.Event()

    def set_ready(self, *, ready: bool) -> None:
        """Tell all watchers."""
        if ready != self._ready and not self._stopped:
            self._ready = ready
            self._tell()

    def stop(self) -> None:
        """Not ready, for good; every watcher is told and sent away."""
        self._ready = False
        self._stopped = True
        self._tell()

    async def Check(  # noqa: N802 - the proto's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """See grpc.health.v1."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "no such service")
        return self._answer(request.service)

    async def Watch(  # noqa: N802 - the proto's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> None:
        """See grpc.health.v1."""
        told = None
        while True:
            changed, stopped = self._changed, self._stopped
            answer = self._answer(request.service)
            if answer != told:
                await context.write(answer)
                told = answer
            if stopped:
                return
            await changed.wait()

    def _answer(self, service: str) -> health_pb2.HealthCheckResponse:
        if service not in self._services:
            return _Answer(status=_Answer.SERVICE_UNKNOWN)
        return _Answer(status=_Answer.SERVING if self._ready else _Answer.NOT_SERVING)

    def _tell(self) -> None:
        """Wake whoever watches; who comes later waits for the next change."""
        self._changed.set()
        self._changed = asyncio.Event()
