"""What the panels have in common: whose series, which limits, which colours, which shapes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.ledger import Outcome
from cardan_router.telemetry.legend import UNSERVED

from tools.dashboards.grafana import Look, Panel, Query, Step, Unit
from tools.dashboards.promql import Expr, Matching, Scope, one_of

if TYPE_CHECKING:
    from cardan_router.telemetry.registry import Spec

# The share of streams whose first token is in time. The alerts burn against the same objective.
TTFT_OBJECTIVE: Final = 0.99
# A loop busier than this has little room for a burst: replicas should be added before.
LOOP_BUSY_HIGH: Final = 0.6
LOOP_BUSY_FULL: Final = 0.85
# Judged on the median of actual over predicted TTFT: outside of half to double, choices suffer.
RATIO_LOW, RATIO_HIGH = 0.5, 2.0

# Gateways of one release say the same of their fleet; those of another have a fleet of their own.
RELEASE: Final = ("namespace", "job")
# On Kubernetes the pod's name is what one reads; elsewhere there is the address alone.
GATEWAYS: Final = ("pod", "instance")
GATEWAY_NAME: Final = "{{pod}} {{instance}}"

ALL: Final = Scope(
    {
        "namespace": Matching("$namespace"),
        "job": Matching("$job"),
        "model": Matching("$model"),
    },
    "$__rate_interval",
)
SERVED_BADLY: Final = one_of(*(outcome.value for outcome in UNSERVED))
STREAMS: Final = {"stream": "true"}
COLOURS: Final = {
    Outcome.OK.value: "green",
    Outcome.CLIENT_LEFT.value: "blue",
    Outcome.CLIENT_ERROR.value: "super-light-blue",
    Outcome.INVALID.value: "light-blue",
    Outcome.SHED.value: "yellow",
    Outcome.REFUSED.value: "orange",
    Outcome.ENGINE_ERROR.value: "red",
    Outcome.CUT.value: "dark-red",
    Outcome.UNREACHABLE.value: "purple",
    Outcome.RESET.value: "light-red",
    Outcome.TIMEOUT.value: "dark-orange",
    Outcome.DEADLINE.value: "dark-yellow",
    Outcome.INTERNAL.value: "#000000",
}
STATE_COLOURS: Final = {
    "healthy": "green",
    "joining": "blue",
    "draining": "super-light-blue",
    "not-ready": "yellow",
    "ejected": "orange",
    "down": "red",
}
GOOD_WHEN_HIGH: Final = (Step(None, "red"), Step(0.95, "yellow"), Step(TTFT_OBJECTIVE, "green"))
GOOD_WHEN_NONE: Final = (Step(None, "green"), Step(0.001, "yellow"), Step(0.01, "red"))
NO_KUBERNETES: Final = "endpoints come from the configuration or a file"
NOTHING_WENT_WRONG: Final = "nothing of the kind has happened"


def quantiles(panel: str, spec: Spec, says: str, **where: str) -> Panel:
    """The median, and two tails."""
    queries = tuple(
        Query(ALL.quantile(q, spec, **where), f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)
    )
    return Panel(panel, says, queries, Unit.SECONDS)


def number(title: str, says: str, expr: Expr, unit: Unit, steps: tuple[Step, ...]) -> Panel:
    """One number in the first row."""
    return Panel(title, says, (Query(expr, title),), unit, Look.NUMBER, 4, 5, steps)
