"""vLLM's /metrics: every name of 0.32.0 that says something about load, cache, time or health.

Gauges are true at the moment of the scrape. The KV usage is a ratio despite its name, and 0 when
nothing runs, however full the prefix cache is. Prefix-cache counters are in tokens. Aborts are not
counted in request_success.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_sim.serve.exposition import Family, Labels

if TYPE_CHECKING:
    from cardan_sim.engine.stats import Stats
    from cardan_sim.serve.context import Context

_HISTOGRAMS: Final = {
    "request_prompt_tokens": "prompt_tokens",
    "request_generation_tokens": "generated_tokens",
    "iteration_tokens_total": "step_tokens",
    "request_max_num_generation_tokens": "generated_tokens",
    "request_params_n": "choices",
    "request_params_max_tokens": "max_tokens",
    "time_to_first_token_seconds": "ttft_s",
    "inter_token_latency_seconds": "itl_s",
    "request_time_per_output_token_seconds": "tpot_s",
    "e2e_request_latency_seconds": "e2e_s",
    "request_queue_time_seconds": "queue_s",
    "request_inference_time_seconds": "inference_s",
    "request_prefill_time_seconds": "prefill_s",
    "request_decode_time_seconds": "decode_s",
    "request_num_preemptions": "preemptions",
    "request_prefill_kv_computed_tokens": "uncached_tokens",
}


def families(context: Context, *, lying: bool = False) -> list[Family]:
    """The page; `lying` shows an idle engine."""
    own = {"engine": "0", "model_name": context.settings.served_model_name}
    return [
        *_gauges(context, own, lying=lying),
        *_counters(context, own),
        *_histograms(context.engine.stats, own),
        _cache_config(context),
    ]


def _gauges(context: Context, own: Labels, *, lying: bool) -> list[Family]:
    load, blocks = context.engine.gauges, context.settings.spec.kv_blocks
    share = 0 if lying else 1
    awake = "weights_offloaded" if context.sleeping else "awake"
    return [
        _gauge("num_requests_running", own, load.running * share),
        _gauge("num_requests_waiting", own, load.waiting * share),
        Family(
            "vllm:num_requests_waiting_by_reason",
            "gauge",
            "Waiting requests by reason.",
            [
                (own | {"reason": "capacity"}, load.waiting * share),
                (own | {"reason": "deferred"}, 0),
            ],
        ),
        Family(
            "vllm:engine_sleep_state",
            "gauge",
            "Which sleep state the engine is in.",
            [
                (own | {"sleep_state": state}, float(state == awake))
                for state in ("awake", "weights_offloaded", "discard_all")
            ],
        ),
        _gauge("kv_cache_usage_perc", own, load.used_blocks / blocks * share),
    ]


def _gauge(name: str, labels: Labels, value: float) -> Family:
    return Family(f"vllm:{name}", "gauge", name.replace("_", " "), [(labels, value)])


def _counter(name: str, labels: Labels, by: dict[str, float] | float, key: str = "") -> Family:
    """A counter of one sample, or of one for each value of label `key`."""
    if isinstance(by, dict):
        samples = [(labels | {key: value}, float(count)) for value, count in by.items()]
    else:
        samples = [(labels, float(by))]
    return Family(f"vllm:{name}_total", "counter", name.replace("_", " "), [*samples])


def _counters(context: Context, own: Labels) -> list[Family]:
    stats = context.engine.stats
    computed = stats.prompt_queried - stats.prompt_cached
    ended = {"stop": 0.0, "length": 0.0, "abort": 0.0, "error": 0.0, "repetition": 0.0}
    ended |= {reason: float(stats.finished[reason]) for reason in ("stop", "length")}
    by_source = {
        "local_compute": computed,
        "local_cache_hit": stats.prompt_cached,
        "external_kv_transfer": 0,
    }
    cached = {"device": stats.prompt_cached, "host": 0, "p2p": 0, "disk": 0}
    cached["external_unspecified"] = 0
    refused = {"max_num_queued_reqs": stats.refused, "max_num_queued_tokens": 0}
    model = {"model_name": own["model_name"]}
    return [
        _counter("prefix_cache_queries", own, stats.prompt_queried),
        _counter("prefix_cache_hits", own, stats.prompt_cached),
        _counter("external_prefix_cache_queries", own, 0),
        _counter("external_prefix_cache_hits", own, 0),
        _counter("mm_cache_queries", own, 0),
        _counter("mm_cache_hits", own, 0),
        _counter("num_preemptions", own, stats.preemptions),
        _counter("prompt_tokens", own, stats.prompt_queried),
        _counter("prompt_tokens_by_source", own, dict(by_source), "source"),
        _counter("prompt_tokens_cached", own, stats.prompt_cached),
        _counter("prompt_tokens_cached_by_source", own, dict(cached), "source"),
        _counter("generation_tokens", own, stats.generated),
        _counter("request_success", own, ended, "finished_reason"),
        _counter("admission_rejections", model, dict(refused), "reason"),
    ]


def _histograms(stats: Stats, own: Labels) -> list[Family]:
    return [
        Family(f"vllm:{name}", "histogram", name.replace("_", " "), [(own, stats.merged(kept))])
        for name, kept in _HISTOGRAMS.items()
    ]


def _cache_config(context: Context) -> Family:
    spec = context.settings.spec
    labels = {
        "block_size": str(spec.block_size),
        "num_gpu_blocks": str(spec.kv_blocks),
        "kv_cache_size_tokens": str(spec.kv_tokens),
        "enable_prefix_caching": "True",
        "cache_dtype": "auto",
        "gpu_memory_utilization": "0.92",
        "num_cpu_blocks": "None",
        "engine": "0",
    }
    return Family("vllm:cache_config_info", "gauge", "Cache configuration.", [(labels, 1.0)])
