"""The fleet's dashboard: are requests served, how fast, is the prefix cache used, is the load even.

Read from the top: the first row says whether something is wrong, the rows below say what. Every
panel's description says what to do when it looks bad.
"""

from __future__ import annotations

from typing import Final

from cardan_router.telemetry import metrics

from tools.dashboards.engines import BALANCE, FLEET, GATEWAY
from tools.dashboards.grafana import Dashboard, Variable
from tools.dashboards.promql import Matching, Scope
from tools.dashboards.serving import CACHE, GLANCE, LATENCY, REQUESTS

_HERE: Final = Scope({"namespace": Matching("$namespace"), "job": Matching("$job")}, "")
FLEET_DASHBOARD: Final = Dashboard(
    uid="cardan-fleet",
    title="Cardan / Fleet",
    says="Requests, latency, prefix cache, balance and health of one or more Cardan gateways.",
    variables=(
        Variable("namespace", "Namespace", Scope({}, "").select(metrics.BUILD), "namespace"),
        Variable(
            "job",
            "Gateway",
            Scope({"namespace": Matching("$namespace")}, "").select(metrics.BUILD),
            "job",
        ),
        Variable("model", "Model", _HERE.select(metrics.REQUESTS), "model"),
    ),
    rows=(GLANCE, REQUESTS, LATENCY, CACHE, BALANCE, FLEET, GATEWAY),
)
