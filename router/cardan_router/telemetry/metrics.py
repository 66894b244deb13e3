"""Every metric of the gateway. `docs/reference/metrics.md` is generated from this list.

Labels are bounded: models are those of the fleet (others are `other`), endpoints are those that
exist (the series of one that left are dropped), all else are closed sets of words. Tenants and
request ids are never labels; they are in the access log.
"""

from __future__ import annotations

from typing import Final

from cardan_router.telemetry import moving
from cardan_router.telemetry.registry import Kind, Spec

# From a cache hit on a small model (10 ms) to a prefill of 100k tokens behind a queue; finer than
# the engines' own (SGLang's first bucket is 0.1 s), because SLOs under 100 ms exist.
TTFT_BUCKETS_S: Final = (
    0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 0.75, 1.0, 1.5, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0
)  # fmt: skip
# A decode step is 2 to 60 ms; a second between tokens is a stall.
GAP_BUCKETS_S: Final = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1.0, 5.0)
DURATION_BUCKETS_S: Final = (
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0
)  # fmt: skip
QUEUE_BUCKETS_S: Final = (0.001, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
DECISION_BUCKETS_S: Final = (
    10e-6, 25e-6, 50e-6, 100e-6, 150e-6, 250e-6, 400e-6, 1e-3, 2.5e-3, 10e-3
)  # fmt: skip
RATIO_BUCKETS: Final = (0.1, 0.25, 0.5, 0.67, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0, 10.0)

REQUESTS = Spec(
    "cardan_requests_total",
    Kind.COUNTER,
    "Requests by what became of them.",
    ("api", "model", "outcome"),
)
TTFT = Spec(
    "cardan_time_to_first_token_seconds",
    Kind.HISTOGRAM,
    "Arrival of the complete request to the first byte of the answer, time in the gateway's queue"
    " included. Of answers that are not streamed, the first byte is nearly the last.",
    ("api", "model", "stream"),
    TTFT_BUCKETS_S,
)
INTER_TOKEN = Spec(
    "cardan_inter_token_seconds",
    Kind.HISTOGRAM,
    "Time between two reads of a streamed answer that has begun: the inter-token latency, since"
    " engines write one event a token. Tokens that come in one read count as one.",
    (),
    GAP_BUCKETS_S,
)
DURATION = Spec(
    "cardan_request_duration_seconds",
    Kind.HISTOGRAM,
    "Arrival of the complete request to the end of the answer.",
    ("api", "model"),
    DURATION_BUCKETS_S,
)
SLO = Spec(
    "cardan_slo_requests_total",
    Kind.COUNTER,
    "Streamed requests by whether their first token came within the time promised (`slo`, or the"
    " request's own). Those that could not be served count as `false`; those that were wrong, or"
    " given up before the time was over, are not counted.",
    ("model", "met"),
)
QUEUE = Spec(
    "cardan_queue_seconds",
    Kind.HISTOGRAM,
    "Arrival to dispatch to the endpoint that answered: the gateway's own queue and tries that"
    " failed.",
    ("model",),
    QUEUE_BUCKETS_S,
)
DECISION_TIME = Spec(
    "cardan_decision_seconds",
    Kind.HISTOGRAM,
    "Time that a routing decision took.",
    (),
    DECISION_BUCKETS_S,
)
DECISIONS = Spec(
    "cardan_decisions_total",
    Kind.COUNTER,
    "Routing decisions of requests that ended, by reason.",
    ("reason",),
)
TTFT_RATIO = Spec(
    "cardan_ttft_actual_to_predicted_ratio",
    Kind.HISTOGRAM,
    "Measured over predicted time to first token of streams, counted from their dispatch.",
    ("model",),
    RATIO_BUCKETS,
)
TTFT_PREDICTED = Spec(
    "cardan_ttft_predicted_seconds_total",
    Kind.COUNTER,
    "Predicted times to first token, summed over the streams that had one.",
    ("endpoint",),
)
TTFT_ACTUAL = Spec(
    "cardan_ttft_actual_seconds_total",
    Kind.COUNTER,
    "Measured times to first token of the same streams, from their dispatch.",
    ("endpoint",),
)
CACHED_PREDICTED = Spec(
    "cardan_cached_tokens_predicted_total",
    Kind.COUNTER,
    "Prompt tokens that were predicted to be cached, of requests whose engine reported the truth.",
    ("endpoint",),
)
CACHED_ACTUAL = Spec(
    "cardan_cached_tokens_actual_total",
    Kind.COUNTER,
    "Prompt tokens that the engine found in its cache, of the same requests.",
    ("endpoint",),
)
CACHED_OF = Spec(
    "cardan_cached_tokens_prompt_total",
    Kind.COUNTER,
    "Prompt tokens of the same requests, cached or not: the hit rate is what was cached over this.",
    ("endpoint",),
)
PROMPT_TOKENS = Spec(
    "cardan_prompt_tokens_total",
    Kind.COUNTER,
    "Prompt tokens as engines reported them.",
    ("model",),
)
COMPLETION_TOKENS = Spec(
    "cardan_completion_tokens_total",
    Kind.COUNTER,
    "Generated tokens as engines reported them.",
    ("model",),
)
ENDPOINT_REQUESTS = Spec(
    "cardan_endpoint_requests_total",
    Kind.COUNTER,
    "Requests by the endpoint that had them last, and what became of them.",
    ("endpoint", "outcome"),
)
ENDPOINT_HIT_TOKENS = Spec(
    "cardan_endpoint_hit_tokens_total",
    Kind.COUNTER,
    "Prompt tokens (estimates) that the gateway believed cached where it sent them.",
    ("endpoint",),
)
ENDPOINT_TOKENS = Spec(
    "cardan_endpoint_tokens_total",
    Kind.COUNTER,
    "Prompt tokens (estimates) sent to an endpoint.",
    ("endpoint",),
)
IN_FLIGHT = Spec(
    "cardan_endpoint_in_flight",
    Kind.GAUGE,
    "Requests sent to an endpoint and not ended.",
    ("endpoint",),
)
WAITING = Spec(
    "cardan_endpoint_waiting",
    Kind.GAUGE,
    "Of those in flight, requests without a first byte.",
    ("endpoint",),
)
PREFILL_RATE = Spec(
    "cardan_endpoint_prefill_tokens_per_second",
    Kind.GAUGE,
    "Prefill speed as learned.",
    ("endpoint",),
    merge="max",
)
ENDPOINT_STATE = Spec(
    "cardan_endpoint_state",
    Kind.GAUGE,
    "1 for the state an endpoint is in: joining, healthy, ejected, down, not-ready, draining.",
    ("endpoint", "state"),
    merge="max",
)
ENGINE_RUNNING = Spec(
    "cardan_engine_running",
    Kind.GAUGE,
    "Running requests as the engine's own metrics said last. No series where they never did.",
    ("endpoint",),
    merge="max",
)
ENGINE_WAITING = Spec(
    "cardan_engine_waiting",
    Kind.GAUGE,
    "Waiting requests as the engine's own metrics said last.",
    ("endpoint",),
    merge="max",
)
ENGINE_KV_USED = Spec(
    "cardan_engine_kv_used_ratio",
    Kind.GAUGE,
    "Share of the KV cache in use as the engine's own metrics said last.",
    ("endpoint",),
    merge="max",
)
ENGINE_GENERATED = Spec(
    "cardan_engine_generated_tokens_total",
    Kind.COUNTER,
    "Tokens that an engine has generated, for whomever, as its own metrics said last. Every gateway"
    " tells the same number: take the largest, not the sum.",
    ("endpoint",),
    merge="max",
)
SCRAPE_AGE = Spec(
    "cardan_scrape_age_seconds",
    Kind.GAUGE,
    "Age of what is known from an engine's own metrics. No series where nothing is known.",
    ("endpoint",),
    merge="max",
)
SCRAPES = Spec(
    "cardan_scrapes_total", Kind.COUNTER, "Readings of engines' metrics, by result.", ("result",)
)
PROBES = Spec(
    "cardan_probes_total", Kind.COUNTER, "Health probes and introspections, by result.", ("result",)
)
FAILURES = Spec(
    "cardan_dispatch_failures_total",
    Kind.COUNTER,
    "Dispatches that failed, by endpoint and how.",
    ("endpoint", "failure"),
)
RETRIES = Spec(
    "cardan_retries_total",
    Kind.COUNTER,
    "Requests sent again, by the failure that made it necessary: to another endpoint, or (`stale`)"
    " to the same one on a fresh connection, since a kept one had been closed.",
    ("reason",),
)
SHED = Spec(
    "cardan_shed_total",
    Kind.COUNTER,
    "Requests of outcome `shed`, by why: `queue-full` (at once), `queue-timeout` (its model is"
    " served, but nobody had room in time), `no-endpoint` (nobody serves it in time, or it sleeps"
    " and no more may wait). What a gateway turns away while it stops is in the outcome alone.",
    ("reason",),
)
REJECTS = Spec(
    "cardan_rejects_total",
    Kind.COUNTER,
    "Requests refused before they were admitted (no key, no readable request, too large), by the"
    " error's code. They have no outcome.",
    ("code",),
)
HELD = Spec(
    "cardan_held_requests",
    Kind.GAUGE,
    "Requests that wait in the gateway for an endpoint, by model; a model that sleeps has a series"
    " too.",
    ("model",),
)
QUEUED = Spec(
    "cardan_queue_requests", Kind.GAUGE, "Requests that wait in the gateway for an endpoint."
)
QUEUED_BYTES = Spec("cardan_queue_bytes", Kind.GAUGE, "Body bytes of those requests.")
SATURATION = Spec(
    "cardan_saturation_ratio",
    Kind.GAUGE,
    "How full the gateway's queue is (requests or bytes, whichever is fuller), 0 to 1.",
    merge="max",
)
LOOP_BUSY = Spec(
    "cardan_loop_busy_ratio",
    Kind.GAUGE,
    "Share of the last ten seconds in which the event loop had work: computing, or waiting for a"
    " CPU. Of several workers the busiest. Near 1, requests wait for the gateway itself: scale it.",
    merge="max",
)
CLIENTS = Spec("cardan_client_connections", Kind.GAUGE, "Open connections of clients.")
FLEET_ENDPOINTS = Spec(
    "cardan_fleet_endpoints",
    Kind.GAUGE,
    "Endpoints of a model: `all` that exist, and of these the `routable` ones: healthy, and not"
    " draining. With none routable, /readyz stays 200 and requests wait or are answered 503.",
    ("model", "which"),
    merge="max",
)
DISCOVERY = Spec(
    "cardan_discovery_loads_total",
    Kind.COUNTER,
    "Readings of discovery sources that changed something, by result.",
    ("source", "result"),
)
DISCOVERY_CONNECTED = Spec(
    "cardan_discovery_connected",
    Kind.GAUGE,
    "1 while the Kubernetes API answers, 0 while it does not and the last known endpoints stay. No"
    " series where it is not asked.",
    merge="each",
)
DISCOVERY_SILENCE = Spec(
    "cardan_discovery_last_event_age_seconds",
    Kind.GAUGE,
    "Time since the Kubernetes API said anything. While nothing changes it says so about once a"
    " minute.",
    merge="max",
)
DISCOVERY_EVENTS = Spec(
    "cardan_discovery_events_total",
    Kind.COUNTER,
    "Events that the Kubernetes API told of: `put`, `gone` and `bookmark` (nothing happened).",
    ("type",),
)
DISCOVERY_RELISTS = Spec(
    "cardan_discovery_relists_total",
    Kind.COUNTER,
    "Whole lists asked of the Kubernetes API, by why: `start`, `period`, `expired` (it had"
    " forgotten where the watch stood), or what failed before.",
    ("reason",),
)
DISCOVERY_ERRORS = Spec(
    "cardan_discovery_errors_total",
    Kind.COUNTER,
    "What went wrong in discovery by the Kubernetes API. `object` is a pod or a slice that could"
    " not be used, `expired`, `broken` and `stalled` are watches that had to begin anew.",
    ("reason",),
)
RELOADS = Spec(
    "cardan_config_reloads_total", Kind.COUNTER, "Configuration reloads, by result.", ("result",)
)
CONFIG_OK = Spec(
    "cardan_config_last_reload_success",
    Kind.GAUGE,
    "1 unless the last reload failed and an older configuration is in force.",
    merge="each",
)
TASK_RESTARTS = Spec(
    "cardan_task_restarts_total",
    Kind.COUNTER,
    "Background tasks that failed and were started again. Should stay 0.",
    ("task",),
)
LOG_DROPPED = Spec(
    "cardan_access_log_dropped_total",
    Kind.COUNTER,
    "Access log lines dropped because what reads the log was too slow.",
)
READY = Spec("cardan_ready", Kind.GAUGE, "1 while /readyz answers 200.", merge="each")
BUILD = Spec(
    "cardan_build_info",
    Kind.GAUGE,
    "1, with the version and the policy in force.",
    ("version", "python", "policy"),
    merge="max",
)
CPU = Spec("process_cpu_seconds_total", Kind.COUNTER, "CPU time of the process, user and system.")
RSS = Spec(
    "process_resident_memory_bytes", Kind.GAUGE, "Resident memory of the process.", merge="each"
)

ALL: Final[tuple[Spec, ...]] = (
    *(value for value in list(globals().values()) if isinstance(value, Spec)),
    *moving.ALL,
)
