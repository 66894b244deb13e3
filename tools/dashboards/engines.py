"""Rows about those who serve: the engines, how they are found, and the gateway itself."""

from __future__ import annotations

from typing import Final

from cardan_router.telemetry import metrics

from tools.dashboards.grafana import Panel, Query, Row, Step, Unit
from tools.dashboards.promql import (
    Expr,
    aggregate,
    difference,
    none_of,
    ratio,
)
from tools.dashboards.shared import (
    ALL,
    GATEWAY_NAME,
    GATEWAYS,
    LOOP_BUSY_FULL,
    LOOP_BUSY_HIGH,
    NO_KUBERNETES,
    NOTHING_WENT_WRONG,
    RELEASE,
    STATE_COLOURS,
    quantiles,
)


def _busiest(per_endpoint: Expr) -> Expr:
    """How much more than the mean the endpoint has that has most."""
    return ratio(aggregate("max", per_endpoint), aggregate("avg", per_endpoint))


_UNCACHED: Final = difference(
    ALL.rate(metrics.ENDPOINT_TOKENS, "endpoint"), ALL.rate(metrics.ENDPOINT_HIT_TOKENS, "endpoint")
)
BALANCE: Final = Row(
    "Balance between endpoints",
    (
        Panel(
            "In flight, by endpoint",
            "Requests sent and not ended, summed over the gateways.",
            (Query(ALL.sum(metrics.IN_FLIGHT, "endpoint"), "{{endpoint}}"),),
            Unit.COUNT,
        ),
        Panel(
            "Busiest endpoint over the mean",
            "1 is perfectly even. Above 2 for long: one prefix is hotter than two endpoints can"
            " carry, or an endpoint is slower than the others.",
            (
                Query(_busiest(ALL.smooth(metrics.IN_FLIGHT, "endpoint")), "in flight"),
                Query(_busiest(ALL.rate(metrics.ENDPOINT_REQUESTS, "endpoint")), "requests"),
                Query(_busiest(_UNCACHED), "uncached tokens"),
            ),
            Unit.NONE,
            quiet="nothing was in flight",
        ),
        Panel(
            "Requests, by endpoint",
            "An endpoint without any while others are busy is draining, ejected or not joined.",
            (Query(ALL.rate(metrics.ENDPOINT_REQUESTS, "endpoint"), "{{endpoint}}"),),
            Unit.PER_SECOND,
        ),
        Panel(
            "Waiting in the engine",
            "As the engine's own metrics say. Waiting everywhere: more engines. In one alone, and"
            " more than is in flight here: somebody else uses that engine too.",
            (Query(ALL.max(metrics.ENGINE_WAITING, "endpoint"), "{{endpoint}}"),),
            Unit.COUNT,
            quiet="engines' metrics are read only if the policy asks, or `scrape.when` is always",
        ),
        Panel(
            "KV cache in use",
            "As the engine's own metrics say. At 1 an engine preempts: fewer requests in flight,"
            " shorter contexts, or more engines.",
            (Query(ALL.max(metrics.ENGINE_KV_USED, "endpoint"), "{{endpoint}}"),),
            Unit.SHARE,
            highest=1.0,
            quiet="engines' metrics are read only if the policy asks, or `scrape.when` is always",
        ),
        Panel(
            "Prefill speed as learned",
            "Uncached prompt tokens a second. One endpoint far below its kind is a slow machine.",
            (Query(ALL.max(metrics.PREFILL_RATE, "endpoint"), "{{endpoint}}"),),
            Unit.TOKENS_PER_SECOND,
        ),
    ),
)

