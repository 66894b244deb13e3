"""SGLang's /metrics: the names of 0.5.23 that say something about load, cache, time or health.

Gauges are refreshed at a prefill and every forty decode steps, so a page can show a queue that is
gone. A request in its prefill is neither running nor queued. Counters that were never used are
absent. With priority scheduling every gauge has a `priority` label, "" being the total.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_sim.serve.exposition import Family, Labels

if TYPE_CHECKING:
    from cardan_sim.engine.stats import Histogram
    from cardan_sim.serve.context import Context

# (exported name, name in Stats): with an is_streaming label, as the API process counts them.
_BY_STREAM: Final = {
    "time_to_first_token_seconds": "ttft_s",
    "e2e_request_latency_seconds": "e2e_s",
    "request_time_per_output_token_seconds": "tpot_s",
}
_MERGED: Final = {
    "prompt_tokens_histogram": "prompt_tokens",
    "uncached_prompt_tokens_histogram": "uncached_tokens",
    "generation_tokens_histogram": "generated_tokens",
    "inter_token_latency_seconds": "itl_s",
}
# What is exported and always zero here: no disaggregation, no speculation, no second pool.
_ZEROS: Final = (
    "num_grammar_queue_reqs",
    "swa_token_usage",
    "mamba_usage",
    "num_prefill_bootstrap_queue_reqs",
    "num_prefill_inflight_queue_reqs",
    "num_decode_prealloc_queue_reqs",
    "num_decode_transfer_queue_reqs",
    "pending_prealloc_token_usage",
    "utilization",
    "num_unique_running_routing_keys",
)


def families(context: Context, *, lying: bool = False) -> list[Family]:
    """The page; `lying` shows an idle engine."""
    model = {"engine_type": "unified", "model_name": context.settings.served_model_name}
    rank = model | {"tp_rank": "0", "pp_rank": "0", "moe_ep_rank": "0"}
    return [
        *_histograms(context, model, rank),
        *_counters(context, model, rank),
        *_http(context),
        *_gauges(context, rank, lying=lying),
    ]


def _gauges(context: Context, rank: Labels, *, lying: bool) -> list[Family]:
    spec, load = context.settings.spec, context.engine.gauges
    share = 0 if lying else 1
    used = load.used_blocks * spec.block_size * share
    idle = load.idle_blocks * spec.block_size
    values: dict[str, float] = {
        "num_running_reqs": load.decoding * share,
        "num_queue_reqs": load.waiting * share,
        "token_usage": used / spec.kv_tokens,
        "full_token_usage": used / spec.kv_tokens,
        "num_used_tokens": used,
        "kv_used_tokens": used,
        "kv_evictable_tokens": idle,
        "kv_available_tokens": spec.kv_tokens - used - idle,
        "gen_throughput": load.throughput * share if load.running else 0.0,
        "cache_hit_rate": load.hit_ratio,
        "decode_sum_seq_lens": load.context * share,
        "max_total_num_tokens": spec.kv_tokens,
        "page_size": spec.block_size,
        "num_pages": spec.kv_blocks,
        "context_len": spec.max_model_len,
    }
    values |= dict.fromkeys(_ZEROS, 0)
    if spec.priority_scheduling:
        rank = rank | {"priority": ""}
    own = [_gauge(name, rank, value) for name, value in values.items()]
    pid = rank | {"pid": "1"}
    return [
        *own,
        _gauge("num_retracted_reqs", pid, 0),
        _gauge("num_paused_reqs", pid, 0),
        Family("sglang:startup_time_seconds", "gauge", "startup time", _startup(context)),
    ]


def _startup(context: Context) -> list[tuple[Labels, float | Histogram]]:
    model = {"engine_type": "unified", "model_name": context.settings.served_model_name}
    phases = ("load_weight", "kv_cache_allocation", "scheduler_e2e", "tokenizer_e2e")
    share = context.settings.startup_delay_s / len(phases)
    return [(model | {"phase": phase}, share) for phase in phases]


def _gauge(name: str, labels: Labels, value: float) -> Family:
    return Family(f"sglang:{name}", "gauge", name.replace("_", " "), [(labels, value)])


def _counter(name: str, samples: list[tuple[Labels, float]]) -> Family:
    return Family(f"sglang:{name}_total", "counter", name.replace("_", " "), [*samples])


def _streamed(streamed: bool) -> Labels:
    return {"is_streaming": str(streamed).lower()}


def _counters(context: Context, model: Labels, rank: Labels) -> list[Family]:
    stats = context.engine.stats
    hits = {"input": stats.prompt_computed, "device_hit": stats.prompt_cached}
    hits |= {"host_hit": 0, "storage_hit": 0}
    live = {"prefill_compute": stats.prompt_computed, "decode": stats.generated}
    live["prefill_cache"] = stats.prompt_cached
    found = [
        _counter("prefill_effective_tokens", [(rank | {"mode": k}, v) for k, v in hits.items()]),
        _counter("realtime_tokens", [(rank | {"mode": k}, v) for k, v in live.items()]),
    ]
    by_stream = {
        "prompt_tokens": stats.prompt_by_stream,
        "generation_tokens": stats.generated_by_stream,
        "num_requests": stats.finished_by_stream,
    }
    for name, counts in by_stream.items():
        if counts:
            samples = [(model | _streamed(key), float(count)) for key, count in counts.items()]
            found.append(_counter(name, samples))
    if stats.prompt_cached:
        labels = model | {"cache_source": "device"}
        found.append(_counter("cached_tokens", [(labels, stats.prompt_cached)]))
    if stats.finished["abort"]:
        found.append(_counter("num_aborted_requests", [(model, stats.finished["abort"])]))
    if stats.preemptions:
        found.append(_counter("num_retracted_requests", [(rank, stats.preemptions)]))
    return found


def _histograms(context: Context, model: Labels, rank: Labels) -> list[Family]:
    stats = context.engine.stats
    found = [
        Family(
            "sglang:queue_time_seconds",
            "histogram",
            "queue time",
            [(rank, stats.merged("queue_s"))],
        )
    ]
    for name, kept in _BY_STREAM.items():
        samples: list[tuple[Labels, float | Histogram]] = [
            (model | _streamed(streamed), stats.histograms[kept, streamed])
            for streamed in (False, True)
            if (kept, streamed) in stats.histograms
        ]
        if samples:
            found.append(Family(f"sglang:{name}", "histogram", name.replace("_", " "), samples))
    for name, kept in _MERGED.items():
        merged = stats.merged(kept)
        if merged.count:
            help_text = name.replace("_", " ")
            found.append(Family(f"sglang:{name}", "histogram", help_text, [(model, merged)]))
    return found


def _http(context: Context) -> list[Family]:
    def labels(key: tuple[str, str]) -> Labels:
        return {"endpoint": key[0], "method": key[1]}

    active = [(labels(key), float(count)) for key, count in context.active.items()]
    requests = [(labels(key), float(count)) for key, count in context.requests.items()]
    responses = [
        (labels((path, method)) | {"status_code": str(status)}, float(count))
        for (path, method, status), count in context.responses.items()
    ]
    return [
        Family("sglang:http_requests_active", "gauge", "requests under way", [*active]),
        _counter("http_requests", requests),
        _counter("http_responses", responses),
    ]
