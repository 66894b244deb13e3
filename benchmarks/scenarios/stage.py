"""The stage of a scenario: fake engines, a fresh gateway in front of them, and clients."""

from __future__ import annotations

import asyncio
import contextlib
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from benchmarks import wire
from benchmarks.fake_engine import Connection, FakeEngine, Request, complete
from benchmarks.processes import Gateway

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from benchmarks.candidates import Candidate

MB = 1_000_000
READY_S = 30.0
POLL_S = 0.02


class Finding(msgspec.Struct, frozen=True):
    """What a scenario saw: whether it is good enough, and the figure."""

    passed: bool
    figure: str


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario by name, with what is asked of a gateway in words."""

    name: str
    wanted: str
    play: Callable[[Candidate], Awaitable[Finding]]


class Stage:
    """A running gateway with its engines."""

    def __init__(self, gateway: Gateway, engines: list[FakeEngine]) -> None:
        """Take what was started."""
        self.gateway = gateway
        self.engines = engines
        self._prompts = 0

    @property
    def port(self) -> int:
        """Where the gateway listens."""
        return self.gateway.port

    def script(self, script: Callable[[Connection, Request], None]) -> None:
        """What all engines do from now on."""
        for engine in self.engines:
            engine.script = script
            engine.requests.clear()

    def tries(self) -> int:
        """Completions the engines were asked for since the last change of script."""
        return sum(len(engine.posts) for engine in self.engines)

    async def ask(self, prompt: str | None = None, deadline_s: float = 30.0) -> wire.Answer:
        """One chat completion; with a prompt never seen before unless one is given."""
        self._prompts += 1
        text = prompt or f"{self._prompts} " * 400
        return await wire.ask(self.port, wire.post(wire.chat(text)), deadline_s)


@contextlib.asynccontextmanager
async def stage(
    candidate: Candidate,
    script: Callable[[Connection, Request], None] = complete,
    engines: int = 4,
) -> AsyncIterator[Stage]:
    """A gateway in front of engines that answer, which then turn to `script`."""
    actors = [FakeEngine(complete) for _ in range(engines)]
    for actor in actors:
        await actor.start()
    gateway = Gateway(candidate, [actor.port for actor in actors], core=None)
    try:
        # In a thread: the engines answer the gateway's own questions meanwhile.
        await asyncio.to_thread(gateway.wait_ready, READY_S)
        played = Stage(gateway, actors)
        played.script(script)
        yield played
    finally:
        await asyncio.to_thread(gateway.stop)
        for actor in actors:
            actor.die()


async def until(happened: Callable[[], bool], deadline_s: float) -> float | None:
    """Seconds until `happened()`; None if it has not by the deadline."""
    start = time.monotonic()
    while not happened():
        if time.monotonic() - start > deadline_s:
            return None
        await asyncio.sleep(POLL_S)
    return time.monotonic() - start
