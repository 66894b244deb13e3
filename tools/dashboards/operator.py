"""The operator's dashboard: do fleets have what they need, if not why, and does the operator work.

Read from the top, as the gateways': the first row says whether something is wrong, the others what.
"""

from __future__ import annotations

from typing import Final

from cardan_controller.crds.status import ConditionType
from cardan_router.telemetry import metrics as gateways

from tools.dashboards import operator_metrics as metrics
from tools.dashboards.grafana import Dashboard, Panel, Query, Row, Step, Unit, Variable
from tools.dashboards.promql import (
    Expr,
    Matching,
    Scope,
    aggregate,
    difference,
    happening,
    one_of,
    or_zero,
)
from tools.dashboards.shared import GATEWAY_NAME, GATEWAYS, NOTHING_WENT_WRONG, number

FLEET: Final = ("fleet_namespace", "fleet")
POOL: Final = (*FLEET, "pool")
FLEET_NAME: Final = "{{fleet_namespace}}/{{fleet}}"
POOL_NAME: Final = f"{FLEET_NAME} {{{{pool}}}}"
# What should be so, and what should not.
GOOD: Final = (
    ConditionType.SPEC_VALID,
    ConditionType.ABLE_TO_SCALE,
    ConditionType.METRICS_HEALTHY,
    ConditionType.CAPACITY_AVAILABLE,
    ConditionType.READY,
)
BAD: Final = (ConditionType.CONFLICT, ConditionType.SCALING_LIMITED)

ALL: Final = Scope(
    {"namespace": Matching("$namespace"), "job": Matching("$job"), "fleet": Matching("$fleet")},
    "$__rate_interval",
)
NO_FLEET: Final = "there is no fleet"
ONE_IS_RIGHT: Final = (Step(None, "red"), Step(1, "green"), Step(2, "red"))
NONE_IS_RIGHT: Final = (Step(None, "green"), Step(1, "red"))
BLUE: Final = (Step(None, "blue"),)


def _replicas(which: str) -> Expr:
    return ALL.max(metrics.REPLICAS, *POOL, which=which)


def _summed(which: str) -> Expr:
    return or_zero(aggregate("sum", _replicas(which)))


def _untrue(*types: ConditionType) -> Expr:
    """1 for each condition of these that does not hold."""
    held = ALL.max(metrics.CONDITIONS, *FLEET, "type", type=one_of(*types))
    return Expr(f"({held}) == bool 0")


def _true(*types: ConditionType) -> Expr:
    return ALL.max(metrics.CONDITIONS, *FLEET, "type", type=one_of(*types))


GLANCE: Final = Row(
    "At a glance",
    (
        number(
            "Operators that lead",
            "One. None: no fleet is looked after; the pods' logs say why.",
            ALL.sum(metrics.LEADING),
            Unit.COUNT,
            ONE_IS_RIGHT,
        ),
        number("Fleets", "Those that are looked after.", ALL.max(metrics.FLEETS), Unit.COUNT, BLUE),
        number(
            "Replicas wanted",
            "Decided, of all fleets.",
            _summed("desired"),
            Unit.COUNT,
            BLUE,
        ),
        number(
            "Replicas ready",
            "Of all fleets; fewer than wanted while some start.",
            _summed("ready"),
            Unit.COUNT,
            BLUE,
        ),
        number(
            "Without capacity",
            "Fleets that get fewer replicas than they ask for: no node has room, or a quota is"
            " used up. `kubectl describe fleet` says which.",
            or_zero(aggregate("sum", _untrue(ConditionType.CAPACITY_AVAILABLE))),
            Unit.COUNT,
            NONE_IS_RIGHT,
        ),
        number(
            "Without measurements",
            "Fleets whose demand is not known well enough to shrink them, or at all.",
            or_zero(aggregate("sum", _untrue(ConditionType.METRICS_HEALTHY))),
            Unit.COUNT,
            NONE_IS_RIGHT,
        ),
    ),
)

