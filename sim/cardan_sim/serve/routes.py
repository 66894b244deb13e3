"""Which paths exist, by make."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan_sim.serve import admin, generate, metrics, pooling, probes, texts
from cardan_sim.serve.boundary import Route, Routes

if TYPE_CHECKING:
    from cardan_sim.serve.context import Handler
    from cardan_sim.serve.settings import Settings

_LORA_OFF: Final = {
    "rid": None,
    "http_worker_ipc": None,
    "success": False,
    "error_message": "LoRA is not enabled. Please set `--enable-lora` to enable LoRA.",
    "loaded_adapters": None,
}
_ROLE_SWITCH_OFF: Final = {
    "rid": None,
    "http_worker_ipc": None,
    "success": False,
    "message": "--enable-pd-role-switch is not set on this server",
    "old_role": "null",
    "new_role": "decode",
    "safe_to_restore": True,
}


def routes_for(settings: Settings) -> Routes:
    """All routes of one server."""
    routes = _ours() | _metrics()
    if settings.generates:
        routes |= _generating()
    routes |= _pooling(settings)
    return routes | (_vllm(settings) if settings.spec.make == "vllm" else _sglang())


def _get(handler: Handler) -> dict[str, Route]:
    return {"GET": Route(handler)}


def _post(handler: Handler) -> dict[str, Route]:
    return {"POST": Route(handler)}


def _work(handler: Handler, kind: str = "") -> dict[str, Route]:
    return {"POST": Route(handler, work=True, kind=kind)}


def _both(handler: Handler) -> dict[str, Route]:
    return {"GET": Route(handler), "POST": Route(handler)}


def _ours() -> Routes:
    return {
        "/faults": {
            "GET": Route(admin.get_faults),
            "PUT": Route(admin.put_faults),
            "POST": Route(admin.post_faults),
            "DELETE": Route(admin.delete_faults),
        },
        "/sim/state": {"GET": Route(admin.sim_state), "DELETE": Route(admin.sim_forget)},
    }


def _metrics() -> Routes:
    return {"/metrics": _get(metrics.metrics)}


def _generating() -> Routes:
    return {
        "/v1/chat/completions": _work(generate.chat),
        "/v1/completions": _work(generate.completions),
        "/v1/messages": _work(generate.messages, "messages"),
        "/v1/messages/count_tokens": _work(texts.count_tokens, "messages"),
        "/v1/responses": _work(generate.responses),
        "/invocations": _work(generate.invocations),
    }


def _pooling(settings: Settings) -> Routes:
    """Without embeddings vLLM has no such routes, SGLang refuses on them."""
    if settings.spec.make == "vllm" and not settings.embeds:
        return {}
    return {
        "/v1/embeddings": _work(pooling.embeddings),
        "/score": _work(pooling.score),
        "/v1/score": _work(pooling.score),
        "/rerank": _work(pooling.rerank),
        "/v1/rerank": _work(pooling.rerank),
        "/v2/rerank": _work(pooling.rerank),
    }


def _vllm(settings: Settings) -> Routes:
    routes: Routes = {
        "/health": _get(probes.vllm_health),
        "/ping": _both(probes.ping),
        "/version": _get(probes.vllm_version),
        "/load": _get(probes.vllm_load),
        "/kv_event_sources": _get(probes.kv_event_sources),
        "/v1/models": _get(probes.models),
        "/v1/responses/*": _get(probes.vllm_response),
        "/tokenize": _work(texts.tokenize),
        "/detokenize": _work(texts.detokenize),
        "/inference/v1/generate": _post(admin.scale_out_off),
        "/inference/v1/abort_requests": _post(admin.vllm_abort),
        "/v1/chat/completions/render": _post(admin.scale_out_off),
        "/v1/completions/render": _post(admin.scale_out_off),
        "/scale_elastic_ep": _post(admin.fixed({"message": "Scaled to 1 data parallel engines"})),
    }
    return routes | _vllm_dev() if settings.dev_mode else routes


def _vllm_dev() -> Routes:
    return {
        "/sleep": _post(admin.vllm_sleep),
        "/wake_up": _post(admin.vllm_wake_up),
        "/is_sleeping": _get(admin.vllm_is_sleeping),
        "/reset_prefix_cache": _post(admin.reset_prefix_cache),
        "/server_info": _get(admin.vllm_server_info),
        "/collective_rpc": _post(admin.fixed({"results": [None]})),
        "/pause": _post(admin.vllm_pause),
        "/resume": _post(admin.vllm_resume),
        "/is_paused": _get(admin.vllm_is_paused),
        "/abort_requests": _post(admin.vllm_abort),
    }


def _sglang() -> Routes:
    off = admin.fixed(_LORA_OFF, 400)
    done = admin.fixed({"success": True, "message": "Succeeded"})
    return {
        "/": _get(probes.sglang_root),
        "/metrics/": _get(metrics.metrics),
        "/health": _get(probes.sglang_health),
        "/health_generate": _get(probes.sglang_health),
        "/ready": _get(probes.sglang_ready),
        "/ping": _get(probes.ping),
        "/v1/models": _get(probes.models),
        "/v1/models/*": _get(probes.sglang_model),
        "/v1/responses/*": _get(probes.sglang_response),
        "/v1/loads": _get(probes.sglang_loads),
        "/server_info": _get(probes.sglang_server_info),
        "/get_server_info": _get(probes.sglang_server_info),
        "/model_info": _get(probes.sglang_model_info),
        "/get_model_info": _get(probes.sglang_model_info),
        "/generate": {method: Route(generate.native, work=True) for method in ("POST", "PUT")},
        "/tokenize": _work(texts.tokenize),
        "/v1/tokenize": _work(texts.tokenize),
        "/detokenize": _work(texts.detokenize),
        "/v1/detokenize": _work(texts.detokenize),
        "/flush_cache": _both(admin.flush_cache),
        "/abort_request": _post(admin.abort_request),
        "/pause_generation": _post(admin.pause_generation),
        "/continue_generation": _post(admin.continue_generation),
        "/open_session": _post(admin.open_session),
        "/close_session": _post(done),
        "/load_lora_adapter": _post(off),
        "/unload_lora_adapter": _post(off),
        "/release_memory_occupation": _post(done),
        "/resume_memory_occupation": _post(done),
        "/pd_role_switch": _post(admin.fixed(_ROLE_SWITCH_OFF, 400)),
        "/slow_down": _post(done),
    }
