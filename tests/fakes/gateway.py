"""A whole gateway in this process: real sockets, real core, a clock the test may hold."""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING, Any

from cardan.endpoint import Endpoint
from cardan.fleet import Fleet
from cardan.policies import RoundRobin
from cardan.prompt import KeyConfig
from cardan.scheduler import Scheduler
from cardan_router.clock import monotonic
from cardan_router.gateway import Gateway
from cardan_router.http.server import HttpServer, openai_routes
from cardan_router.limits import HttpConfig

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from cardan.ledger import Outcome
    from cardan.policies import AnyPolicy
    from cardan.scheduler import AdmissionConfig
    from cardan_router.clock import Clock
    from cardan_router.http.routes import Route
    from cardan_router.record import FlightRecord
    from cardan_router.rejections import Told

    from tests.fakes.engine import FakeEngine

MODEL = "m"


class Journal:
    """A recorder that remembers."""

    def __init__(self) -> None:
        self.flights: list[FlightRecord] = []
        self.refused: list[tuple[Told, str]] = []
        self.gaps: list[float] = []

    def flight_ended(self, flight: FlightRecord) -> None:
        """See `Recorder`."""
        self.flights.append(flight)

    def turned_away(self, told: Told, *, request_id: str, path: str, tenant: str) -> None:
        """See `Recorder`."""
        self.refused.append((told, path))

    @property
    def outcomes(self) -> list[Outcome | None]:
        """The outcomes so far."""
        return [flight.exchange.outcome for flight in self.flights]


class Served:
    """A running gateway and what a test looks at."""

    def __init__(self, gateway: Gateway, server: HttpServer, journal: Journal) -> None:
        self.gateway = gateway
        self.server = server
        self.journal = journal

    @property
    def port(self) -> int:
        """The HTTP port."""
        return self.server.addresses[0][1]

    @property
    def in_flight(self) -> int:
        """Open leases."""
        return self.gateway.scheduler.ledger.open_leases


@contextlib.asynccontextmanager
async def serving(
    engines: Iterable[FakeEngine],
    *,
    policy: AnyPolicy | None = None,
    admission: AdmissionConfig | None = None,
    clock: Clock = monotonic,
    routes: tuple[Route, ...] = (),
    http: HttpConfig | None = None,
    models: tuple[str, ...] = (MODEL,),
    **kwargs: Any,
) -> AsyncIterator[Served]:
    """A gateway before `engines`; at the end no lease is open and no flight is on its way."""
    fleet = Fleet()
    fleet.update([Endpoint(url=engine.url, models=models) for engine in engines], clock())
    scheduler = Scheduler(fleet, policy or RoundRobin(), random.Random(1), admission=admission)
    journal = Journal()
    gateway = Gateway(
        scheduler,
        KeyConfig(),
        slo_ttft_s=lambda _: 5.0,
        recorder=journal,
        clock=clock,
        **kwargs,
    )
    server = HttpServer(gateway, (*openai_routes(gateway), *routes), http or HttpConfig())
    await server.start("127.0.0.1", 0)
    sweeping = asyncio.ensure_future(gateway.run())
    try:
        yield Served(gateway, server, journal)
    finally:
        sweeping.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await sweeping
        await server.close()
        await gateway.shutdown(1.0)
    assert scheduler.ledger.open_leases == 0
    assert not gateway.flights
    assert not gateway.waiting
