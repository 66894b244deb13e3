"""/metrics has the recorded names, types, labels and buckets of everything that is simulated."""

from __future__ import annotations

import re
from typing import Any

import pytest
from cardan_sim.serve.metrics import render

from tests.contract.engines.recordings import folder
from tests.sim.serve.servers import running
from tests.sim.serve.wire import get, post

# What a gateway or an autoscaler reads; each must be there, exactly as recorded.
VLLM = """
num_requests_running num_requests_waiting num_requests_waiting_by_reason kv_cache_usage_perc
prefix_cache_queries_total prefix_cache_hits_total external_prefix_cache_queries_total
external_prefix_cache_hits_total prompt_tokens_by_source_total time_to_first_token_seconds
inter_token_latency_seconds request_time_per_output_token_seconds e2e_request_latency_seconds
request_queue_time_seconds request_prefill_time_seconds request_decode_time_seconds
request_inference_time_seconds num_preemptions_total request_num_preemptions prompt_tokens_total
generation_tokens_total request_prompt_tokens request_generation_tokens
request_prefill_kv_computed_tokens iteration_tokens_total request_success_total
admission_rejections_total engine_sleep_state cache_config_info
"""
SGLANG = """
num_running_reqs num_queue_reqs num_paused_reqs num_grammar_queue_reqs token_usage
full_token_usage swa_token_usage mamba_usage kv_used_tokens kv_available_tokens
kv_evictable_tokens num_used_tokens max_total_num_tokens page_size num_pages context_len
cache_hit_rate cached_tokens_total prompt_tokens_total uncached_prompt_tokens_histogram
time_to_first_token_seconds inter_token_latency_seconds request_time_per_output_token_seconds
e2e_request_latency_seconds queue_time_seconds gen_throughput generation_tokens_total
realtime_tokens_total prefill_effective_tokens_total utilization num_retracted_reqs
num_prefill_bootstrap_queue_reqs num_prefill_inflight_queue_reqs num_decode_prealloc_queue_reqs
num_decode_transfer_queue_reqs pending_prealloc_token_usage num_requests_total
http_requests_active http_requests_total http_responses_total num_unique_running_routing_keys
startup_time_seconds
"""
READ = {"vllm": VLLM.split(), "sglang": SGLANG.split()}
RECORDED = {
    "vllm": "13_after_same_prompts_again_prefix_hits.txt",
    "sglang": "02_after_eviction.txt",
}
SAMPLE = re.compile(r"^([\w:]+)(?:\{(.*)\})? (\S+)$")
LABEL = re.compile(r'(\w+)="([^"]*)"')


def families(page: str) -> dict[str, dict[str, Any]]:
    """Type, label names and bucket edges of every family of a page."""
    found: dict[str, dict[str, Any]] = {}
    for line in page.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            found.setdefault(name, {"type": kind, "labels": set(), "edges": []})
        match = SAMPLE.match(line)
        if match is None:
            continue
        name = match[1]
        for suffix in ("_bucket", "_sum", "_count"):
            base = name.removesuffix(suffix)
            if base != name and found.get(base, {}).get("type") == "histogram":
                name = base
        if name not in found:
            continue
        labels = dict(LABEL.findall(match[2] or ""))
        if found[name]["type"] == "histogram" and "le" in labels:
            edge = float(labels.pop("le"))
            if edge not in found[name]["edges"]:
                found[name]["edges"].append(edge)
        found[name]["labels"] |= set(labels)
    return found


async def worked_page(engine: str) -> str:
    """The page of a simulated engine that has answered a few requests, some from its cache."""
    async with running(make=engine, task="generate") as server:
        body: dict[str, Any] = {"prompt": "again and again " * 50, "max_tokens": 5}
        for stream in (False, True, False):
            await post(server.url, "/v1/completions", body | {"stream": stream})
        answer = await get(server.url, "/metrics")
        assert answer.status == 200
        return answer.body.decode()


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_what_a_gateway_reads_is_there_as_recorded(engine: str) -> None:
    recorded = families((folder(engine, "A-all-on") / "metrics" / RECORDED[engine]).read_text())
    mine = families(await worked_page(engine))
    for name in READ[engine]:
        full = f"{engine}:{name}"
        assert full in mine, full
        assert full in recorded, full
        if name == "cache_config_info":
            assert mine[full]["labels"] <= recorded[full]["labels"]
            continue
        assert mine[full]["type"] == recorded[full]["type"], full
        assert mine[full]["labels"] == recorded[full]["labels"], full
        assert mine[full]["edges"] == recorded[full]["edges"], full


@pytest.mark.parametrize("engine", ["vllm", "sglang"])
async def test_no_name_is_invented(engine: str) -> None:
    recorded = families((folder(engine, "A-all-on") / "metrics" / RECORDED[engine]).read_text())
    mine = families(await worked_page(engine))
    assert set(mine) <= set(recorded)


async def test_the_content_types_are_the_recorded_ones() -> None:
    for engine, version in (("vllm", "1.0.0"), ("sglang", "0.0.4")):
        async with running(make=engine) as server:
            kind = (await get(server.url, "/metrics")).header("content-type")
        assert kind == f"text/plain; version={version}; charset=utf-8"


async def test_priority_scheduling_labels_sglangs_gauges() -> None:
    where = folder("sglang", "C-key-priority-full") / "metrics" / "full_queue.txt"
    recorded = families(where.read_text())["sglang:num_running_reqs"]["labels"]
    async with running(make="sglang", priority_scheduling=True) as server:
        mine = families(render(server.context).decode())["sglang:num_running_reqs"]["labels"]
    assert mine == recorded
    assert "priority" in mine
