"""Processes of a benchmark run: started pinned to a core, waited for, ended by their own pid.

A gateway owns one core, the engine and the load generator share another: what a gateway costs is
then its own CPU time, undisturbed by who measures it.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import random
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

from benchmarks import native_tools, procfs
from benchmarks.cache import BenchmarkError
from benchmarks.candidates import Candidate, Ports

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

READY_S = 60.0  # the slowest peer asks its engines for a minute before it gives up
STOP_S = 5.0  # then it is killed: its answer no longer matters
POLL_S = 0.05
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")  # ip(7)
CANDIDATE_PORTS = 8192  # enough to miss those of other runs
PROBE = json.dumps(
    {"model": "mock-model", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 1}
).encode()


def cores() -> tuple[int, int]:
    """The core of the gateway, and the core of all else. BenchmarkError with one core only."""
    allowed = sorted(os.sched_getaffinity(0))
    if len(allowed) < 2:
        raise BenchmarkError("the benchmark needs two cores: one for the gateway, one for the load")
    return allowed[0], allowed[1]


def free_port() -> int:
    """A loopback port that is free, and below those that the kernel gives to whoever wants any.

    A connection of somebody else's would take one of those before the gateway has started.
    """
    first = int(EPHEMERAL.read_text().split()[0])
    while True:
        port = random.randrange(first - CANDIDATE_PORTS, first)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


class Gateway:
    """A started candidate: where it listens, what it has used, and how it ends."""

    def __init__(self, candidate: Candidate, engines: Sequence[int], core: int | None) -> None:
        """Start `candidate` in front of the engines' ports, on `core` if one is given."""
        self.candidate = candidate
        self.ports = Ports(free_port(), free_port(), tuple(engines))
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by stop()
        self._process = subprocess.Popen(
            pinned(candidate.command(self.ports), core),
            stdout=self._log,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,  # its own group, so that its children end with it
            env={**os.environ, "HF_HUB_OFFLINE": "1"},  # no peer asks a model hub for "mock-model"
        )

    @property
    def port(self) -> int:
        """Where it listens."""
        return self.ports.listen

    def wait_ready(self, deadline_s: float = READY_S) -> Self:
        """Return once a chat completion comes back with 200. BenchmarkError with its last words."""
        until = time.monotonic() + deadline_s
        while time.monotonic() < until:
            if self._process.poll() is not None:
                raise BenchmarkError(f"{self.candidate.name} ended at start: {self._last_words()}")
            if _answers(self.port):
                return self
            time.sleep(POLL_S)
        words = self._last_words()
        raise BenchmarkError(f"{self.candidate.name} served nothing in {deadline_s:.0f} s: {words}")

    def alive(self) -> bool:
        """Whether its process still runs."""
        return self._process.poll() is None

    def cpu_s(self) -> float:
        """CPU seconds of its whole process tree so far."""
        return procfs.cpu_s(self._process.pid)

    def rss_bytes(self) -> int:
        """Resident bytes of its whole process tree now."""
        return procfs.rss_bytes(self._process.pid)

    def stop(self) -> None:
        """End it and everything it started."""
        for sign in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, sign)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(STOP_S)
        self._log.close()

    def _last_words(self) -> str:
        size = os.fstat(self._log.fileno()).st_size
        text = os.pread(self._log.fileno(), 2000, max(0, size - 2000)).decode(errors="replace")
        lines = [line.strip() for line in text.splitlines() if line.strip()]
        return " / ".join(lines[-2:])[-300:] or "it said nothing"


class Mock:
    """The C mock engine, on ports of the kernel's choosing."""

    def __init__(self, ports: int, core: int | None) -> None:
        """Start it; it is ready when this returns."""
        command = [str(native_tools.tool("mock")), "--ports", str(ports)]
        self._process = subprocess.Popen(pinned(command, core), stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.ports: tuple[int, ...] = tuple(json.loads(self._process.stdout.readline())["ports"])

    def shape(self, gap_us: int, chunks: int) -> None:
        """How its streams look from now on."""
        connection = http.client.HTTPConnection("127.0.0.1", self.ports[0], timeout=5)
        with contextlib.closing(connection):
            connection.request("GET", f"/ctl?gap={gap_us}&n={chunks}")
            connection.getresponse().read()

    def stop(self) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(STOP_S)
        if self._process.stdout:
            self._process.stdout.close()


@contextlib.contextmanager
def mock(ports: int = 4, core: int | None = None) -> Iterator[Mock]:
    """A mock engine for the length of a block."""
    engine = Mock(ports, core)
    try:
        yield engine
    finally:
        engine.stop()


def pinned(command: list[str], core: int | None) -> list[str]:
    """The command on one core: set before it starts, so that runtimes size their pools to it."""
    return command if core is None else ["taskset", "--cpu-list", str(core), *command]


def start_all(
    candidates: Sequence[Candidate], engines: Sequence[int], core: int | None
) -> tuple[list[Gateway], dict[str, str]]:
    """Start all candidates; those that serve, and for the others the reason by name."""
    started = [Gateway(candidate, engines, core) for candidate in candidates]
    ready: list[Gateway] = []
    failed: dict[str, str] = {}
    for gateway in started:
        try:
            ready.append(gateway.wait_ready())
        except BenchmarkError as error:
            failed[gateway.candidate.name] = str(error)
            gateway.stop()
    if not ready:
        raise BenchmarkError("; ".join(failed.values()) or "no candidate was given")
    return ready, failed


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    headers = {"content-type": "application/json"}
    with contextlib.closing(connection):
        try:
            connection.request("POST", "/v1/chat/completions", PROBE, headers)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
