"""The operator's metrics as specifications, read off its own registry.

What it does not export cannot be asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_controller.telemetry import Telemetry
from cardan_router.telemetry.registry import Kind, Spec

if TYPE_CHECKING:
    from prometheus_client.metrics import MetricWrapperBase

_TELEMETRY: Final = Telemetry()


def _spec(metric: MetricWrapperBase) -> Spec:
    """The library says a metric's name and type to everybody, its labels to nobody."""
    (family,) = metric.describe()
    kind = Kind(family.type)
    name = f"{family.name}_total" if kind is Kind.COUNTER else family.name
    return Spec(name, kind, family.documentation, tuple(metric._labelnames))


LEADING: Final = _spec(_TELEMETRY.leading)
TICKS: Final = _spec(_TELEMETRY.ticks)
TICK_SECONDS: Final = _spec(_TELEMETRY.tick_seconds)
WRITES: Final = _spec(_TELEMETRY.writes)
FAILED_QUERIES: Final = _spec(_TELEMETRY.failed_asks)
EVENTS: Final = _spec(_TELEMETRY.events)
RELISTS: Final = _spec(_TELEMETRY.relists)
ERRORS: Final = _spec(_TELEMETRY.errors)
WAKES: Final = _spec(_TELEMETRY.wakes)
REPLICAS: Final = _spec(_TELEMETRY.replicas)
CONDITIONS: Final = _spec(_TELEMETRY.conditions)
MOVES: Final = _spec(_TELEMETRY.moves)
FRESH: Final = _spec(_TELEMETRY.fresh)
FAILURES: Final = _spec(_TELEMETRY.failures)
FLEETS: Final = _spec(_TELEMETRY.fleets)

ALL: Final = (
    *(LEADING, TICKS, TICK_SECONDS, WRITES, FAILED_QUERIES, EVENTS, RELISTS, ERRORS, WAKES),
    *(REPLICAS, CONDITIONS, MOVES, FRESH, FAILURES, FLEETS),
)