REPLICAS: Final = Row(
    "Replicas",
    (
        Panel(
            "Wanted, by pool",
            "What was decided. Up and down within minutes at a steady load: widen"
            " `behavior.scaleDown.stabilizationWindowSeconds`. Why each number: `status.pools[]`.",
            (Query(_replicas("desired"), POOL_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "Ready, by pool",
            "Below what is wanted for longer than a cold start: engines that do not come up.",
            (Query(_replicas("ready"), POOL_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "Wanted and not asked for, by pool",
            "Decided, and not in the target's scale: drains that are under way (below zero), a"
            " fleet that is paused or only recommended for.",
            (Query(difference(_replicas("desired"), _replicas("current")), POOL_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "On the way, by pool",
            "Asked for and not ready. Long: no node, no image, or a slow start.",
            (Query(_replicas("pending"), POOL_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "Draining, by pool",
            "They finish what they run and get nothing new.",
            (Query(_replicas("draining"), POOL_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "Requests that gateways hold",
            "For models that have no replica. The operator is told of the first.",
            (Query(ALL.sum(gateways.HELD, "model"), "{{model}}"),),
            Unit.COUNT,
            quiet="nobody waits, or gateways are elsewhere",
        ),
    ),
)

WHY: Final = Row(
    "What stands in the way",
    (
        Panel(
            "Not as it should be",
            "Conditions that do not hold. `CapacityAvailable`: no room. `MetricsHealthy`: demand"
            " not known. `AbleToScale`: a target that is not there or may not be scaled."
            " `SpecValid`: the specification cannot be decided by. `Ready`: replicas missing.",
            (Query(happening(_untrue(*GOOD)), f"{FLEET_NAME} {{{{type}}}}"),),
            Unit.NONE,
            stacked=True,
            quiet="all fleets are well",
        ),
        Panel(
            "Limited, or in conflict",
            "`ScalingLimited`: a bound or a rate of the specification holds it. `Conflict`:"
            " somebody else scales its target, so nothing is written; remove one of the two.",
            (Query(happening(_true(*BAD)), f"{FLEET_NAME} {{{{type}}}}"),),
            Unit.NONE,
            stacked=True,
            quiet="nothing holds any fleet",
        ),
        Panel(
            "Inputs that are not fresh",
            "Missing, old or failed. Gateways that cannot be scraped, or a Prometheus that is"
            " behind; `status.metrics` has the words.",
            (
                Query(
                    happening(Expr(f"({ALL.max(metrics.FRESH, *FLEET, 'input')}) == bool 0")),
                    f"{FLEET_NAME} {{{{input}}}}",
                ),
            ),
            Unit.NONE,
            stacked=True,
            quiet="all inputs are fresh",
        ),
        Panel(
            "Moves of hot prefixes in force",
            "Prefixes with more owners, endpoints that own less. `status.hotSpots` says what each"
            " cost. Many for long: more replicas, or prompts that share one prefix too much.",
            (Query(ALL.max(metrics.MOVES, *FLEET), FLEET_NAME),),
            Unit.COUNT,
            quiet=NO_FLEET,
        ),
        Panel(
            "Fleets woken",
            "By a gateway that somebody waits at. Often: `scaleToZero.idleSeconds` is too short.",
            (Query(ALL.increase(metrics.WAKES), "woken"),),
            Unit.COUNT,
            quiet="nobody slept",
        ),
    ),
)

OPERATOR: Final = Row(
    "The operator itself",
    (
        Panel(
            "Time of a tick",
            "Over all fleets. Seconds: very many fleets, or a metrics source that is slow.",
            tuple(
                Query(ALL.quantile(q, metrics.TICK_SECONDS), f"p{100 * q:g}") for q in (0.5, 0.99)
            ),
            Unit.SECONDS,
        ),
        Panel(
            "Ticks, by result",
            "`failed` has a traceback in the leader's log; the next tick is made all the same.",
            (Query(ALL.rate(metrics.TICKS, "result"), "{{result}}"),),
            Unit.PER_SECOND,
            stacked=True,
            colours={"ok": "green", "failed": "red"},
        ),
        Panel(
            "Writes, by what and result",
            "None while fleets are at rest. `forbidden`: a right is missing, see the log.",
            (Query(ALL.rate(metrics.WRITES, "what", "result"), "{{what}} {{result}}"),),
            Unit.PER_SECOND,
            quiet="nothing had to be written",
        ),
        Panel(
            "Queries that got no answer",
            "Of the last tick: the Prometheus, or the gateways' pages.",
            (Query(ALL.max(metrics.FAILED_QUERIES, *GATEWAYS), GATEWAY_NAME),),
            Unit.COUNT,
            steps=NONE_IS_RIGHT,
        ),
        Panel(
            "What watches hear",
            "Events, whole lists that had to be asked anew, and errors.",
            (
                Query(ALL.rate(metrics.EVENTS, "type"), "{{type}}"),
                Query(ALL.rate(metrics.RELISTS, "reason"), "list: {{reason}}"),
                Query(ALL.rate(metrics.ERRORS, "reason"), "error: {{reason}}"),
            ),
            Unit.PER_SECOND,
            quiet="nothing has changed",
        ),
        Panel(
            "Who leads",
            "One at a time. Changes without a rollout: an API server that answers late, or a"
            " starved CPU.",
            (Query(happening(ALL.max(metrics.LEADING, *GATEWAYS)), GATEWAY_NAME),),
            Unit.NONE,
            stacked=True,
        ),
        Panel(
            "Fleets it failed at",
            "By a fault of its own: the log has a traceback. Please report it.",
            (Query(ALL.increase(metrics.FAILURES), "fleets"),),
            Unit.COUNT,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "CPU cores, by operator",
            "A tick over 500 fleets takes seconds of one.",
            (Query(ALL.sum_within(metrics.LEADING, gateways.CPU, *GATEWAYS), GATEWAY_NAME),),
            Unit.NONE,
        ),
        Panel(
            "Memory, by operator",
            "Resident. It follows the pods that are watched.",
            (Query(ALL.sum_within(metrics.LEADING, gateways.RSS, *GATEWAYS), GATEWAY_NAME),),
            Unit.BYTES,
        ),
    ),
)

_HERE: Final = Scope({"namespace": Matching("$namespace"), "job": Matching("$job")}, "")
OPERATOR_DASHBOARD: Final = Dashboard(
    uid="cardan-operator",
    title="Cardan / Operator",
    says="What fleets want and have, what stands in the way, and how the operator does.",
    variables=(
        Variable("namespace", "Namespace", Scope({}, "").select(metrics.LEADING), "namespace"),
        Variable(
            "job",
            "Operator",
            Scope({"namespace": Matching("$namespace")}, "").select(metrics.LEADING),
            "job",
        ),
        Variable("fleet", "Fleet", _HERE.select(metrics.REPLICAS), "fleet"),
    ),
    rows=(GLANCE, REPLICAS, WHY, OPERATOR),
)
