"""Health, readiness, load and versions: what probes and load balancers read."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from cardan_sim.serve.errors import ApiError, NotFoundError
from cardan_sim.serve.makes.sglang import STORE_OFF

if TYPE_CHECKING:
    from aiohttp import web

    from cardan_sim.serve.context import Call, Context

# SGLang's /health runs a one-token request and then sleeps; not a duration of the GPU, not scaled.
SGLANG_HEALTH_S: Final = 1.0


async def _fault(context: Context) -> int | None:
    fault = context.faults
    if fault.hang_health:
        await asyncio.get_running_loop().create_future()
    return fault.health_status


async def vllm_health(context: Context, call: Call) -> web.StreamResponse:
    """200 without a body; a drain does not show."""
    status = await _fault(context)
    return call.raw(status=status or 200)


async def ping(context: Context, call: Call) -> web.StreamResponse:
    """200 without a body."""
    del context
    return call.raw()


async def sglang_health(context: Context, call: Call) -> web.StreamResponse:
    """200 after a second; 503 at once while starting or draining."""
    status = await _fault(context)
    if status is None and not context.ready:
        status = 503
    if status is None and not context.draining:
        await asyncio.sleep(SGLANG_HEALTH_S)
    return call.raw(status=503 if context.draining else status or 200)


async def sglang_ready(context: Context, call: Call) -> web.StreamResponse:
    """200 at once; 503 while starting, draining or paused."""
    status = await _fault(context)
    ready = context.ready and not (context.draining or context.paused)
    return call.raw(status=status or (200 if ready else 503))


async def vllm_version(context: Context, call: Call) -> web.StreamResponse:
    """The version."""
    return call.json({"version": context.make.version})


async def vllm_load(context: Context, call: Call) -> web.StreamResponse:
    """Requests in the server, if it tracks them."""
    count = context.engine.running + context.engine.waiting
    return call.json({"server_load": count if context.settings.load_tracking else 0})


async def kv_event_sources(context: Context, call: Call) -> web.StreamResponse:
    """KV events are off: every rank says so by its absence."""
    del context
    return call.json({})


async def models(context: Context, call: Call) -> web.StreamResponse:
    """The one model."""
    return call.json(context.make.models())


async def sglang_model(context: Context, call: Call) -> web.StreamResponse:
    """One model by name."""
    if call.tail == context.settings.served_model_name:
        return call.json(context.make.models()["data"][0])
    message = f"The model '{call.tail}' does not exist"
    error = {"message": message, "type": "invalid_request_error"}
    return call.json({"error": error | {"param": "model", "code": "model_not_found"}}, 404)


async def vllm_response(context: Context, call: Call) -> web.StreamResponse:
    """No response is ever stored."""
    del context
    message = f"Response with id '{call.tail}' not found."
    error = {"message": message, "type": "invalid_request_error"}
    return call.json({"error": error | {"param": "response_id", "code": 404}}, 404)


async def sglang_response(context: Context, call: Call) -> web.StreamResponse:
    """No response is ever stored."""
    del context
    error = {"message": STORE_OFF, "type": "invalid_request_error"}
    return call.json({"error": error | {"param": "response_id", "code": 400}}, 400)


async def sglang_root(context: Context, call: Call) -> web.StreamResponse:
    """A sentence."""
    del context
    return call.json("SGLang is running")


async def sglang_loads(context: Context, call: Call) -> web.StreamResponse:
    """The cheap load endpoint: snapshots that are a forward pass late, or fifteen decodes."""
    include = call.request.query.get("include", "all")
    known = {"all", "core", "memory", "spec", "lora", "disagg", "queues"}
    if not set(include.split(",")) <= known:
        raise ApiError(500, "unknown section", "InternalServerError")
    load = _load(context)
    if include == "all":
        load |= _load_sections(context)
    if call.request.query.get("format") == "prometheus":
        return _loads_text(call, load)
    document = {
        "timestamp": datetime.now(UTC).isoformat(),
        "version": context.make.version,
        "accelerator": None,
        "num_accelerators": 1,
        "loads": [load],
    }
    return call.json(document)


def _loads_text(call: Call, load: dict[str, Any]) -> web.StreamResponse:
    lines = []
    for name, value in load.items():
        if isinstance(value, int | float):
            lines.append(f"# TYPE sglang_{name} gauge")
            lines.append(f'sglang_{name}{{dp_rank="0"}} {value}')
    body = "\n".join(lines).encode() + b"\n"
    return call.raw(body, "text/plain; version=0.0.4; charset=utf-8")


def _load(context: Context) -> dict[str, Any]:
    load, spec, stats = context.engine.loads, context.settings.spec, context.engine.stats
    used = load.used_blocks * spec.block_size
    return {
        "timestamp": datetime.now(UTC).timestamp(),
        "dp_rank": 0,
        "num_running_reqs": load.decoding,
        "num_waiting_reqs": load.waiting,
        "num_waiting_uncached_tokens": load.waiting_uncached,
        "num_used_tokens": used,
        "num_total_tokens": used + load.waiting_uncached,
        "num_active_tokens": used + load.waiting_uncached,
        "num_prealloc_ready_tokens": 0,
        "max_total_num_tokens": spec.kv_tokens,
        "max_running_requests": spec.max_num_seqs,
        "token_usage": round(used / spec.kv_tokens, 4),
        "gen_throughput": round(load.throughput if load.running else 0.0, 2),
        "cache_hit_rate": round(load.hit_ratio, 4),
        "utilization": 0.0,
        "total_prefill_uncached_tokens": stats.prompt_computed,
        "total_prefill_busy_us": int(stats.prefill_busy_s * 1e6),
        "decode_moments": [float(stats.steps)] * 6,
    }


def _load_sections(context: Context) -> dict[str, Any]:
    capacity = context.settings.spec.kv_tokens
    waiting = context.engine.loads.waiting
    return {
        "memory": {
            "weight_gb": 0.0,
            "kv_cache_gb": 0.0,
            "graph_gb": 0.0,
            "token_capacity": capacity,
        },
        "disaggregation": {
            "mode": "null",
            "prefill_bootstrap_queue_reqs": 0,
            "prefill_inflight_queue_reqs": 0,
            "decode_prealloc_queue_reqs": 0,
            "decode_transfer_queue_reqs": 0,
            "decode_retracted_queue_reqs": 0,
            "kv_transfer_speed_gb_s": 0.0,
            "kv_transfer_latency_ms": 0.0,
        },
        "queues": {
            "waiting": waiting,
            "grammar": 0,
            "paused": 0,
            "retracted": 0,
            "prealloc_ready": 0,
        },
    }


async def sglang_server_info(context: Context, call: Call) -> web.StreamResponse:
    """What a router reads of the 500 members; keys in clear, as the real one tells them."""
    settings, spec = context.settings, context.settings.spec
    info = _sglang_paths(context) | {
        "host": settings.host,
        "port": settings.port,
        "served_model_name": settings.served_model_name,
        "api_key": settings.api_key,
        "admin_api_key": None,
        "context_length": None,
        "is_embedding": settings.task == "embed",
        "page_size": spec.block_size,
        "max_running_requests": spec.max_num_seqs,
        "max_queued_requests": spec.max_queued,
        "max_total_tokens": spec.kv_tokens,
        "chunked_prefill_size": spec.max_num_batched_tokens,
        "enable_cache_report": settings.cache_report,
        "enable_metrics": settings.metrics,
        "enable_priority_scheduling": spec.priority_scheduling,
        "disaggregation_mode": "null",
        "dp_size": 1,
        "tp_size": 1,
        "status": "ready" if context.ready else "starting",
        "max_total_num_tokens": spec.kv_tokens,
        "max_req_input_len": min(spec.max_model_len, spec.kv_tokens) - 6,
        "internal_states": [{"last_gen_throughput": context.engine.loads.throughput}],
        "version": context.make.version,
    }
    return call.json(info)


async def sglang_model_info(context: Context, call: Call) -> web.StreamResponse:
    """What a router reads about the model."""
    info = _sglang_paths(context) | {
        "served_model_name": context.settings.served_model_name,
        "is_generation": context.settings.generates,
        "preferred_sampling_params": None,
        "weight_version": "default",
        "load_format": "auto",
        "reasoning_parser": None,
        "tool_call_parser": None,
        "disaggregation_mode": "null",
        "has_image_understanding": False,
        "has_audio_understanding": False,
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
    }
    return call.json(info)


def _sglang_paths(context: Context) -> dict[str, Any]:
    path = f"/models/{context.settings.spec.model}"
    return {"model_path": path, "tokenizer_path": path}


async def metrics_off(context: Context, call: Call) -> web.StreamResponse:
    """SGLang without --enable-metrics has no such route."""
    del context, call
    raise NotFoundError
