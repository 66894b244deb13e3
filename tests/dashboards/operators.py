"""A page as an operator has it that looks after one fleet: its own telemetry, told each second, and
served on loopback.
"""

from __future__ import annotations

import contextlib
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

from cardan.scaling.observation import Freshness
from cardan_controller.crds.status import (
    Condition,
    ConditionType,
    FleetStatus,
    InputHealth,
    PoolStatus,
    Truth,
)
from cardan_controller.telemetry import Telemetry
from prometheus_client.exposition import generate_latest

if TYPE_CHECKING:
    from collections.abc import Iterator

SHORT_OF = {ConditionType.CAPACITY_AVAILABLE, ConditionType.READY}
NOW = "2026-01-01T00:00:00Z"


def _status(second: int) -> FleetStatus:
    """A fleet that grows, has no room, and knows half of its demand."""
    conditions = tuple(
        Condition(
            type=one,
            status=Truth.FALSE if one in SHORT_OF or one is ConditionType.CONFLICT else Truth.TRUE,
            reason="Told",
            last_transition_time=NOW,
        )
        for one in ConditionType
    )
    pool = PoolStatus(name="main", current=3, desired=4 + second % 2, ready=2, pending=1)
    return FleetStatus(
        conditions=conditions,
        pools=(pool,),
        metrics=(
            InputHealth(input="held", freshness=Freshness.FRESH),
            InputHealth(input="requests_per_s", freshness=Freshness.STALE, at=NOW),
        ),
    )


class _Operator:
    """What it counts, a second at a time."""

    def __init__(self) -> None:
        self.telemetry = Telemetry()
        self._began = time.monotonic()
        self._second = -1
        self._lock = threading.Lock()

    def page(self) -> bytes:
        """As it is now."""
        with self._lock:
            while self._second < time.monotonic() - self._began:
                self._second += 1
                self._tick()
            return generate_latest(self.telemetry.registry)

    def _tick(self) -> None:
        telemetry = self.telemetry
        telemetry.leading.set(1)
        telemetry.fleets.set(1)
        telemetry.ticks.labels("ok").inc()
        telemetry.tick_seconds.observe(0.2)
        telemetry.writes.labels("status", "ok").inc()
        telemetry.events.labels("MODIFIED").inc()
        telemetry.relists.labels("first").inc()
        telemetry.errors.labels("timeout").inc()
        telemetry.failed_asks.set(0)
        telemetry.wakes.inc()
        telemetry.failures.inc()
        telemetry.told("prod", "llama", _status(self._second))


@contextlib.contextmanager
def operator() -> Iterator[str]:
    """Serve one; its address."""
    told = _Operator()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = told.page()
            self.send_response(200)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            del format, args

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
