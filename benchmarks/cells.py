"""The cells of the table: which bodies, at which concurrency, and what Cardan must reach in each.

Saturated cells (closed loop) say what a core can carry; the 400 requests/s cells (open loop) say
what a request costs below saturation, where every server spends 4 to 8 times more on it: caches are
cold and each event wakes the process. Both are needed, because most fleets live below saturation.
"""

from __future__ import annotations

import msgspec

from benchmarks.bodies import PLAIN, STREAM, Bodies
from benchmarks.load import Load

OPEN_RATE_PER_S = 400.0
OPEN_CONNECTIONS = 256  # so many that a stall of half a second still finds one free
CHUNKS = 50
PLAIN_LIMIT = 0.8  # CPU of Cardan over the best peer's cache-aware policy: the project's target
STREAM_LIMIT = 0.9


class Cell(msgspec.Struct, frozen=True):
    """One column of the table; `limit` is the ratio to reach, if there is one."""

    name: str
    bodies: Bodies
    connections: int
    rate_per_s: float = 0.0
    gap_us: int = 0
    limit: float | None = None
    ttft_judged: bool = False  # the added-TTFT target is judged on this cell

    @property
    def saturated(self) -> bool:
        """Whether the load takes all the gateway can give: latency is then only a queue's."""
        return self.connections > 1 and not self.rate_per_s and not self.gap_us

    def load(self, seconds: float) -> Load:
        """The generator's orders for a window of that length."""
        return Load(
            bodies=self.bodies,
            connections=self.connections,
            seconds=seconds,
            rate_per_s=self.rate_per_s,
            chunks=CHUNKS if self.bodies.stream else 0,
            # Paced streams begin one after the other over a stream's length, or they would stay in
            # step for ever; a closed loop of them is steady once that has passed.
            warmup_s=0.5 + self.gap_us * CHUNKS / 1e6,
            stagger_s=self.gap_us * CHUNKS / 1e6,
        )


def _plain(size_kb: int) -> list[Cell]:
    bodies, limit = PLAIN[size_kb], PLAIN_LIMIT
    return [
        Cell(f"{size_kb}KB-c1", bodies, 1),
        Cell(f"{size_kb}KB-c64", bodies, 64, limit=limit),
        Cell(
            f"{size_kb}KB-400/s",
            bodies,
            OPEN_CONNECTIONS,
            OPEN_RATE_PER_S,
            limit=limit,
            ttft_judged=size_kb == 1,
        ),
    ]


ALL = (
    *_plain(1),
    *_plain(32),
    *_plain(200),
    Cell("SSE-10ms-c1", STREAM, 1, gap_us=10_000),
    Cell("SSE-10ms-c64", STREAM, 64, gap_us=10_000, limit=STREAM_LIMIT),
    Cell("SSE-0ms-c1", STREAM, 1),
    Cell("SSE-0ms-c64", STREAM, 64, limit=STREAM_LIMIT),
)
QUICK = ("1KB-c64", "32KB-c64", "200KB-c64", "1KB-400/s", "SSE-10ms-c64", "SSE-0ms-c64")
NAMES = tuple(cell.name for cell in ALL)


def chosen(names: tuple[str, ...]) -> tuple[Cell, ...]:
    """The cells of those names, in the table's order."""
    return tuple(cell for cell in ALL if cell.name in names)
