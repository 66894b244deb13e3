"""Requests recorded with real engines get answers of the same shape from the simulated one."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.contract.engines.recordings import (
    answer_shape,
    event_shapes,
    folder,
    load,
    names,
)
from tests.sim.serve.servers import running
from tests.sim.serve.wire import Answer, connect, request_bytes

if TYPE_CHECKING:
    from tests.contract.engines.recordings import Exchange

# The servers as they were started for the recordings.
SERVERS: dict[tuple[str, str], dict[str, Any]] = {
    ("vllm", "A-all-on"): {
        "block_size": 32,
        "kv_blocks": 1280,
        "max_num_seqs": 8,
        "task": "generate",
        "echo_request_id": True,
        "dev_mode": False,
        "auto_tools": False,
    },
    ("vllm", "B-defaults"): {
        "block_size": 128,
        "task": "generate",
        "cache_report": False,
        "load_tracking": False,
        "dev_mode": False,
        "auto_tools": False,
    },
    ("vllm", "C-key-lora-priority"): {
        "block_size": 32,
        "kv_blocks": 1280,
        "task": "generate",
        "cache_report": False,
        "api_key": "sk-test-1",
        "scale_out": True,
        "priority_scheduling": True,
    },
    ("sglang", "A-all-on"): {
        "make": "sglang",
        "block_size": 16,
        "kv_blocks": 1024,
        "max_num_seqs": 8,
        "task": "generate",
    },
    ("sglang", "B-defaults"): {
        "make": "sglang",
        "block_size": 1,
        "kv_blocks": 40_000,
        "max_num_seqs": 7,
        "task": "generate",
        "cache_report": False,
        "metrics": False,
    },
    ("sglang", "C-key-priority-full"): {
        "make": "sglang",
        "block_size": 1,
        "kv_blocks": 16_384,
        "max_num_seqs": 2,
        "api_key": "key-1",
        "task": "generate",
        "priority_scheduling": True,
    },
}

# Exchanges that are not compared, and why. All others are, member by member.
NOT_COMPARED = {
    # Not simulated.
    "openapi": "no OpenAPI document",
    "chat_logprobs": "logprobs are null",
    "chat_stream_logprobs": "logprobs are null",
    "comp_echo_logprobs": "echo and logprobs are ignored",
    "generate_logprob": "logprobs are null",
    "chat_stop": "stop strings are ignored",
    "chat_stop5": "stop strings are ignored",
    "chat_stop_stream": "stop strings are ignored",
    "max_tokens_over_pool": "stop strings are ignored",
    "generate_stop": "stop strings are ignored",
    "chat_render": "no rendering routes",
    "comp_render": "no rendering routes",
    "systemone": "a route of one build",
    "generate_tokens": "no token-level generation in vLLM",
    "generate_tokens_stream": "no token-level generation in vLLM",
    "auth_none_generate": "no token-level generation in vLLM",
    "responses_stored": "responses are not stored",
    "ollama_chat": "no Ollama routes",
    "api_tags": "no Ollama routes",
    "classify": "no classification",
    "vertex_generate": "no Vertex routes",
    "generate_batch": "no native batches",
    "generate_batch_stream": "no native batches",
    "generate_n2": "no native n > 1",
    "err_generate_bad_json": "native errors are worded as OpenAI's",
    "err_generate_bad_param": "native parameters are not checked",
    "err_generate_both": "native parameters are not checked",
    "err_generate_content_type": "native errors are worded as OpenAI's",
    "err_generate_missing": "native errors are worded as OpenAI's",
    "err_generate_unknown_param": "native parameters are not checked",
    "err_too_long_generate": "native errors are worded as OpenAI's",
    "err_too_long_generate_stream": "native errors are worded as OpenAI's",
    "model_info": "some of the members",
    "get_model_info": "some of the members",
    "server_info": "some of the 556 members",
    "server_info_after": "some of the 556 members",
    "get_server_info": "some of the 556 members",
    "kv_event_sources": "KV events are off",
    "auth_none_kv_event_sources": "KV events are off",
    "server_info_json": "not in the recordings",
    # Another server.
    "auth_flush_admin": "no admin key",
    "auth_flush_key_only": "no admin key",
    "auth_ok_key2": "one key only",
    # Compared elsewhere.
    "responses_stream": "SGLang's has two transport headers more; compared below",
    "metrics_headers": "compared in test_recorded_metrics",
    "metrics_slash": "compared in test_recorded_metrics",
    "abort_running": "with its partner, in tests/sim/serve",
    # By chance of sampling.
    "chat_tools_required": "the tiny model wrote no call, the simulated engine always does",
    "chat_tools_required_stream": "the tiny model wrote no call, the simulated engine always does",
}
NOT_COMPARED_PREFIXES = {
    "lora_": "no adapters",
    "kv_lora": "no adapters",
    "metrics_lora": "no adapters",
    "per_request_metrics": "no per-request metrics",
    "full_": "needs a full queue: test_recorded_refusals",
    "overload_": "needs a full queue: test_recorded_refusals",
}

CASES = [
    (engine, where, name)
    for engine, where in SERVERS
    for name in names(engine, where)
    if name not in NOT_COMPARED and not name.startswith(tuple(NOT_COMPARED_PREFIXES))
]

# Bodies over 60 KB were cut in the recordings; these are what was sent.
_REBUILT: dict[str, Any] = {
    "err_too_long": {"prompt": [100] * 40_000},
    "err_too_long_stream": {"prompt": [100] * 40_000, "stream": True},
    "err_too_long_for_pool": {"prompt": [100] * 20_000},
    "err_too_long_text": {
        "messages": [{"role": "user", "content": "a b c d e f " * 20_000}],
    },
}


@pytest.mark.parametrize(("engine", "where", "name"), CASES)
async def test_the_answer_has_the_recorded_shape(engine: str, where: str, name: str) -> None:
    exchange = load(folder(engine, where), name)
    async with running(**SERVERS[engine, where]) as server:
        mine = await replay(server.url, exchange)
    assert answer_shape(mine) == expected(answer_shape(exchange.answer), where, name)


async def replay(url: str, exchange: Exchange) -> Answer:
    """Send a recorded request, byte for byte where it was recorded whole."""
    body = exchange.body
    if not exchange.whole:
        if exchange.name not in _REBUILT:
            pytest.skip("the recorded body was cut")
        body = json.dumps(
            {"model": "tiny-llama", "max_tokens": 1} | _REBUILT[exchange.name]
        ).encode()
    headers = exchange.headers | {"Content-Length": str(len(body))}
    async with connect(url) as wire:
        wire.writer.write(request_bytes(exchange.method, exchange.path, body, headers))
        return await wire.answer()


def expected(recorded: dict[str, Any], where: str, name: str) -> dict[str, Any]:
    """The recorded shape, less what differs knowingly."""
    body = recorded["body"]
    if where == "C-key-lora-priority" and isinstance(body, dict) and "metrics" in body:
        body["metrics"] = "null"  # that server was started with per-request metrics
    if name == "chat_return_ids":
        del body["choices"][0]["meta_info"]  # that request also asked for them
    if where == "B-defaults" and name == "generate":
        pytest.skip("without metrics the native answer has fewer times in it")
    if name.startswith("flush_cache"):
        # The HTTP library insists on a type for every body.
        recorded["content-type"] = "application/octet-stream"
        recorded["headers"] = ["content-type", *recorded["headers"]]
    return recorded


async def test_sglang_responses_stream_has_the_recorded_events() -> None:
    exchange = load(folder("sglang", "A-all-on"), "responses_stream")
    async with running(**SERVERS["sglang", "A-all-on"]) as server:
        mine = await replay(server.url, exchange)
    assert event_shapes(mine.events) == event_shapes(exchange.answer.events)


async def test_vllm_responses_stream_has_the_recorded_events() -> None:
    exchange = load(folder("vllm", "A-all-on"), "responses_stream")
    async with running(**SERVERS["vllm", "A-all-on"]) as server:
        mine = await replay(server.url, exchange)
    assert answer_shape(mine) == answer_shape(exchange.answer)


def test_the_table_names_nothing_that_is_not_there() -> None:
    recorded = {name for engine, where in SERVERS for name in names(engine, where)}
    if not recorded:
        pytest.skip("recordings not at hand")
    assert set(NOT_COMPARED) <= recorded
    assert len(CASES) > 280