FLEET: Final = Row(
    "Fleet and discovery",
    (
        Panel(
            "Endpoints, by state",
            "`joining` has not answered introspection, `not-ready` says so itself, `ejected` failed"
            " requests, `down` answers no probe. The gateway's log says why, once for each change.",
            (
                Query(
                    aggregate(
                        "sum",
                        ALL.max(metrics.ENDPOINT_STATE, *RELEASE, "endpoint", "state"),
                        "state",
                    ),
                    "{{state}}",
                ),
            ),
            Unit.COUNT,
            stacked=True,
            colours=STATE_COLOURS,
        ),
        Panel(
            "Kubernetes API, by gateway",
            "1 while it answers. At 0 the last known endpoints stay: requests go on, but new pods"
            " are not found, and those that are gone fail once before they are left alone.",
            (Query(ALL.min(metrics.DISCOVERY_CONNECTED, *GATEWAYS), GATEWAY_NAME),),
            Unit.NONE,
            steps=(Step(None, "red"), Step(1, "green")),
            highest=1.0,
            quiet=NO_KUBERNETES,
        ),
        Panel(
            "What discovery hears",
            "Events of pods and slices, and whole lists that had to be asked anew. Lists other"
            " than at the start and now and then: the API server drops watches.",
            (
                Query(ALL.rate(metrics.DISCOVERY_EVENTS, "type"), "{{type}}"),
                Query(ALL.rate(metrics.DISCOVERY_RELISTS, "reason"), "list: {{reason}}"),
                Query(ALL.rate(metrics.DISCOVERY_ERRORS, "reason"), "error: {{reason}}"),
            ),
            Unit.PER_SECOND,
            quiet=NO_KUBERNETES,
        ),
        Panel(
            "Since the Kubernetes API was heard",
            "It says something about once a minute even when nothing changes.",
            (Query(ALL.max(metrics.DISCOVERY_SILENCE, *GATEWAYS), GATEWAY_NAME),),
            Unit.SECONDS,
            quiet=NO_KUBERNETES,
        ),
        Panel(
            "Probes and scrapes that failed",
            "Health probes, introspections and readings of engines' metrics, by what went wrong.",
            (
                Query(ALL.rate(metrics.PROBES, "result", result=none_of("ok")), "probe {{result}}"),
                Query(
                    ALL.rate(metrics.SCRAPES, "result", result=none_of("ok")), "scrape {{result}}"
                ),
            ),
            Unit.PER_SECOND,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Age of engines' metrics",
            "Older than a few seconds: the gateway goes by its own accounting, which is less good"
            " when engines have other clients too.",
            (Query(ALL.max(metrics.SCRAPE_AGE, "endpoint"), "{{endpoint}}"),),
            Unit.SECONDS,
            quiet="engines' metrics are read only if the policy asks, or `scrape.when` is always",
        ),
    ),
)

GATEWAY: Final = Row(
    "The gateway itself",
    (
        Panel(
            "Event loop busy, by gateway",
            "Share of time in which the busiest worker had work. Scale the gateway on this: above"
            " the first line add replicas, above the second requests wait for the gateway.",
            (Query(ALL.max(metrics.LOOP_BUSY, *GATEWAYS), GATEWAY_NAME),),
            Unit.SHARE,
            steps=(
                Step(None, "green"),
                Step(LOOP_BUSY_HIGH, "yellow"),
                Step(LOOP_BUSY_FULL, "red"),
            ),
            highest=1.0,
        ),
        Panel(
            "Waiting for an endpoint",
            "Requests in the gateway's queue. They wait because every endpoint is full, or none"
            " is there: more engines, not more gateways.",
            (Query(ALL.sum(metrics.QUEUED, *GATEWAYS), GATEWAY_NAME),),
            Unit.COUNT,
        ),
        Panel(
            "How full the queue is",
            "At 1 the gateway sheds. Scale the engines, or raise `admission`.",
            (Query(ALL.max(metrics.SATURATION, *GATEWAYS), GATEWAY_NAME),),
            Unit.SHARE,
            steps=(Step(None, "green"), Step(0.5, "yellow"), Step(0.8, "red")),
            highest=1.0,
        ),
        Panel(
            "CPU cores, by gateway",
            "One worker uses one core at most.",
            (Query(ALL.sum_within(metrics.BUILD, metrics.CPU, *GATEWAYS), GATEWAY_NAME),),
            Unit.NONE,
        ),
        Panel(
            "Memory, by gateway",
            "Resident, summed over workers. It follows the bodies in flight.",
            (Query(ALL.sum_within(metrics.BUILD, metrics.RSS, *GATEWAYS), GATEWAY_NAME),),
            Unit.BYTES,
        ),
        quantiles(
            "Time that a decision takes",
            metrics.DECISION_TIME,
            "Tens of microseconds. More: very many endpoints, or a starved CPU.",
        ),
        Panel(
            "Connections of clients",
            "Open, by gateway. Uneven after a rollout, until clients reconnect.",
            (Query(ALL.sum(metrics.CLIENTS, *GATEWAYS), GATEWAY_NAME),),
            Unit.COUNT,
        ),
        Panel(
            "Gateways, by version",
            "Two versions at once: a rollout is under way, or stuck.",
            (Query(ALL.count(metrics.BUILD, "version", "policy"), "{{version}} {{policy}}"),),
            Unit.COUNT,
            stacked=True,
        ),
        Panel(
            "What should not happen",
            "Background tasks that failed and were started again, log lines that were dropped,"
            " reloads that failed: each has a line in the gateway's log.",
            (
                Query(ALL.increase(metrics.TASK_RESTARTS, "task"), "restarted: {{task}}"),
                Query(ALL.increase(metrics.LOG_DROPPED), "log lines dropped"),
                Query(ALL.increase(metrics.RELOADS, result="failed"), "reloads failed"),
            ),
            Unit.COUNT,
            quiet=NOTHING_WENT_WRONG,
        ),
    ),
)
