"""Alert rules: few, each about something a person should do, each saying what.

Promises are watched by burn rate (Google's SRE workbook, chapter 5): an alert fires when the error
budget of the objective is being spent so fast that it matters, over a long window so that it is
sure and a short one so that it ends soon after the trouble does. All are by namespace and job, so
one rule file serves every gateway of a cluster.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_router.telemetry import metrics

from tools.dashboards.promql import Expr, Scope, aggregate, difference, gone, one_of, ratio, within
from tools.dashboards.shared import (
    LOOP_BUSY_FULL,
    RATIO_HIGH,
    RATIO_LOW,
    SERVED_BADLY,
    TTFT_OBJECTIVE,
)

if TYPE_CHECKING:
    from cardan_router.telemetry.registry import Spec

BUDGET: Final = 1 - TTFT_OBJECTIVE
# 14.4 times the even pace spends two per cent of a month's budget in an hour; three times spends a
# tenth in a day (the workbook's table).
FAST_BURN, SLOW_BURN = 14.4, 3.0
# Of a handful of requests one failure is a large share; that is no reason to wake anybody.
MIN_FAILURES: Final = 10
# Fewer prompt tokens a second than two or three requests a minute say little about predictions.
MIN_TOKENS_PER_S: Final = 50
WHOSE: Final = ("namespace", "job")
GATEWAY: Final = "{{ or $labels.pod $labels.instance }}"  # the pod's name, where there are pods
EACH: Final = (*WHOSE, "pod", "instance")


class Alert(NamedTuple):
    """One rule. `says` is what it means, `do` what to do about it. `holds` is Prometheus' `for`."""

    name: str
    expr: Expr
    holds: str
    severity: str
    summary: str
    says: str
    do: str


def over(window: str) -> Scope:
    """Everything there is, at rates over this window."""
    return Scope({}, window)


def _missed_share(window: str) -> Expr:
    by = (*WHOSE, "model")
    missed = over(window).rate(metrics.SLO, *by, met="false")
    return ratio(missed, over(window).rate(metrics.SLO, *by))


def _burns(factor: float, long: str, short: str) -> Expr:
    limit = f"{factor * BUDGET:.3g}"
    enough = over(long).increase(metrics.SLO, *WHOSE, "model", met="false")
    return Expr(
        f"{_missed_share(long)} > {limit}"
        f"\nand {_missed_share(short)} > {limit}"
        f"\nand {enough} >= {MIN_FAILURES}"
    )


def _not_served() -> Expr:
    """A large share now, and not one by chance: so many that a minute's only request counts too."""
    by = (*WHOSE, "model")
    failed = over("5m").rate(metrics.REQUESTS, *by, outcome=SERVED_BADLY)
    share = ratio(failed, over("5m").rate(metrics.REQUESTS, *by))
    enough = over("15m").increase(metrics.REQUESTS, *by, outcome=SERVED_BADLY)
    return Expr(f"{share} > 0.05\nand {enough} >= {MIN_FAILURES}")


def _above(expr: Expr, limit: float) -> Expr:
    return Expr(f"{expr} > {limit:g}")


def _happened(spec: Spec, window: str, **where: str) -> Expr:
    """At least once in the window: grown, or there where there was nothing.

    A counter's series begins with its first event, which `increase` therefore does not see.
    """
    scope = over(window)
    series = aggregate("sum", scope.select(spec, **where), *WHOSE)
    before = aggregate("sum", Expr(f"{scope.select(spec, **where)} offset {window}"), *WHOSE)
    return Expr(f"{scope.increase(spec, *WHOSE, **where)} > 0\nor ({series} unless {before}) > 0")


def _cached_apart() -> Expr:
    scope = over("30m")
    of = scope.rate(metrics.CACHED_OF, *WHOSE)
    apart = difference(
        scope.rate(metrics.CACHED_PREDICTED, *WHOSE), scope.rate(metrics.CACHED_ACTUAL, *WHOSE)
    )
    return Expr(f"abs({apart}) / {of} > 0.2\nand {of} > {MIN_TOKENS_PER_S}")


def _ttft_apart() -> Expr:
    scope = over("30m")
    actual, predicted = (
        scope.rate(spec, *WHOSE) for spec in (metrics.TTFT_ACTUAL, metrics.TTFT_PREDICTED)
    )
    share = ratio(actual, predicted)
    return Expr(f"({share} > {RATIO_HIGH:g} or {share} < {RATIO_LOW:g})")


