"""One measured window: the load generator against one port, and the gateway's CPU at its edges."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING

import msgspec

from benchmarks import native_tools
from benchmarks.bodies import Bodies
from benchmarks.cache import BenchmarkError
from benchmarks.processes import pinned

if TYPE_CHECKING:
    from collections.abc import Callable


class Load(msgspec.Struct, frozen=True):
    """What the generator does: closed loop over `connections`, or `rate_per_s` in an open loop."""

    bodies: Bodies
    connections: int
    seconds: float
    warmup_s: float = 0.5
    rate_per_s: float = 0.0
    requests: int = 0  # ends the run after so many; 0 is no limit
    chunks: int = 0  # events of a whole stream; 0 does not check
    distinct_from: int = 0
    stagger_s: float = 0.0  # over which the connections begin, in a closed loop


class Window(msgspec.Struct, frozen=True):
    """What the generator saw within the measured window. Times in µs."""

    done: int
    seconds: float
    per_s: float
    reset: int
    not_200: int
    dropped: int
    unfinished: int
    bytes: int
    events: int
    streams_whole: int
    streams_broken: int
    generator_cpu_s: float
    total_p50_us: float
    total_p99_us: float
    first_byte_p50_us: float
    first_byte_p99_us: float
    chunk_delay_p50_us: float
    chunk_delay_p99_us: float
    cpu_s: float = 0.0  # the gateway's process tree within the window

    @property
    def cpu_ms_per_request(self) -> float:
        """CPU milliseconds per request, which is CPU seconds per 1,000 requests."""
        return 1000 * self.cpu_s / self.done if self.done else float("nan")

    @property
    def faults(self) -> int:
        """Requests that did not end as they should have."""
        return self.reset + self.not_200 + self.streams_broken


def nothing_s() -> float:
    """The CPU clock of no gateway at all: straight to the engine."""
    return 0.0


def run(port: int, load: Load, core: int | None, cpu_s: Callable[[], float] = nothing_s) -> Window:
    """Run `load` against `port` from `core`; `cpu_s` is read at both edges of the window."""
    with subprocess.Popen(
        pinned(_command(port, load), core),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as generator:
        assert generator.stdout is not None
        assert generator.stderr is not None
        generator.stdout.readline()
        before_s = cpu_s()
        generator.stdout.readline()
        used_s = cpu_s() - before_s
        result = generator.stdout.readline()
        complaint = generator.stderr.read().strip()
    if not result:
        raise BenchmarkError(f"the load generator failed: {complaint}")
    return msgspec.structs.replace(msgspec.convert(json.loads(result), Window), cpu_s=used_s)


def _command(port: int, load: Load) -> list[str]:
    options: dict[str, object] = {
        "--port": port,
        "--bodies": load.bodies.file(),
        "--connections": load.connections,
        "--seconds": load.seconds,
        "--warmup": load.warmup_s,
        "--rate": load.rate_per_s,
        "--requests": load.requests,
        "--chunks": load.chunks,
        "--stagger": load.stagger_s,
    }
    if load.bodies.distinct:
        options["--distinct-from"] = load.distinct_from
    words = [word for key, value in options.items() for word in (key, str(value))]
    return [str(native_tools.tool("lg")), *words]
