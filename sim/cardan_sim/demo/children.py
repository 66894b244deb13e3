"""Child processes that never outlive us and never die in silence.

A child is started in a session of its own, so that Ctrl-C on the terminal reaches the demo
alone and the demo ends its children in order. Its standard input is a pipe that we hold: should we
be killed, it ends by itself (`leash`). Its last lines are kept, to be shown when it ends before it
should.
"""

from __future__ import annotations

import asyncio
import re
import signal
import sys
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_LISTENING: Final = re.compile(r"listening on (http://\S+)")
_KEPT_LINES: Final = 20
# Our processes end in less than a second when nothing runs; later they are killed.
_TERM_GRACE_S: Final = 5.0


class ChildError(Exception):
    """A child ended or did not start; the message has its name and its last lines."""


class Child:
    """One process of ours: a `cardan` subcommand that says where it listens."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        """Use `start_child`."""
        self.name = name
        self._process = process
        self._lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._reading = asyncio.create_task(self._read())

    @property
    def pid(self) -> int:
        """The process id."""
        return self._process.pid

    async def url(self, timeout_s: float) -> str:
        """Where it listens, once it says so. Raises ChildError."""
        waiting: set[asyncio.Future[str] | asyncio.Task[None]] = {self._url, self._reading}
        await asyncio.wait(waiting, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if self._url.done():
            return self._url.result()
        if self._reading.done():
            await self.ended()
        raise ChildError(f"{self.name} did not start within {timeout_s:g} s{self._last_lines()}")

    async def ended(self) -> None:
        """Wait until it ends by itself, and raise ChildError then."""
        status = await self._process.wait()
        await self._reading
        raise ChildError(f"{self.name} ended with status {status}{self._last_lines()}")

    async def stop(self) -> None:
        """End it: SIGTERM, and SIGKILL if it takes too long."""
        self._signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(_TERM_GRACE_S):
                await self._process.wait()
        except TimeoutError:
            self._signal(signal.SIGKILL)
            await self._process.wait()
        await self._reading

    def kill(self) -> None:
        """End it at once, without waiting."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - it was started with a pipe
        async for raw in self._process.stdout:
            line = raw.decode("utf-8", "replace").rstrip()
            self._lines.append(line)
            match = _LISTENING.search(line)
            if match is not None and not self._url.done():
                self._url.set_result(match[1])

    def _last_lines(self) -> str:
        if not self._lines:
            return " and said nothing"
        return "; it last said:\n" + "\n".join(f"  {line}" for line in self._lines)


async def start_child(name: str, arguments: Sequence[str]) -> Child:
    """Start `cardan ARGUMENTS` with the Python that runs us."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "cardan_sim.demo.leash",
        *arguments,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        start_new_session=True,
    )
    return Child(name, process)
