"""Administration: what real engines let anyone do who reaches them, and a gateway must not relay.

The answers are plausible and most have an effect, so a test that reaches one notices. `/faults`
and `/sim` are ours: they steer and inspect the simulation.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.serve.errors import ApiError, NotFoundError
from cardan_sim.serve.faults import Faults, read_faults

if TYPE_CHECKING:
    from aiohttp import web

    from cardan_sim.serve.context import Call, Context, Handler


_FLUSHED: Final = (
    b"Cache flushed.\nPlease check backend logs for more details. (When there are running or "
    b"waiting requests, the operation will not be performed.)\n"
)


async def get_faults(context: Context, call: Call) -> web.StreamResponse:
    """What is wrong now."""
    return call.json(msgspec.to_builtins(context.faults))


async def put_faults(context: Context, call: Call) -> web.StreamResponse:
    """Replace all faults."""
    return await _set_faults(context, call, None)


async def post_faults(context: Context, call: Call) -> web.StreamResponse:
    """Change the named faults and keep the others."""
    return await _set_faults(context, call, context.faults)


async def delete_faults(context: Context, call: Call) -> web.StreamResponse:
    """All is well again."""
    _apply(context, Faults())
    return call.json(msgspec.to_builtins(context.faults))


async def _set_faults(context: Context, call: Call, current: Faults | None) -> web.StreamResponse:
    try:
        faults = read_faults(await call.raw_body(), current)
    except msgspec.DecodeError as error:
        raise ApiError(400, str(error)) from error
    _apply(context, faults)
    return call.json(msgspec.to_builtins(context.faults))


def _apply(context: Context, faults: Faults) -> None:
    context.faults = faults
    context.engine.prefill_factor = faults.prefill_factor
    context.stale_metrics = None
    if faults.exit:
        context.exit()


async def sim_state(context: Context, call: Call) -> web.StreamResponse:
    """The truth, without any lag: load, cache, and what reached this engine."""
    engine = context.engine
    return call.json(
        {
            "engine": context.make.name,
            "running": engine.running,
            "waiting": engine.waiting,
            "draining": context.draining,
            "ready": context.ready,
            "paused": context.paused,
            "blocks": {
                "total": engine.cache.total,
                "used": engine.cache.used,
                "cached": engine.cache.idle,
                "free": engine.cache.free,
                "evicted": engine.cache.evicted,
            },
            "generated_tokens": engine.stats.generated,
            "prompt_tokens": engine.stats.prompt_queried,
            "cached_tokens": engine.stats.prompt_cached,
            "finished": dict(engine.stats.finished),
            "requests_total": context.records.total,
            "requests": context.records.document(),
            "faults": msgspec.to_builtins(context.faults),
        }
    )


async def sim_forget(context: Context, call: Call) -> web.StreamResponse:
    """Forget the records, so that a test sees its own only."""
    context.records.clear()
    return call.json({"requests_total": context.records.total})


def fixed(document: object, status: int = 200) -> Handler:
    """A handler that always says the same."""

    async def answer(context: Context, call: Call) -> web.StreamResponse:
        del context
        return call.json(document, status)

    return answer


async def scale_out_off(context: Context, call: Call) -> web.StreamResponse:
    """vLLM's token-level routes are refused unless switched on; what they do is not simulated."""
    await call.raw_body()
    if context.settings.scale_out:
        raise NotFoundError
    message = "Scale-out endpoints are disabled. Restart vllm serve with --enable-scale-out to "
    message += "enable them."
    raise ApiError(403, message, "PermissionDeniedError")


async def vllm_abort(context: Context, call: Call) -> web.StreamResponse:
    """Abort by id; 200 for unknown ids too."""
    if not context.settings.scale_out:
        return await scale_out_off(context, call)
    body = await call.json_body()
    for name in body.get("request_ids") or []:
        _abort_rid(context, str(name))
    return call.raw()


async def reset_prefix_cache(context: Context, call: Call) -> web.StreamResponse:
    """Forget all that is cached."""
    context.engine.reset_cache()
    return call.json({"success": True})


async def vllm_pause(context: Context, call: Call) -> web.StreamResponse:
    """Noted, but the engine goes on: pausing is not simulated."""
    context.paused = True
    return call.json({"status": "paused"})


async def vllm_resume(context: Context, call: Call) -> web.StreamResponse:
    """The note is taken back."""
    context.paused = False
    return call.json({"status": "resumed"})


async def vllm_is_paused(context: Context, call: Call) -> web.StreamResponse:
    """The note."""
    return call.json({"is_paused": context.paused})


async def vllm_sleep(context: Context, call: Call) -> web.StreamResponse:
    """Noted, and shown in the metrics."""
    context.sleeping = True
    return call.raw()


async def vllm_wake_up(context: Context, call: Call) -> web.StreamResponse:
    """Awake again."""
    context.sleeping = False
    return call.raw()


async def vllm_is_sleeping(context: Context, call: Call) -> web.StreamResponse:
    """The note."""
    return call.json({"is_sleeping": context.sleeping})


async def vllm_server_info(context: Context, call: Call) -> web.StreamResponse:
    """Only in dev mode."""
    return call.json({"vllm_config": f"model='{context.settings.spec.model}'"})


async def flush_cache(context: Context, call: Call) -> web.StreamResponse:
    """Forget all that is cached; 400 while there is work."""
    if not context.engine.idle:
        text = b"Flush cache failed: there are running or waiting requests.\n"
        return call.raw(text, status=400)
    context.engine.reset_cache()
    return call.raw(_FLUSHED)


async def abort_request(context: Context, call: Call) -> web.StreamResponse:
    """Abort by rid, or all; 200 without a body for unknown ids too."""
    body = await call.json_body()
    if body.get("abort_all"):
        for rid in list(context.rids):
            _abort_rid(context, rid)
    _abort_rid(context, str(body.get("rid", "")))
    return call.raw()


def _abort_rid(context: Context, rid: str) -> None:
    for name in context.rids.get(rid, []):
        context.pump.abort(name)


async def pause_generation(context: Context, call: Call) -> web.StreamResponse:
    """Not ready any more; the engine itself goes on: pausing is not simulated."""
    context.paused = True
    return call.json({"message": "Generation paused successfully.", "status": "ok"})


async def continue_generation(context: Context, call: Call) -> web.StreamResponse:
    """Ready again."""
    context.paused = False
    return call.json({"message": "Generation continued successfully.", "status": "ok"})


async def open_session(context: Context, call: Call) -> web.StreamResponse:
    """An id; sessions have no effect."""
    del context
    return call.json(secrets.token_hex(16))
