"""Asks answered by reading the gateways' own pages: what is there without a Prometheus."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

import httpx

from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.history import History

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan.instants import WallTime

AT_ONCE: Final = 8
# A page of 1,000 endpoints is 3 MB.
MAX_PAGE_BYTES: Final = 64 * 1024 * 1024


class Gateway(NamedTuple):
    """A gateway's page and where its pod lives."""

    url: str
    namespace: str


class GatewaySource:
    """Reads every gateway that `gateways` names, each tick."""

    def __init__(
        self,
        gateways: Callable[[], Sequence[Gateway]],
        *,
        short_s: float,
        long_s: float,
        stale_after_s: float = 45.0,
        timeout_s: float = 5.0,
        client: httpx.AsyncClient | None = None,
    ) -> None:
        self._gateways = gateways
        self._history = History(short_s, long_s, stale_after_s)
        self._client = client or httpx.AsyncClient(timeout=timeout_s)
        self._room = asyncio.Semaphore(AT_ONCE)

    async def close(self) -> None:
        """See `MetricsSource`."""
        await self._client.aclose()

    async def read(self, now: WallTime) -> Answers:
        """See `MetricsSource`. A gateway that does not answer keeps its last page, ageing."""
        gateways = self._gateways()
        self._history.keep(gateway.url for gateway in gateways)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self._take(gateway, now)) for gateway in gateways]
        failures = [words for task in tasks if (words := task.result())]
        if failures and len(failures) == len(gateways):
            return Answers(now, dict.fromkeys(ASKS, Answer({}, failures[0])))
        return self._history.answers(now)

    async def _take(self, gateway: Gateway, now: WallTime) -> str:
        """Read one page; what went wrong, or nothing."""
        async with self._room:
            try:
                reply = await self._client.get(gateway.url)
            except httpx.HTTPError as error:
                return f"{gateway.url}: {str(error) or type(error).__name__}"
        if reply.status_code != httpx.codes.OK:
            return f"{gateway.url}: status {reply.status_code}"
        if len(reply.content) > MAX_PAGE_BYTES:
            return f"{gateway.url}: a page of {len(reply.content)} bytes"
        self._history.took(gateway.url, gateway.namespace, now, reply.content)
        return ""
