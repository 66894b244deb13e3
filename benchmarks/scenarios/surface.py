"""Scenarios of the surface: what may reach an engine, what arrives whole, what must not leak."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import wire
from benchmarks.fake_engine import Connection, Request, complete, fail
from benchmarks.scenarios.stage import Finding, Stage, stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.candidates import Candidate

# What the engines' own servers offer to whoever reaches them (vLLM 0.33, SGLang 0.5.23).
ADMIN = (
    "/abort_request",
    "/clear_hicache_storage_backend",
    "/collective_rpc",
    "/configure_logging",
    "/continue_generation",
    "/destroy_weights_update_group",
    "/flush_cache",
    "/freeze_gc",
    "/get_weights_by_name",
    "/init_weights_update_group",
    "/is_sleeping",
    "/load_lora_adapter",
    "/pause",
    "/pause_generation",
    "/release_memory_occupation",
    "/reset_mm_cache",
    "/reset_prefix_cache",
    "/resume",
    "/resume_memory_occupation",
    "/scale_elastic_ep",
    "/server_info",
    "/set_internal_state",
    "/shutdown",
    "/sleep",
    "/start_profile",
    "/stop_profile",
    "/unload_lora_adapter",
    "/update_weights_from_disk",
    "/v1/load_lora_adapter",
    "/v1/unload_lora_adapter",
    "/wake_up",
)
DISGUISES = (
    "{path}",
    "{path}?x=1",
    "/{path}",
    "/v1/..{path}",
    "/v1/%2e%2e{path}",
    "/v1/chat/completions/../../..{path}",
    "http://127.0.0.1{path}",
)
FIELDS: dict[str, object] = {
    "temperature": 0.1,
    "top_k": 40,
    "min_p": 0.05,
    "seed": 9_007_199_254_740_993,  # beyond a double's integers
    "stop": ["\n\n", "\u2028"],
    "logit_bias": {"50256": -100},
    "guided_json": {"type": "object", "properties": {"a": {"type": "integer"}}},
    "chat_template_kwargs": {"enable_thinking": False},
    "cache_salt": "tenant-a",
    "priority": 3,
    "vllm_xargs": {"session_id": "s-1"},
    "metadata": {"key": "value"},
    "x_unheard_of": {"deep": [1, 2.5, None, {"deeper": "ü"}]},
    "another.unknown-one": [],
}


async def admin_paths(candidate: Candidate) -> Finding:
    """No path of an engine's administration can be reached, plain or in disguise."""
    async with stage(candidate) as play:
        reached: set[str] = set()
        for path in ADMIN:
            for disguise in DISGUISES:
                play.script(complete)
                await _try(play, disguise.format(path=path))
                if any(_is_admin(request, path) for e in play.engines for request in e.requests):
                    reached.add(path)
    figure = f"{len(reached)} of {len(ADMIN)} reached"
    shown = f": {', '.join(sorted(reached)[:3])}" if reached else ""
    return Finding(not reached, figure + shown)


async def _try(play: Stage, target: str) -> None:
    await wire.ask(play.port, wire.post(wire.chat("x"), target), 5.0)
    await wire.ask(play.port, wire.get(target), 5.0)


def _is_admin(request: Request, path: str) -> bool:
    # A gateway may ask its engines for /server_info by itself, with GET: only our POST counts.
    return request.path.endswith(path) and (request.method == "POST" or path != "/server_info")


async def unknown_fields(candidate: Candidate) -> Finding:
    """Whatever stands in the body arrives at the engine, known or not."""
    async with stage(candidate) as play:
        sent = {**json.loads(wire.chat("hello")), **FIELDS}
        await wire.ask(play.port, wire.post(json.dumps(sent).encode()))
        posts = [request for engine in play.engines for request in engine.posts]
        got = json.loads(posts[-1].body) if posts else {}
    lost = sorted(key for key in sent if key not in got)
    changed = sorted(key for key in sent if key in got and got[key] != sent[key])
    added = sorted(key for key in got if key not in sent)
    words = [
        f"{len(keys)} {what} ({', '.join(keys[:3])})"
        for keys, what in ((lost, "lost"), (changed, "changed"), (added, "added"))
        if keys
    ]
    return Finding(not (lost or changed), "; ".join(words) or "all arrive as sent")


async def address_leaks(candidate: Candidate) -> Finding:
    """No answer names an engine's address: served, failed, redirected, refused or dead."""
    async with stage(candidate) as play:
        addresses = [b":%d" % engine.port for engine in play.engines]
        leaking = []
        for what, answers in [
            ("served", [await play.ask(), await wire.ask(play.port, wire.get("/v1/models"))]),
            ("unknown path", [await wire.ask(play.port, wire.get("/nothing/here"))]),
            ("500", await _with(play, fail)),
            ("redirect", await _with(play, _redirect)),
            ("dead", await _dead(play)),
        ]:
            told = b"".join(a.head + a.body for a in answers)
            if any(address in told for address in addresses):
                leaking.append(what)
    return Finding(not leaking, f"leaks when: {', '.join(leaking)}" if leaking else "none")


async def _with(play: Stage, script: Callable[[Connection, Request], None]) -> list[wire.Answer]:
    play.script(script)
    return [await play.ask()]


async def _dead(play: Stage) -> list[wire.Answer]:
    for engine in play.engines:
        engine.die()
    return [await play.ask(deadline_s=15.0) for _ in range(3)]


def _redirect(connection: Connection, _request: Request) -> None:
    where = f"location: http://127.0.0.1:{connection.engine.port}/v1/chat/completions/"
    connection.answer("307 Temporary Redirect", b"", where)
