"""The operator's own metrics. `docs/reference/metrics.md` tells them beside the gateway's.

Labels are bounded by what exists: fleets and pools that are gone lose their series.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.metrics import MetricWrapperBase

from cardan_controller.recommending import recommended

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_controller.crds.status import FleetStatus, PoolStatus

# From one fleet on a fast server to five hundred on a slow one.
TICK_BUCKETS_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
# Not `namespace`: who scrapes says by that where the operator is.
_FLEET: Final = ("fleet_namespace", "fleet")
_POOL: Final = (*_FLEET, "pool")
Series = tuple[Gauge, tuple[str, ...]]
"""A family, and the values of its labels after the fleet's."""


class Telemetry:
    """All series of one operator process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        r = self.registry
        ProcessCollector(registry=r)
        self.leading = Gauge("cardan_controller_leading", "1 while this replica acts.", registry=r)
        self.ticks = Counter(
            "cardan_controller_ticks",
            "Ticks by result: `ok`, `failed`; `some`: over those fleets only that could not wait.",
            ("result",),
            registry=r,
        )
        self.tick_seconds = Histogram(
            "cardan_controller_tick_seconds",
            "Time of a tick over all fleets.",
            buckets=TICK_BUCKETS_S,
            registry=r,
        )
        self.writes = Counter(
            "cardan_controller_writes",
            "Writes to the Kubernetes API, by what and by result (`ok`, or the API's reason).",
            ("what", "result"),
            registry=r,
        )
        self.failed_asks = Gauge(
            "cardan_controller_failed_queries",
            "Queries of the last tick that the source of metrics did not answer.",
            registry=r,
        )
        self._of_watches(r)
        self.wakes = Counter("cardan_controller_wakes", "Fleets woken by a push.", registry=r)
        self.wakes_dropped = Counter(
            "cardan_controller_wakes_dropped",
            "Pushes for models of no known fleet that found no place: somebody makes up names.",
            registry=r,
        )
        self.failures = Counter(
            "cardan_controller_fleet_failures",
            "Fleets that a tick could not look after by a fault of the operator's own.",
            registry=r,
        )
        self.lines_dropped = Counter(
            "cardan_controller_record_lines_dropped",
            "Lines of recordings that were not written: the disk is too slow.",
            registry=r,
        )
        self.fleets = Gauge(
            "cardan_controller_fleets", "Fleets that this operator looks after.", registry=r
        )
        self.elsewhere = Gauge(
            "cardan_controller_fleets_elsewhere",
            "Fleets that another operator keeps, by its own Lease: this one stands back.",
            registry=r,
        )
        self._of_fleets(r)

    def _of_watches(self, r: CollectorRegistry) -> None:
        self.events = Counter(
            "cardan_controller_watch_events", "Events of watches, by type.", ("type",), registry=r
        )
        self.relists = Counter(
            "cardan_controller_relists", "Whole lists asked for, by why.", ("reason",), registry=r
        )
        self.errors = Counter(
            "cardan_controller_watch_errors", "What failed in watches.", ("reason",), registry=r
        )

    def _of_fleets(self, r: CollectorRegistry) -> None:
        """Series that each fleet has, as long as it is there."""
        self._told: dict[tuple[str, str], set[Series]] = {}
        self.replicas = Gauge(
            "cardan_fleet_replicas",
            "Replicas of a pool: `current` is what its scale asks for, `desired` what was decided"
            " (no series while nothing can be),"
            " `ready` those that are, `pending` those on the way, `draining` those that leave.",
            (*_POOL, "which"),
            registry=r,
        )
        self.conditions = Gauge(
            "cardan_fleet_condition", "1 while a condition is True.", (*_FLEET, "type"), registry=r
        )
        self.moves = Gauge(
            "cardan_fleet_moves", "Moves of hot prefixes in force.", _FLEET, registry=r
        )
        self.fresh = Gauge(
            "cardan_fleet_input_fresh",
            "1 while an input of decisions is known and young enough.",
            (*_FLEET, "input"),
            registry=r,
        )

    def described(self) -> list[tuple[str, str, tuple[str, ...], str]]:
        """Name, type, labels and meaning of each, for the reference."""
        metrics = [one for one in vars(self).values() if isinstance(one, MetricWrapperBase)]
        return [
            (
                f"{family.name}_total" if family.type == "counter" else family.name,
                family.type,
                metric._labelnames,  # the package tells them nowhere else
                family.documentation,
            )
            for metric in metrics
            for family in metric.describe()
        ]

    def told(self, namespace: str, fleet: str, status: FleetStatus) -> None:
        """A fleet's series follow its status: what it tells no more has no series any more."""
        moves = len(status.hot_spots.moves) if status.hot_spots else 0
        series: dict[Series, float] = {(self.moves, ()): moves}
        for pool in status.pools:
            for word, count in _counts(pool).items():
                series[self.replicas, (pool.name, word)] = count
        for name, desired in recommended(status.pools, status.conditions).items():
            series[self.replicas, (name, "desired")] = desired
        for condition in status.conditions:
            series[self.conditions, (condition.type,)] = condition.status.value == "True"
        for told in status.metrics:
            series[self.fresh, (told.input,)] = told.freshness.value == "fresh"
        for family, labels in self._told.get((namespace, fleet), set()) - series.keys():
            family.remove(namespace, fleet, *labels)
        for (family, labels), value in series.items():
            family.labels(namespace, fleet, *labels).set(value)
        self._told[namespace, fleet] = set(series)

    def gone(self, namespace: str, fleet: str) -> None:
        """A fleet is deleted: nobody would ever drop its series else."""
        for family, labels in self._told.pop((namespace, fleet), set()):
            family.remove(namespace, fleet, *labels)


def _counts(pool: PoolStatus) -> dict[str, int]:
    """What there is of a pool; what there is to be may not be known."""
    return {
        "current": pool.current,
        "ready": pool.ready,
        "pending": pool.pending,
        "draining": pool.draining,
    }


class WatchMeter:
    """What watches count and say."""

    def __init__(self, telemetry: Telemetry, clock: Callable[[], float]) -> None:
        self.clock = clock
        self.news = logging.getLogger(__name__)
        self._telemetry = telemetry

    def event(self, kind: str) -> None:
        """An event of a watch, by its kind."""
        self._telemetry.events.labels(kind).inc()

    def relist(self, reason: str) -> None:
        """A list begins, and why."""
        self._telemetry.relists.labels(reason).inc()

    def error(self, reason: str) -> None:
        """Something failed."""
        self._telemetry.errors.labels(reason).inc()
