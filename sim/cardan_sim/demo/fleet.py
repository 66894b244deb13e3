"""The demo's fleet: engines, and a gateway in front of them."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Final, Self

import aiohttp

from cardan_sim.demo.children import Child, ChildError, start_child

if TYPE_CHECKING:
    from types import TracebackType

    from cardan_sim.demo.setting import Setting

# Eight interpreters start on two cores in about five seconds; a machine may be slower.
_START_TIMEOUT_S: Final = 60.0
_POLL_S: Final = 0.05


class Fleet:
    """Engines and a gateway as child processes.

    `start` it, then use it as a context manager, which ends every child.
    """

    def __init__(self, setting: Setting, policy: str, listen: str) -> None:
        """`listen` is the gateway's HOST:PORT; engines listen where the kernel chooses."""
        self.gateway_url = ""
        self.engines: dict[str, str] = {}
        self._setting = setting
        self._policy = policy
        self._listen = listen
        self._children: list[Child] = []

    async def start(self) -> None:
        """Start everything and wait until the gateway is ready. Raises ChildError.

        When that fails or is cancelled, what had started is ended.
        """
        try:
            await self._start()
        except BaseException:
            await self._stop()
            raise

    @property
    def size(self) -> int:
        """How many processes it has."""
        return len(self._children)

    async def __aenter__(self) -> Self:
        """A started fleet."""
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End every child."""
        await self._stop()

    async def watch(self) -> None:
        """Wait until a child ends by itself, which none should; raises ChildError then."""
        watching = [asyncio.create_task(child.ended()) for child in self._children]
        try:
            await asyncio.gather(*watching)
        finally:
            for task in watching:
                task.cancel()

    async def _start(self) -> None:
        names = [f"engine-{number}" for number in range(1, self._setting.engines + 1)]
        engines = [await self._spawn(name, self._engine_arguments()) for name in names]
        urls = [await engine.url(_START_TIMEOUT_S) for engine in engines]
        self.engines = dict(zip(names, urls, strict=True))
        endpoints = [{"name": name, "url": url} for name, url in self.engines.items()]
        gateway = await self._spawn("gateway", self._gateway_arguments(endpoints))
        self.gateway_url = await gateway.url(_START_TIMEOUT_S)
        await self._until_ready()

    async def _spawn(self, name: str, arguments: list[str]) -> Child:
        """Start a child. A start is brought to its end also when we are cancelled meanwhile.

        Its process may exist already, and must be among those that are ended.
        """
        starting = asyncio.create_task(start_child(name, arguments))
        try:
            await asyncio.shield(starting)
        finally:
            self._children.append(await starting)
        return starting.result()

    def _engine_arguments(self) -> list[str]:
        setting = self._setting
        return [
            "engine",
            "--listen=127.0.0.1:0",
            f"--engine={setting.engine}",
            f"--model={setting.model}",
            f"--gpu={setting.gpu}",
        ]

    def _gateway_arguments(self, endpoints: list[dict[str, str]]) -> list[str]:
        """Endpoints go by names, which make routing the same on whatever ports they got."""
        return [
            "router",
            f"--set=endpoints={json.dumps(endpoints)}",
            f"--listen={self._listen}",
            f"--policy={self._policy}",
            f"--slo-ttft-ms={1000 * self._setting.slo_ttft_s:g}",
            "--access-log=off",
        ]

    async def _until_ready(self) -> None:
        """Wait until the gateway says that it can serve."""
        async with aiohttp.ClientSession() as session:
            try:
                async with asyncio.timeout(_START_TIMEOUT_S):
                    ready = f"{self.gateway_url}/readyz"
                    while not await _answers(session, ready):  # noqa: ASYNC110 - not our process
                        await asyncio.sleep(_POLL_S)
            except TimeoutError as error:
                raise ChildError("the gateway does not become ready") from error

    async def _stop(self) -> None:
        """The gateway first, so that it sees no engine go."""
        try:
            for child in reversed(self._children[self._setting.engines :]):
                await child.stop()
            await asyncio.gather(*(child.stop() for child in self._children))
        finally:
            for child in self._children:
                child.kill()


async def _answers(session: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with session.get(url) as response:
            return response.status == 200
    except aiohttp.ClientError:
        return False
