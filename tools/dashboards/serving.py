"""Rows about requests: are they served, how fast, and does the prefix cache help."""

from __future__ import annotations

from typing import Final

from cardan_router.telemetry import metrics

from tools.dashboards.grafana import Look, Panel, Query, Row, Step, Unit
from tools.dashboards.promql import (
    Expr,
    aggregate,
    happening,
    or_zero,
    ratio,
)
from tools.dashboards.shared import (
    ALL,
    COLOURS,
    GOOD_WHEN_HIGH,
    GOOD_WHEN_NONE,
    NOTHING_WENT_WRONG,
    RATIO_HIGH,
    RATIO_LOW,
    RELEASE,
    SERVED_BADLY,
    STREAMS,
    number,
    quantiles,
)


def _attainment(*by: str) -> Expr:
    return ratio(ALL.rate(metrics.SLO, *by, met="true"), ALL.rate(metrics.SLO, *by))


def _endpoints(which: str) -> Expr:
    return aggregate("sum", ALL.max(metrics.FLEET_ENDPOINTS, *RELEASE, "model", which=which))


GLANCE: Final = Row(
    "At a glance",
    (
        number(
            "Requests per second",
            "That ended, whatever became of them.",
            ALL.rate(metrics.REQUESTS),
            Unit.PER_SECOND,
            (Step(None, "blue"),),
        ),
        number(
            "First token in time",
            "Share of streams whose first token came within the promised time (`slo.ttft_ms`)."
            " Falling: look at saturation and balance below; more endpoints, or fewer requests.",
            _attainment(),
            Unit.SHARE,
            GOOD_WHEN_HIGH,
        ),
        number(
            "TTFT, p95",
            "Arrival to first token of streams, the gateway's queue included.",
            ALL.quantile(0.95, metrics.TTFT, **STREAMS),
            Unit.SECONDS,
            (Step(None, "green"), Step(2.0, "yellow"), Step(5.0, "red")),
        ),
        number(
            "ITL, p95",
            "Time between tokens of streams. Rising alone: engines decode too many at once.",
            ALL.quantile(0.95, metrics.INTER_TOKEN),
            Unit.SECONDS,
            (Step(None, "green"), Step(0.1, "yellow"), Step(0.25, "red")),
        ),
        number(
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
            "Endpoints that may be asked, of those that exist. Fewer: see their states below. One"
            " that serves several models counts for each.",
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
            (Query(happening(ALL.rate(metrics.REQUESTS, "outcome")), "{{outcome}}"),),
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
            width=6,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Shed, by reason",
            "`queue-full` and `queue-timeout`: engines have no room, add some. `no-endpoint`:"
            " nobody serves the model any more, look at its pods. Those that a gateway turns away"
            " while it stops are in the panel 'By outcome' alone.",
            (Query(happening(ALL.rate(metrics.SHED, "reason")), "{{reason}}"),),
            Unit.PER_SECOND,
            width=6,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Retries, by reason",
            "Requests sent again before their answer began (`stale`: where they were). Clients"
            " do not notice these; an endpoint that causes many is in the next panel.",
            (Query(happening(ALL.rate(metrics.RETRIES, "reason")), "{{reason}}"),),
            Unit.PER_SECOND,
            width=6,
            quiet=NOTHING_WENT_WRONG,
        ),
        Panel(
            "Failed dispatches, by endpoint",
            "One endpoint alone: restart it, look at its log. All of them: the network, or a"
            " change of what clients send.",
            (Query(ALL.rate(metrics.FAILURES, "endpoint", "failure"), "{{endpoint}} {{failure}}"),),
            Unit.PER_SECOND,
            width=6,
            quiet=NOTHING_WENT_WRONG,
        ),
    ),
)

LATENCY: Final = Row(
    "Latency and promises",
    (
        quantiles(
            "Time to first token",
            metrics.TTFT,
            "Of streams. The median follows the prefix cache, the tail follows queues.",
            **STREAMS,
        ),
        quantiles(
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
        quantiles(
            "Time in the gateway's queue",
            metrics.QUEUE,
            "Until the dispatch that was answered. More than milliseconds: all engines are full.",
        ),
        quantiles(
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
