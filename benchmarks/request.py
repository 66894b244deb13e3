"""`python -m benchmarks.request`: the gateway's own Python per request, without sockets.

One process holds a whole gateway (`cardan_router.app.App` at its defaults, nothing listening and no
task running). Between the two transports that a request meets there is only this file: a client's
bytes go into an `HttpConnection`, and what is written to an engine is answered at once with the
mock's bytes. So a figure is what our code costs, warm: no kernel, no event loop, no cold caches. It
is CPU time, and wanders by some per cent (neighbours cool the caches) where whole gateways wander
by a third: so it is the one to compare two versions of a line by, by the best of several runs.

64 clients ask in turn, then 64 engines answer, as a saturated loop would find them. The last row is
an event of a stream instead: 64 streams are open, and each event goes from its engine to its client
(no end, so nothing of a request's beginning and end is in it). What is counted later
(`RequestRecorder.settle`) and the access log, which goes to /dev/null, are within the figure.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import json
import pstats
import statistics
import sys
import time
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING, cast

import msgspec
from cardan.endpoint import EngineKind
from cardan_router.app import GC_THRESHOLD, App
from cardan_router.config import Config
from cardan_router.flags import Invocation
from cardan_router.http.connection import HttpConnection
from cardan_router.upstream.connection import EngineConnection
from cardan_router.wire.chunks import chunk

from benchmarks import report
from benchmarks.bodies import PLAIN
from benchmarks.bodies import STREAM as STREAMED

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator, Sequence

    from benchmarks.bodies import Bodies

SIZES_KB = (1, 32)
ENGINES = 4
CLIENTS = 64
MODEL = "mock-model"
SECONDS = 3.0
HEAD = (
    b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:8080\r\nuser-agent: lg/1\r\n"
    b"accept: */*\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
)
COMPLETION = (
    b'{"id":"chatcmpl-0123456789abcdef","object":"chat.completion","created":1700000000,"model":'
    b'"mock-model","choices":[{"index":0,"message":{"role":"assistant","content":"%0270d"},'
    b'"logprobs":null,"finish_reason":"stop"}],"usage":{"prompt_tokens":128,'
    b'"completion_tokens":50,"total_tokens":178}}'
) % 0
ANSWER = (
    b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: application/json\r\n"
    b"content-length: %d\r\n\r\n%b"
) % (len(COMPLETION), COMPLETION)
EVENT = (
    b'data: {"id":"chatcmpl-0123456789abcdef","object":"chat.completion.chunk","created":1700000000'
    b',"model":"mock-model","choices":[{"index":0,"delta":{"content":"%050d"},"finish_reason":null}]}'
    b"\n\n"
) % 0
STREAM = (
    b"HTTP/1.1 200 OK\r\nserver: mock\r\ncontent-type: text/event-stream\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Cost(msgspec.Struct, frozen=True):
    """µs of one `thing`: the median of all rounds, and the best."""

    thing: str
    median_us: float
    best_us: float
    rounds: int


class Wire:
    """A transport without a socket: `sent` counts what was written; `on_write` is told of it."""

    def __init__(self, asked: list[EngineConnection] | None = None) -> None:
        self.owner: EngineConnection | None = None
        self.sent = 0
        self._asked = asked

    def write(self, data: bytes) -> None:
        """Take bytes; one that belongs to an engine remembers that an answer is owed."""
        self.sent += len(data)
        if self._asked is not None and self.owner is not None:
            self._asked.append(self.owner)

    def writelines(self, pieces: Sequence[bytes]) -> None:
        """Take several pieces as one write, without joining them: neither does the kernel."""
        self.sent += sum(map(len, pieces[1:]))
        self.write(pieces[0])

    def get_write_buffer_size(self) -> int:
        """Everything written is gone."""
        return 0

    def is_closing(self) -> bool:
        """It stays open."""
        return False


class Rig:
    """A gateway, its clients, and connections to engines that answer when told to."""

    def __init__(self) -> None:
        self.app = App(Invocation({}, None, print_config=False, hash_key=False), _config(), None)
        self.app.membership.report("config", self.app.config.endpoints)
        for state in self.app.fleet.endpoints.values():
            self.app.fleet.introspected(state, [MODEL], EngineKind.VLLM)
            state.health.probe_succeeded()
        self.app.fleet.touch()
        server = self.app.doors.http
        self._asked: list[EngineConnection] = []
        self._wires = [Wire() for _ in range(CLIENTS)]
        self._clients = [HttpConnection(server) for _ in range(CLIENTS)]
        for client, wire in zip(self._clients, self._wires, strict=True):
            client.connection_made(cast("asyncio.Transport", wire))
        for state in self.app.fleet.endpoints.values():
            for _ in range(CLIENTS):
                self._connect(state.endpoint.url)

    def _connect(self, url: str) -> None:
        pool = self.app.gateway.upstreams.pool(url)
        connection, wire = EngineConnection(pool), Wire(self._asked)
        wire.owner = connection
        connection.connection_made(cast("asyncio.Transport", wire))
        pool.put(connection)

    def round(self, requests: Sequence[bytes]) -> float:
        """One request of each client, all answered; µs for each of them."""
        before = time.thread_time_ns()
        for client, request in zip(self._clients, requests, strict=True):
            client.data_received(request)
        for connection in self._asked:
            connection.data_received(ANSWER)
        self._asked.clear()
        self.app.recorder.settle()
        self.app.access_log.flush()
        return (time.thread_time_ns() - before) / 1000 / len(requests)

    def open_streams(self, requests: Sequence[bytes]) -> None:
        """A stream for each client, with its first event sent."""
        for client, request in zip(self._clients, requests, strict=True):
            client.data_received(request)
        for connection in self._asked:
            connection.data_received(STREAM + chunk(EVENT))

    def events(self) -> float:
        """One more event of each open stream; µs for each of them."""
        event = chunk(EVENT)
        before = time.thread_time_ns()
        for connection in self._asked:
            connection.data_received(event)
        self.app.recorder.settle()
        return (time.thread_time_ns() - before) / 1000 / len(self._asked)

    def check_streams(self, rounds: int) -> None:
        """Every event was passed on; else the figure means nothing."""
        if min(wire.sent for wire in self._wires) < rounds * len(chunk(EVENT)):
            raise RuntimeError("events of streams are missing")

    def check(self, rounds: int) -> None:
        """Every request was answered whole; else the figure means nothing."""
        flights = self.app.gateway.flights
        sent = min(wire.sent for wire in self._wires)
        if flights or sent < rounds * len(COMPLETION):
            raise RuntimeError(f"{len(flights)} requests were not answered")


def measure(size_kb: int, seconds: float, profile: cProfile.Profile | None = None) -> Cost:
    """Time requests with bodies of that size."""
    rig = Rig()
    requests = _requests(PLAIN[size_kb])
    times = _timed(lambda: rig.round(next(requests)), seconds, profile)
    rig.check(len(times))
    return _cost(f"request of {size_kb} KB", times)


def measure_events(seconds: float, profile: cProfile.Profile | None = None) -> Cost:
    """Time events of streams that are open."""
    rig = Rig()
    rig.open_streams(next(_requests(STREAMED)))
    times = _timed(rig.events, seconds, profile)
    rig.check_streams(len(times))
    return _cost("event of a stream", times)


def _cost(thing: str, times: list[float]) -> Cost:
    return Cost(thing, statistics.median(times), min(times), len(times))


def _requests(bodies: Bodies) -> Iterator[list[bytes]]:
    """One request for each client, again and again."""
    endless = cycle(bodies.make())
    while True:
        yield [HEAD % len(body) + body for body in islice(endless, CLIENTS)]


def _timed(
    once: Callable[[], float], seconds: float, profile: cProfile.Profile | None
) -> list[float]:
    """What `once` measures, for `seconds`, after a tenth of that to warm up."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    _rounds(once, seconds / 10)
    if profile is not None:
        profile.enable()
    times = _rounds(once, seconds)
    if profile is not None:
        profile.disable()
    return times