def _no_endpoint() -> Expr:
    now = over("")
    gateways = now.count(metrics.BUILD, *WHOSE)
    routable = now.max(metrics.FLEET_ENDPOINTS, *WHOSE, which="routable")
    return Expr(f"{gateways} unless on ({', '.join(WHOSE)}) ({routable} > 0)")


def _model_without_endpoint() -> Expr:
    """A model whose endpoints are all unwell, or were there lately and are gone.

    A model without endpoints has no series. One that had some while gateways tell of others has
    lost them; where no gateway tells of anything, `_gateways_gone` does.
    """
    by = (*WHOSE, "model")
    now = over("").max(metrics.FLEET_ENDPOINTS, *by, which="routable")
    before = over("1h").highest(metrics.FLEET_ENDPOINTS, *by, which="routable")
    gateways = over("").select(metrics.BUILD)
    return Expr(f"{now} == 0\nor {within(gone(before, now), gateways, *WHOSE)}")


def _gateways_gone() -> Expr:
    """Nobody is left who could say what is wrong. It says so for six hours: a night's sleep."""
    before = over("6h").highest(metrics.BUILD, *WHOSE)
    return gone(before, over("").max(metrics.BUILD, *WHOSE))


ALERTS: Final[dict[str, tuple[Alert, ...]]] = {
    "cardan-promises": (
        Alert(
            "CardanTtftBudgetBurnsFast",
            _burns(FAST_BURN, "1h", "5m"),
            "2m",
            "critical",
            "{{ $labels.model }}: {{ $value | humanizePercentage }} of streams start too late",
            f"The objective is {TTFT_OBJECTIVE:.0%} in time; two per cent of a month's allowance"
            " are gone in an hour.",
            "Look at the dashboard's first row. Engines full (waiting, saturation): add some. One"
            " endpoint slow: drain it. Nothing of it: a change of what clients send.",
        ),
        Alert(
            "CardanTtftBudgetBurnsSlowly",
            _burns(SLOW_BURN, "1d", "2h"),
            "15m",
            "warning",
            "{{ $labels.model }}: {{ $value | humanizePercentage }} of streams start too late",
            f"The objective is {TTFT_OBJECTIVE:.0%} in time; at this pace a tenth of a month's"
            " allowance goes in a day.",
            "More capacity at the busy hours, or a promise (`slo`) that the engines can keep.",
        ),
        Alert(
            "CardanRequestsNotServed",
            _not_served(),
            "5m",
            "critical",
            "{{ $labels.model }}: {{ $value | humanizePercentage }} of requests fail",
            "More than one in twenty requests failed through no fault of the client.",
            "The panel 'By outcome' says how. `shed`: 'Shed, by reason' says why. `unreachable`,"
            " `reset`, `cut`, `engine-error`: engines that break; 'Failed dispatches' says which.",
        ),
        Alert(
            "CardanGatewayFaults",
            _happened(metrics.REQUESTS, "10m", outcome="internal"),
            "0m",
            "warning",
            "Requests failed by a fault of the gateway itself",
            "Outcome `internal`: a bug in Cardan.",
            "The gateway's log has a traceback with the request's id. Please report it.",
        ),
    ),
    "cardan-fleet": (
        Alert(
            "CardanNoEndpoint",
            _no_endpoint(),
            "1m",
            "critical",
            "No engine can be asked: every request waits or is answered 503",
            "No gateway of this job has a healthy endpoint of any model.",
            "Are there engine pods, are they Ready, and does discovery find them? The gateway's"
            " `/ui` lists what it knows and why each is not asked.",
        ),
        Alert(
            "CardanModelWithoutEndpoint",
            _model_without_endpoint(),
            "1m",
            "critical",
            "{{ $labels.model }}: no engine can be asked",
            "All endpoints of this model are down, ejected, not ready or draining, or they have"
            " gone within the hour.",
            "Are its pods there? Then the engines' own logs; the gateway's log says when each"
            " changed and why. A model that was taken away on purpose: silence it for an hour.",
        ),
        Alert(
            "CardanEndpointDown",
            Expr(
                str(
                    over("").max(
                        metrics.ENDPOINT_STATE,
                        *WHOSE,
                        "endpoint",
                        "state",
                        state=one_of("down", "ejected"),
                    )
                )
                + " == 1"
            ),
            "10m",
            "warning",
            "{{ $labels.endpoint }} has been {{ $labels.state }} for ten minutes",
            "At least one gateway sends it nothing, because it fails probes or requests.",
            "If its pod is Ready, gateway and engine disagree: look at the network between them,"
            " then restart the engine.",
        ),
        Alert(
            "CardanDiscoveryDisconnected",
            Expr(f"{over('').min(metrics.DISCOVERY_CONNECTED, *EACH)} == 0"),
            "5m",
            "warning",
            GATEWAY + " has not reached the Kubernetes API for five minutes",
            "The last known endpoints stay, so requests go on; new pods are not found.",
            "The gateway's log says what fails: the API server, the network policy, or the"
            " service account's rights.",
        ),
        Alert(
            "CardanDiscoverySilent",
            _above(over("").max(metrics.DISCOVERY_SILENCE, *EACH), 600),
            "0m",
            "warning",
            GATEWAY + ": the Kubernetes API said nothing for {{ $value | humanizeDuration }}",
            "A watch that lives speaks about once a minute. What changed since is not known.",
            "If other clients hear it, restart this gateway and report it.",
        ),
        Alert(
            "CardanEngineMetricsStale",
            _above(over("").max(metrics.SCRAPE_AGE, *WHOSE, "endpoint"), 60),
            "5m",
            "warning",
            "{{ $labels.endpoint }}: metrics are {{ $value | humanizeDuration }} old",
            "The engine answers, but its /metrics does not. Routing goes by the gateway's own"
            " accounting.",
            "Ask the engine's /metrics by hand; an engine whose API server is busy is the"
            " usual cause.",
        ),
    ),
    "cardan-belief": (
        Alert(
            "CardanCachePredictionsOff",
            _cached_apart(),
            "30m",
            "warning",
            "Predicted and reported cached tokens differ by {{ $value | humanizePercentage }}",
            "Of all prompt tokens. Requests go where their prefix no longer is.",
            "Do engines restart, or evict early (KV cache in use near 1)? Does other traffic reach"
            " them past the gateway? Then `fleet.shadow` holds more than they do.",
        ),
        Alert(
            "CardanTtftPredictionsOff",
            _ttft_apart(),
            "30m",
            "warning",
            "First tokens take {{ $value | humanize }} times as long as predicted",
            "Choices rest on wrong numbers.",
            "'Prefill speed as learned' shows an endpoint that is slower than its kind; 'Waiting"
            " in the engine' shows traffic that the gateway does not know.",
        ),
    ),
    "cardan-gateway": (
        Alert(
            "CardanGatewaysGone",
            _gateways_gone(),
            "2m",
            "critical",
            "No gateway tells anything: all are gone, or none can be scraped",
            "There were some within six hours. Clients are refused, or served without anybody"
            " seeing it: every other alert is silent.",
            "Are there gateway pods, and are they Ready? Then Prometheus' page of targets: a"
            " network policy, a label or a port that changed. Taken away on purpose, or scraped"
            " under another job's name now: silence it.",
        ),
        Alert(
            "CardanGatewayBusy",
            _above(over("").max(metrics.LOOP_BUSY, *EACH), LOOP_BUSY_FULL),
            "5m",
            "warning",
            GATEWAY + ": the event loop is busy {{ $value | humanizePercentage }}",
            "Requests wait for the gateway's CPU, whatever the engines do.",
            "More replicas, more workers with more CPU, or a higher CPU limit.",
        ),
        Alert(
            "CardanQueueFull",
            _above(over("").max(metrics.SATURATION, *EACH), 0.8),
            "2m",
            "warning",
            GATEWAY + ": its queue is {{ $value | humanizePercentage }} full",
            "Requests are about to be shed, because all engines are full.",
            "More engines. More gateways do not help.",
        ),
        Alert(
            "CardanGatewayNotReady",
            Expr(f"{over('').min(metrics.READY, *EACH)} == 0"),
            "10m",
            "warning",
            GATEWAY + " has not been ready for ten minutes",
            "No endpoint has answered it since it started, so it gets no traffic.",
            "Ask its /readyz: the answer says what is missing.",
        ),
        Alert(
            "CardanReloadFailed",
            Expr(f"{over('').min(metrics.CONFIG_OK, *EACH)} == 0"),
            "15m",  # longer than a gateway drains: see docs/how-to/monitoring.md
            "warning",
            GATEWAY + ": its last reload failed",
            "An older configuration is in force, and a restart would fail.",
            "The log names the field. `cardan router --config FILE --print-config` checks a file.",
        ),
        Alert(
            "CardanTasksRestart",
            _above(over("15m").increase(metrics.TASK_RESTARTS, *WHOSE, "task"), 3),
            "0m",
            "warning",
            "The background task {{ $labels.task }} keeps failing",
            "It is started again each time, but what it does may be late.",
            "The gateway's log has its tracebacks. Please report it.",
        ),
    ),
}
