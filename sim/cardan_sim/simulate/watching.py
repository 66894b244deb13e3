"""How gateways come to know of engines: metrics on a beat, and probes where engines may die."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Final

from cardan.instants import Monotonic

if TYPE_CHECKING:
    from cardan.endpoint import EndpointId
    from cardan.fleet import Fleet
    from cardan.metrics import EngineMetrics

    from cardan_sim.simulate.cluster import Cluster, Seat
    from cardan_sim.simulate.kernel import Kernel
    from cardan_sim.simulate.knowledge import Scrapes

# `cardan_router` asks again after 1.0 to 1.2 of a second, and a small fleet with the next of its
# beats, which come five times a second.
_SPREAD: Final = (1.0, 1.4)
PROBE_S: Final = 1.0


class Scraper:
    """Reads every engine's metrics for every fleet that wants them.

    `blind` holds the numbers of gateways that get none, `silent` those of engines that tell none.
    """

    def __init__(self, cluster: Cluster, scrapes: Scrapes | None, seed: int) -> None:
        self._cluster = cluster
        self._scrapes = scrapes
        self._rng = Random(seed)
        self.blind: set[int] = set()
        self.silent: set[int] = set()
        self.late_s = 0.0

    def start(self) -> None:
        """Begin, each at a moment of its own."""
        for number in range(len(self._cluster.gateways)):
            for seat in self._cluster.seats:
                self._begin(number, seat)

    def add(self, seat: Seat) -> None:
        """One engine more, also from a moment of its own on."""
        for number in range(len(self._cluster.gateways)):
            self._begin(number, seat)

    def _begin(self, number: int, seat: Seat) -> None:
        if self._scrapes is not None:
            wait_s = self._scrapes.every_s * self._rng.random()
            self._cluster.kernel.after(wait_s, self._read, number, seat, self._scrapes)

    def _read(self, number: int, seat: Seat, scrapes: Scrapes) -> None:
        kernel = self._cluster.kernel
        if not self._cluster.active or not seat.member:
            return
        heard = seat.alive and number not in self.blind and seat.index not in self.silent
        if heard and (not scrapes.lost_share or self._rng.random() >= scrapes.lost_share):
            metrics = seat.model.metrics(kernel.now)
            fleet = self._cluster.gateways[number].scheduler.fleet
            delay_s = scrapes.delay_s + self.late_s
            if delay_s:
                kernel.after(delay_s, _observe, fleet, seat.endpoint_id, metrics)
            else:
                _observe(fleet, seat.endpoint_id, metrics)
        wait_s = scrapes.every_s * self._rng.uniform(*_SPREAD)
        kernel.after(wait_s, self._read, number, seat, scrapes)


def probe(cluster: Cluster) -> None:
    """Ask every engine's health for every gateway, now and every second while there is work."""
    if not cluster.active:
        return
    now = Monotonic(cluster.kernel.now)
    for gateway in cluster.gateways:
        fleet = gateway.scheduler.fleet
        for seat in cluster.seats:
            state = fleet.endpoints.get(seat.endpoint_id)
            if state is None:
                continue
            if seat.alive:
                changed = state.health.probe_succeeded()
            else:
                changed = state.health.unreachable(now)
            if changed:
                fleet.touch()
        gateway.wake()
    cluster.kernel.after(PROBE_S, probe, cluster)


def observe_now(fleet: Fleet, kernel: Kernel, seat: Seat) -> None:
    """Let a fleet know an engine's metrics as they are."""
    if seat.alive:
        _observe(fleet, seat.endpoint_id, seat.model.metrics(kernel.now))


def _observe(fleet: Fleet, endpoint_id: EndpointId, metrics: EngineMetrics) -> None:
    state = fleet.endpoints.get(endpoint_id)
    if state is not None:
        state.observe(metrics)
