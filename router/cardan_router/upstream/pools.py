"""Pools of idle connections, one for each engine.

The connection used last is used next: the others grow old and are closed, so a pool is as large as
the load. Dialling is the one thing here that takes a task, because names are looked up and TLS is
spoken; it is bounded in time.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import urllib.parse
from typing import TYPE_CHECKING

from cardan.errors import ConfigError

from cardan_router.boundary import give_up, internal
from cardan_router.tls import client_context
from cardan_router.upstream.connection import EngineConnection

if TYPE_CHECKING:
    import ssl

    from cardan.instants import Monotonic

    from cardan_router.clock import Clock
    from cardan_router.flight import Flight
    from cardan_router.limits import TimeoutsConfig, UpstreamConfig

log = logging.getLogger(__name__)

# Dials that fail with these fail for want of something here; nobody has been asked there.
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM})
# uvloop runs its timers before it looks at its sockets. A process that got no turn for a while, on
# a busy machine, would find every engine unreachable at once; so it looks once more.
LAST_LOOK_S = 0.05
# How often that is said: what is wanting is so for every request.
COMPLAIN_S = 10.0


class Upstreams:
    """The pools of all engines, by their URL in `pools`."""

    def __init__(self, config: UpstreamConfig, timeouts: TimeoutsConfig, clock: Clock) -> None:
        self.config = config
        self.timeouts = timeouts
        self.clock = clock
        self.tls: ssl.SSLContext | None = None
        self._complained_at: Monotonic | None = None
        self.pools: dict[str, Pool] = {}

    def reconfigure(self, config: UpstreamConfig, timeouts: TimeoutsConfig) -> None:
        """Take a new configuration; open connections stay. The signer's file is read anew."""
        self.tls = None
        self.config = config
        self.timeouts = timeouts
        for pool in self.pools.values():
            pool.forget_request_lines()

    def pool(self, url: str) -> Pool:
        """The pool of an engine; made when it is first asked for."""
        pool = self.pools.get(url)
        if pool is None:
            pool = self.pools[url] = Pool(self, url)
        return pool

    def close(self, url: str) -> None:
        """An engine is gone: close what is idle; what runs there ends by itself."""
        pool = self.pools.pop(url, None)
        if pool is not None:
            pool.close()

    def close_all(self) -> None:
        """The process ends: close everything that is idle or about to be."""
        for url, pool in list(self.pools.items()):
            pool.stop_dialling()
            self.close(url)

    def sweep(self, now: Monotonic) -> None:
        """Close connections that have been idle too long, and forget pools that have none.

        A pool that is wanted again is made again; so none outlives its engine for long.
        """
        for url, pool in list(self.pools.items()):
            pool.sweep(now)
            if pool.is_unused:
                del self.pools[url]

    def complain(self, error: Exception) -> None:
        """Say that no connections can be made, for a reason of our own; now and then."""
        now = self.clock()
        if self._complained_at is None or now - self._complained_at > COMPLAIN_S:
            self._complained_at = now
            log.error("no connections to engines can be made: %s", error)

    def tls_context(self) -> ssl.SSLContext:
        """The context for engines with https URLs. Raises `ConfigError`."""
        if self.tls is None:
            self.tls = client_context(self.config.tls_ca)
        return self.tls


