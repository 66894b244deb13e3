"""The composition root of `cardan engine`: builds everything, listens, and ends on a signal.

How it ends is the make's own. vLLM: an error event and [DONE] in every stream, gone within half a
second; with --shutdown-timeout it finishes what runs, answers new work with 500, and /health says
200 all the while. SGLang: not ready at once, but new work is still served; every five seconds it
looks whether nothing is left, and only then it goes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from typing import TYPE_CHECKING, Final

from aiohttp import web

from cardan_sim.engine import Engine
from cardan_sim.serve.boundary import Boundary
from cardan_sim.serve.context import Context
from cardan_sim.serve.makes import make_of
from cardan_sim.serve.pump import Pump
from cardan_sim.serve.routes import routes_for

if TYPE_CHECKING:
    from cardan_sim.serve.settings import Settings

# vLLM with the default --shutdown-timeout 0 was gone 0.47 to 0.53 s after SIGTERM.
_VLLM_GOODBYE_S: Final = 0.4
_SGLANG_LOOKS_EVERY_S: Final = 5.0
# An SGLang whose scheduler died is silent so long, then cuts everything.
_SGLANG_SILENCE_S: Final = 5.0
_BACKLOG: Final = 2048
# aiohttp waits so long for what is open before it cuts it; 0 would wait for ever.
_CUT_S: Final = 0.01


async def serve(settings: Settings) -> None:
    """Run one server until a signal ends it; OSError if it cannot listen."""
    sock = listening(settings) if settings.spec.make == "sglang" else None
    if sock is None and settings.startup_delay_s:
        # vLLM's port refuses until the engine is ready.
        await asyncio.sleep(settings.startup_delay_s)
    server = EngineServer(settings, sock or listening(settings))
    await server.run()


def listening(settings: Settings) -> socket.socket:
    """A socket bound to the address of the settings; OSError if that is taken."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind((settings.host, settings.port))
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


class EngineServer:
    """One simulated engine on one socket."""

    def __init__(self, settings: Settings, sock: socket.socket) -> None:
        """Made inside a running loop; takes the listening socket over."""
        self.settings: Final = settings
        self.url: Final = _url(settings.host, sock.getsockname()[1])
        self._sock: Final = sock
        engine = Engine(settings.spec, settings.seed)
        self.context: Final = Context(
            settings=settings,
            engine=engine,
            pump=Pump(engine),
            make=make_of(settings),
            crash=self.crash,
            exit=_die,
        )
        boundary = Boundary(self.context, routes_for(settings))
        self._http: Final = web.Server(
            boundary.answer,
            handler_cancellation=True,
            keepalive_timeout=settings.keep_alive_s,
            tcp_keepalive=False,
            access_log=None,
        )
        self._signalled: Final = asyncio.Event()
        self._listener: asyncio.Server | None = None

    async def start(self) -> None:
        """Accept connections."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(self._http, sock=self._sock)
        self.context.ready = self.settings.spec.make == "vllm"
        if not self.context.ready:
            loop.call_later(self.settings.startup_delay_s, self._become_ready)

    async def run(self) -> None:
        """Accept connections until a signal comes, then end as the make does."""
        logging.basicConfig(level=logging.WARNING, stream=sys.stderr)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled.set)
        await self.start()
        sys.stdout.write(f"listening on {self.url}\n")
        sys.stdout.flush()
        await self._signalled.wait()
        await self.end()

    def _become_ready(self) -> None:
        self.context.ready = True

    async def end(self) -> None:
        """What a SIGTERM sets off."""
        self.context.draining = True
        if self.settings.spec.make == "sglang":
            await self._drain_sglang()
        elif self.settings.shutdown_timeout_s:
            await self._drain_vllm()
        self.context.pump.die()
        self._stop_accepting()
        await self._flush()
        await self.close()

    async def close(self) -> None:
        """Cut every connection."""
        self._stop_accepting()
        await self._http.shutdown(_CUT_S)

    async def _drain_sglang(self) -> None:
        while True:
            await asyncio.sleep(self.context.scaled(_SGLANG_LOOKS_EVERY_S))
            if self.context.pump.quiet.is_set():
                return

    async def _drain_vllm(self) -> None:
        """New work is refused by the engine; what it has goes on, but not for ever."""
        self.context.engine.drain()
        await _wait(self.context.pump.quiet, self.settings.shutdown_timeout_s)

    def _stop_accepting(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None

    async def _flush(self) -> None:
        """Let the handlers write their last words."""
        await _wait(self.context.quiet, _VLLM_GOODBYE_S)

    def crash(self) -> None:
        """The engine behind the API dies: silence for five seconds, then all is cut."""
        self.context.pump.freeze()
        delay_s = self.context.scaled(_SGLANG_SILENCE_S)
        asyncio.get_running_loop().call_later(delay_s, _die)


async def _wait(event: asyncio.Event, limit_s: float) -> None:
    """Wait for an event, but not longer than `limit_s`."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit_s):
            await event.wait()


def _url(host: str, port: int) -> str:
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _die() -> None:
    """As SIGKILL does: no goodbye, the kernel resets what is open."""
    os.kill(os.getpid(), signal.SIGKILL)