def _rounds(once: Callable[[], float], seconds: float) -> list[float]:
    times = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        times.append(once())
    return times


def _config() -> Config:
    endpoints = [{"url": f"http://127.0.0.1:{9001 + number}"} for number in range(ENGINES)]
    return msgspec.convert({"endpoints": endpoints, "log": {"access": "/dev/null"}}, Config)


def main(argv: list[str] | None = None) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.request", description=__doc__)
    sizes = ",".join(map(str, SIZES_KB))
    parser.add_argument("--sizes", default=sizes, help=f"KB, comma-separated (default {sizes})")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="for each size")
    parser.add_argument("--profile", action="store_true", help="where the time goes, by function")
    parser.add_argument("--json", type=Path, default=None, metavar="FILE")
    options = parser.parse_args(argv)
    profile = cProfile.Profile() if options.profile else None
    costs = [measure(int(size), options.seconds, profile) for size in options.sizes.split(",")]
    costs.append(measure_events(options.seconds, profile))
    rows = [[c.thing, f"{c.median_us:.1f}", f"{c.best_us:.1f}"] for c in costs]
    print(report.table(["µs", "median", "best"], rows))
    if profile is not None:
        pstats.Stats(profile).sort_stats("tottime").print_stats(45)
    if options.json:
        whole = {"machine": report.machine(), "costs": costs}
        options.json.write_text(json.dumps(msgspec.to_builtins(whole), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
