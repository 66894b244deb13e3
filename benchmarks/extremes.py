"""What is not a cell: memory after many distinct prompts, and thousands of streams at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import msgspec

from benchmarks.bodies import DISTINCT, STREAM
from benchmarks.candidates import CARDAN, Candidate
from benchmarks.load import Load, run
from benchmarks.processes import Gateway
from benchmarks.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.processes import Mock

STREAMS = 2000
STREAM_GAP_US = 100_000  # 2,000 streams then carry 20,000 chunks a second
SETTLE_S = 1.0  # what a gateway frees late, it may free
RSS_LIMIT = 1.2
DEADLINE_S = 600.0
MIB = 2**20


class Memory(msgspec.Struct, frozen=True):
    """Resident bytes of one candidate when idle and after two counts of distinct prompts."""

    name: str
    idle_bytes: int
    few: int
    few_bytes: int
    many: int
    many_bytes: int
    failed: int

    @property
    def growth(self) -> float:
        """RSS after many prompts over RSS after few."""
        return self.many_bytes / self.few_bytes


class Streams(msgspec.Struct, frozen=True):
    """What became of many streams started at once."""

    name: str
    whole: int
    broken: int
    lost: int
    chunk_delay_p99_ms: float

    @property
    def verdict(self) -> Verdict:
        """All arrived, whole and in order."""
        figure = f"{self.whole} whole, {self.broken} out of order or cut, {self.lost} lost"
        met = self.whole == STREAMS
        return Verdict(f"{STREAMS} streams at once, {self.name}", figure, "all whole", met)


def memory(candidate: Candidate, engine: Mock, few: int, many: int, at: tuple[int, int]) -> Memory:
    """Start `candidate` afresh and send it `many` distinct 32 KB prompts."""
    gateway = Gateway(candidate, engine.ports, at[0])
    try:
        gateway.wait_ready()
        idle = gateway.rss_bytes()
        failed = _send_distinct(gateway, 0, few, at[1])
        after_few = gateway.rss_bytes()
        failed += _send_distinct(gateway, few, many, at[1])
        after_many = gateway.rss_bytes()
    finally:
        gateway.stop()
    return Memory(candidate.name, idle, few, after_few, many, after_many, failed)


def _send_distinct(gateway: Gateway, first: int, last: int, core: int) -> int:
    load = Load(DISTINCT, 64, DEADLINE_S, 0.0, requests=last - first, distinct_from=first)
    window = run(gateway.port, load, core)
    time.sleep(SETTLE_S)
    return window.faults + window.unfinished


def memory_rows(measured: Sequence[Memory]) -> list[list[str]]:
    """Lines of a table: MiB idle, after few, after many, and the growth between the two."""
    return [
        [
            m.name,
            *(f"{size / MIB:.0f}" for size in (m.idle_bytes, m.few_bytes, m.many_bytes)),
            f"{m.growth:.2f}",
            str(m.failed),
        ]
        for m in measured
    ]


def memory_verdict(measured: Sequence[Memory]) -> Verdict:
    """Cardan's memory is bounded."""
    ours = [m for m in measured if m.name.startswith(CARDAN)]
    what = "RSS growth over 10 times the distinct 32 KB prompts"
    if not ours:
        return Verdict(what, "-", f"≤ {RSS_LIMIT}", None)
    return Verdict(what, f"{ours[0].growth:.2f}", f"≤ {RSS_LIMIT}", ours[0].growth <= RSS_LIMIT)


def streams(gateway: Gateway, engine: Mock, chunks: int, core: int) -> Streams:
    """Open all streams at once and follow each to its end, event by event."""
    engine.shape(STREAM_GAP_US, chunks)
    load = Load(STREAM, STREAMS, 60.0, 0.0, requests=STREAMS, chunks=chunks)
    window = run(gateway.port, load, core)
    lost = STREAMS - window.streams_whole - window.streams_broken
    delay_ms = window.chunk_delay_p99_us / 1000
    name = gateway.candidate.name
    return Streams(name, window.streams_whole, window.streams_broken, lost, delay_ms)
