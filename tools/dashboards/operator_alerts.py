"""Alerts about the operator, and about fleets that it cannot help: each names who has to act."""

from __future__ import annotations

from typing import Final

from cardan_controller.crds.status import ConditionType

from tools.dashboards import operator_metrics as metrics
from tools.dashboards.alerts import WHOSE, Alert, over
from tools.dashboards.promql import Expr, gone, one_of, ratio

FLEET: Final = (*WHOSE, "fleet_namespace", "fleet")
NAME: Final = "{{ $labels.fleet_namespace }}/{{ $labels.fleet }}"


def _untrue(*types: ConditionType) -> Expr:
    held = over("").max(metrics.CONDITIONS, *FLEET, "type", type=one_of(*types))
    return Expr(f"{held} == 0")


def _ticks_fail() -> Expr:
    failed = over("5m").rate(metrics.TICKS, *WHOSE, result="failed")
    return Expr(f"{ratio(failed, over('5m').rate(metrics.TICKS, *WHOSE))} > 0.5")


def _gone() -> Expr:
    before = over("6h").highest(metrics.LEADING, *WHOSE)
    return gone(before, over("").max(metrics.LEADING, *WHOSE))


OPERATOR_ALERTS: Final[dict[str, tuple[Alert, ...]]] = {
    "cardan-operator": (
        Alert(
            "CardanOperatorGone",
            _gone(),
            "5m",
            "critical",
            "No operator tells anything: all are gone, or none can be scraped",
            "There were some within six hours. Fleets keep the size they have.",
            "Are there operator pods, and are they Ready? Then Prometheus' page of targets. Taken"
            " away on purpose: silence it.",
        ),
        Alert(
            "CardanOperatorNotLeading",
            Expr(f"{over('').max(metrics.LEADING, *WHOSE)} == 0"),
            "3m",
            "critical",
            "No operator leads: fleets keep the size they have",
            "Operators run, and none holds the lease.",
            "Their logs say why: rights on the Lease, or an API server that does not answer. One"
            " of another release may hold it: `kubectl get lease cardan-controller -o yaml`.",
        ),
        Alert(
            "CardanOperatorTicksFail",
            _ticks_fail(),
            "5m",
            "critical",
            "{{ $value | humanizePercentage }} of the operator's ticks fail",
            "Fleets are looked after seldom, or not at all.",
            "The leader's log has a traceback for each. Please report it.",
        ),
        Alert(
            "CardanOperatorFleetFaults",
            Expr(f"{over('15m').increase(metrics.FAILURES, *WHOSE)} > 3"),
            "0m",
            "warning",
            "The operator fails at a fleet",
            "By a fault of its own; other fleets are looked after.",
            "The leader's log names the fleet and has a traceback. Please report it.",
        ),
    ),
    "cardan-fleets": (
        Alert(
            "CardanFleetRefused",
            _untrue(ConditionType.SPEC_VALID, ConditionType.ABLE_TO_SCALE),
            "5m",
            "warning",
            f"{NAME} is not scaled ({{{{ $labels.type }}}})",
            "Its specification cannot be decided by, or its target is not there or may not be"
            " scaled. It keeps its size.",
            "`kubectl describe fleet` has the message of the condition.",
        ),
        Alert(
            "CardanFleetMetricsUnhealthy",
            _untrue(ConditionType.METRICS_HEALTHY),
            "10m",
            "warning",
            f"{NAME}: demand is not known",
            "An input is old, missing or failed. The fleet grows by what is known and does not"
            " shrink.",
            "`status.metrics` says which. No gateway found: `spec.gateways` and the operator's"
            " `gateways.selector`. Prometheus: does it scrape gateways under the labels asked for?",
        ),
        Alert(
            "CardanFleetWithoutCapacity",
            _untrue(ConditionType.CAPACITY_AVAILABLE),
            "10m",
            "warning",
            f"{NAME} gets fewer replicas than it asks for",
            "Pods do not come up: no node has room, a quota is used up, or they start too slowly.",
            "`kubectl describe fleet` says which. More nodes, a larger quota, or a smaller"
            " `maxReplicas`.",
        ),
        Alert(
            "CardanFleetInConflict",
            Expr(
                str(
                    over("").max(
                        metrics.CONDITIONS, *FLEET, "type", type=ConditionType.CONFLICT.value
                    )
                )
                + " == 1"
            ),
            "5m",
            "warning",
            f"{NAME}: somebody else scales its target",
            "Two would write one number in turn, so the operator writes nothing.",
            "The condition names the other: remove it, or set `spec.mode: Recommend`.",
        ),
    ),
}
