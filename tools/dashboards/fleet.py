"""The fleet's dashboard: are requests served, how fast, is the prefix cache used, is the load even.

Read from the top: the first row says whether something is wrong, the rows below say what. Every
panel's description says what to do when it looks bad.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.ledger import Outcome
from cardan_router.telemetry import metrics
from cardan_router.telemetry.legend import UNSERVED

from tools.dashboards.grafana import Dashboard, Look, Panel, Query, Row, Step, Unit, Variable
from tools.dashboards.promql import (
    Expr,
    Matching,
    Scope,
    aggregate,
    difference,
    none_of,
    one_of,
    or_zero,
    ratio,
)

if TYPE_CHECKING:
    from cardan_router.telemetry.registry import Spec

# The share of streams whose first token is in time. The alerts burn against the same objective.
TTFT_OBJECTIVE: Final = 0.99
# A loop busier than this has little room for a burst: replicas should be added before.
LOOP_BUSY_HIGH: Final = 0.6
LOOP_BUSY_FULL: Final = 0.85
# Judged on the median of actual over predicted TTFT: outside of half to double, choices suffer.
RATIO_LOW, RATIO_HIGH = 0.5, 2.0

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


def _quantiles(panel: str, spec: Spec, says: str, **where: str) -> Panel:
    queries = tuple(
        Query(ALL.quantile(q, spec, **where), f"p{100 * q:g}") for q in (0.5, 0.95, 0.99)
    )
    return Panel(panel, says, queries, Unit.SECONDS)


def _number(title: str, says: str, expr: Expr, unit: Unit, steps: tuple[Step, ...]) -> Panel:
    return Panel(title, says, (Query(expr, title),), unit, Look.NUMBER, 4, 5, steps)


def _attainment(*by: str) -> Expr:
    return ratio(ALL.rate(metrics.SLO, *by, met="true"), ALL.rate(metrics.SLO, *by))


def _endpoints(which: str) -> Expr:
    return aggregate("sum", ALL.max(metrics.FLEET_ENDPOINTS, "model", which=which))


GLANCE: Final = Row(
    "At a glance",
    (
        _number(
            "Requests per second",
            "That ended, whatever became of them.",
            ALL.rate(metrics.REQUESTS),
            Unit.PER_SECOND,
            (Step(None, "blue"),),
        ),
        _number(
            "First token in time",
            "Share of streams whose first token came within the promised time (`slo.ttft_ms`)."
            " Falling: look at saturation and balance below; more endpoints, or fewer requests.",
            _attainment(),
            Unit.SHARE,
            GOOD_WHEN_HIGH,
        ),
        _number(
            "TTFT, p95",
            "Arrival to first token of streams, the gateway's queue included.",
            ALL.quantile(0.95, metrics.TTFT, **STREAMS),
            Unit.SECONDS,
            (Step(None, "green"), Step(2.0, "yellow"), Step(5.0, "red")),
        ),
        _number(
            "ITL, p95",
            "Time between tokens of streams. Rising alone: engines decode too many at once.",
            ALL.quantile(0.95, metrics.INTER_TOKEN),
            Unit.SECONDS,
            (Step(None, "green"), Step(0.1, "yellow"), Step(0.25, "red")),
        ),
        _number(
            "Not served",
            "Share of requests that failed through no fault of the client. The panel below says"
            " how: `shed` is lack of engines, most others are engines that break.",
            or_zero(
                ratio(
                    ALL.rate(metrics.REQUESTS, outcome=SERVED_BADLY),
                    ALL.rate(metrics.REQUESTS),
                )
            ),
            Unit.SHARE,
            GOOD_WHEN_NONE,
        ),
        Panel(
            "Endpoints",
            "Endpoints that may be asked, of those that exist. Fewer: see their states below.",
            (Query(_endpoints("routable"), "routable"), Query(_endpoints("all"), "all")),
            Unit.COUNT,
            Look.NUMBER,
            4,
            5,
            (Step(None, "red"), Step(1, "green")),
        ),
    ),
)

REQUESTS: Final = Row(
    "Requests",
    (
        Panel(
            "By outcome",
            "What became of requests. Everything but `ok`, `client-error`, `client-left` and"
            " `invalid` is a failure to serve; the words are explained on the gateway's `/ui`.",
            (Query(ALL.rate(metrics.REQUESTS, "outcome"), "{{outcome}}"),),
            Unit.PER_SECOND,
            stacked=True,
            colours=COLOURS,
        ),
        Panel(
            "By model",
            "`other` are models that nobody here serves: clients that ask for the wrong name.",
            (Query(ALL.rate(metrics.REQUESTS, "model"), "{{model}}"),),
            Unit.PER_SECOND,
            stacked=True,
        ),
        Panel(
            "Tokens",
            "Prompt and generated tokens as engines reported them.",
            (
                Query(ALL.rate(metrics.PROMPT_TOKENS), "prompt"),
                Query(ALL.rate(metrics.COMPLETION_TOKENS), "generated"),
            ),
            Unit.TOKENS_PER_SECOND,
            quiet="of streams, engines tell only if the client asks (`stream_options:"
            " {include_usage: true}`)",
        ),
        Panel(
            "Refused at the door, by code",
            "Requests that were not admitted: no key, no readable request, too large. It is the"
            " clients who must change; the access log says which. They are in no other panel.",
            (Query(ALL.rate(metrics.REJECTS, "code"), "{{code}}"),),
            Unit.PER_SECOND,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Retries, by reason",
            "Requests sent to another endpoint before their answer began. Clients do not notice"
            " these; an endpoint that causes many is in the next panel.",
            (Query(ALL.rate(metrics.RETRIES, "reason"), "{{reason}}"),),
            Unit.PER_SECOND,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Failed dispatches, by endpoint",
            "One endpoint alone: restart it, look at its log. All of them: the network, or a"
            " change of what clients send.",
            (Query(ALL.rate(metrics.FAILURES, "endpoint", "failure"), "{{endpoint}} {{failure}}"),),
            Unit.PER_SECOND,
            quiet=NOTHING_WENT_WRONG,
        ),
    ),
)

LATENCY: Final = Row(
    "Latency and promises",
    (
        _quantiles(
            "Time to first token",
            metrics.TTFT,
            "Of streams. The median follows the prefix cache, the tail follows queues.",
            **STREAMS,
        ),
        _quantiles(
            "Time between tokens",
            metrics.INTER_TOKEN,
            "Of all streams. Steps of 10 to 60 ms are an engine's pace; a tail of seconds is an"
            " engine that stops to prefill or preempts: less in flight per engine.",
        ),
        Panel(
            "First token in time, by model",
            "The dashed line is the objective that the alerts burn against. Which promise holds"
            " is `slo` in the configuration, or the request's `x-slo-ttft-ms`.",
            (Query(_attainment("model"), "{{model}}"),),
            Unit.SHARE,
            steps=GOOD_WHEN_HIGH,
            highest=1.0,
        ),
        Panel(
            "Time to first token, all of it",
            "How the times are spread: two bands are cache hits and misses.",
            (Query(ALL.heat(metrics.TTFT, **STREAMS)),),
            Unit.SECONDS,
            Look.HEAT,
        ),
        _quantiles(
            "Time in the gateway's queue",
            metrics.QUEUE,
            "Until the dispatch that was answered. More than milliseconds: all engines are full.",
        ),
        _quantiles(
            "Time to the end of the answer",
            metrics.DURATION,
            "Mostly how much clients ask to be generated.",
        ),
    ),
)

_REPORTED: Final = ALL.rate(metrics.CACHED_OF)
CACHE: Final = Row(
    "Prefix cache and predictions",
    (
        Panel(
            "Prompt tokens found in the cache",
            "What the gateway predicted, and what engines reported of the same requests. Apart:"
            " engines evict sooner than believed, or restarted. Both low: prompts share little,"
            " or the policy spreads them.",
            (
                Query(ratio(ALL.rate(metrics.CACHED_PREDICTED), _REPORTED), "predicted"),
                Query(ratio(ALL.rate(metrics.CACHED_ACTUAL), _REPORTED), "reported"),
            ),
            Unit.SHARE,
            highest=1.0,
            quiet="engines report cached tokens only when told to (vLLM:"
            " --enable-prompt-tokens-details, SGLang: --enable-cache-report), and of streams only"
            " if the client asks (`stream_options: {include_usage: true}`)",
        ),
        Panel(
            "Actual over predicted TTFT",
            "1 is a perfect prediction. A median outside of the dashed lines means that choices"
            " rest on wrong numbers: an endpoint slower than its kind, or other traffic on the"
            " engines that the gateway does not see.",
            tuple(
                Query(ALL.quantile(q, metrics.TTFT_RATIO), f"p{100 * q:g}") for q in (0.1, 0.5, 0.9)
            ),
            Unit.NONE,
            steps=(Step(None, "red"), Step(RATIO_LOW, "green"), Step(RATIO_HIGH, "red")),
        ),
        Panel(
            "Decisions, by reason",
            "`warm` is affinity at work, `switch` and `spill` are load winning over it, `hopeless`"
            " means that nobody can keep the promise: too few engines.",
            (Query(ALL.rate(metrics.DECISIONS, "reason"), "{{reason}}"),),
            Unit.PER_SECOND,
            stacked=True,
        ),
    ),
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
                Query(_busiest(ALL.sum(metrics.IN_FLIGHT, "endpoint")), "in flight"),
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
                    aggregate("sum", ALL.max(metrics.ENDPOINT_STATE, "endpoint", "state"), "state"),
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
            (Query(ALL.rate(metrics.CPU, *GATEWAYS), GATEWAY_NAME),),
            Unit.NONE,
        ),
        Panel(
            "Memory, by gateway",
            "Resident, summed over workers. It follows the bodies in flight.",
            (Query(ALL.sum(metrics.RSS, *GATEWAYS), GATEWAY_NAME),),
            Unit.BYTES,
        ),
        _quantiles(
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