class Pool:
    """Connections to one engine. `request_lines` are those made so far, by path."""

    def __init__(self, upstreams: Upstreams, url: str) -> None:
        parts = urllib.parse.urlsplit(url)
        self._upstreams = upstreams
        self._host = parts.hostname or ""
        self._is_tls = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_tls else 80)
        self._authority = parts.netloc
        self._idle: dict[EngineConnection, None] = {}
        self._discarding: dict[EngineConnection, Monotonic] = {}
        self._dials: set[asyncio.Task[None]] = set()
        self._open: set[EngineConnection] = set()
        self.request_lines: dict[str, str] = {}
        self._closed = False

    def __len__(self) -> int:
        """How many connections are idle."""
        return len(self._idle)

    @property
    def is_unused(self) -> bool:
        """Is there no connection, nor one about to be?"""
        return not self._open and not self._dials

    def request_line(self, path: str) -> str:
        """The head of a request as far as it is the same for all: line, host, credentials."""
        key = self._upstreams.config.api_key
        credentials = f"authorization: Bearer {key}\r\n" if key else ""
        line = f"POST {path} HTTP/1.1\r\nhost: {self._authority}\r\n{credentials}"
        self.request_lines[path] = line
        return line

    def forget_request_lines(self) -> None:
        """The engines' key has changed."""
        self.request_lines.clear()

    def take(self, now: Monotonic) -> EngineConnection | None:
        """The idle connection used last, or None: then dial."""
        idle = self._idle
        config = self._upstreams.config
        while idle:
            connection, _ = idle.popitem()
            since = connection.idle_since
            if connection.is_usable and (since is None or now - since < config.idle_s):
                return connection
            connection.abandon()
        return None

    def put(self, connection: EngineConnection) -> None:
        """A connection is idle again."""
        if self._discarding:
            self._discarding.pop(connection, None)
        if self._closed or len(self._idle) >= self._upstreams.config.max_idle:
            connection.abandon()
            return
        connection.idle_since = self._upstreams.clock()
        self._idle[connection] = None

    def made(self, connection: EngineConnection) -> None:
        """A connection is open."""
        self._open.add(connection)

    def forget(self, connection: EngineConnection) -> None:
        """A connection is closed."""
        self._open.discard(connection)
        self._idle.pop(connection, None)
        self._discarding.pop(connection, None)

    def discarding(self, connection: EngineConnection) -> None:
        """A connection reads over an answer that nobody wants; not for long."""
        if self._closed:  # nobody looks after it any more
            connection.abandon()
        else:
            self._discarding[connection] = self._upstreams.clock()

    def dial(self, flight: Flight) -> None:
        """Make a connection for a flight; it is told what came of it."""
        task = asyncio.get_running_loop().create_task(self._dial(flight))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    def close(self) -> None:
        """Close what is idle, and do not keep what becomes so."""
        self._closed = True
        for connection in [*self._idle, *self._discarding]:
            connection.abandon()

    def stop_dialling(self) -> None:
        """The process ends: nobody waits for connections any more."""
        for task in self._dials:
            task.cancel()

    def sweep(self, now: Monotonic) -> None:
        """Close connections that have been idle too long: they are the first in the dictionary."""
        idle_s = self._upstreams.config.idle_s
        for connection, since in list(self._discarding.items()):
            if now - since > idle_s:
                connection.abandon()
        while self._idle:
            oldest = next(iter(self._idle))
            if oldest.idle_since is None or now - oldest.idle_since < idle_s:
                return
            del self._idle[oldest]
            oldest.abandon()

    async def _dial(self, flight: Flight) -> None:
        connection = None
        try:
            try:
                connection = await self._connect()
            except (OSError, ConfigError, UnicodeError) as error:
                # OSError is also a time-out, a failed look-up, a failed handshake; UnicodeError a
                # host name that cannot be looked up.
                self._unreachable(flight, error)
            else:
                if not flight.on_dialled(connection):
                    self.put(connection)
        except Exception as error:  # noqa: BLE001 - the request boundary, which logs
            if connection is not None:
                connection.abandon()
            give_up(flight, error)

    async def _connect(self) -> EngineConnection:
        loop = asyncio.get_running_loop()
        tls = self._upstreams.tls_context() if self._is_tls else None
        dial = loop.create_task(
            loop.create_connection(lambda: EngineConnection(self), self._host, self._port, ssl=tls)
        )
        try:
            await asyncio.wait({dial}, timeout=self._upstreams.timeouts.connect_s)
            if not dial.done():
                await asyncio.wait({dial}, timeout=LAST_LOOK_S)
            if not dial.done():
                raise TimeoutError
            _, connection = dial.result()
        finally:
            dial.cancel()
        return connection

    def _unreachable(self, flight: Flight, error: Exception) -> None:
        if isinstance(error, ConfigError) or getattr(error, "errno", None) in _OURS:
            self._upstreams.complain(error)
            flight.abandon(internal())
        else:
            log.debug("no connection to %s: %s", self._authority, error)
            flight.on_unreachable()
