"""vLLM's and SGLang's series become the same figures; what they do not tell is None, never zero.

Own samples first, one rule each; then the scrapes and load reports recorded from real engines,
where they are at hand.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from cardan.endpoint import EngineKind
from cardan.exposition import read_loads, read_metrics
from cardan.metrics import EngineMetrics
from hypothesis import given
from hypothesis import strategies as st

AT = 12.5
REFERENCE = Path(__file__).parents[2] / "../shared/reference"
recorded = pytest.mark.skipif(
    not REFERENCE.is_dir(), reason="the recordings of real engines are not at hand"
)


def vllm(*lines: str) -> EngineMetrics:
    metrics = read_metrics(EngineKind.VLLM, "\n".join(lines).encode() + b"\n", AT)
    assert metrics is not None
    return metrics


def sglang(*lines: str) -> EngineMetrics:
    metrics = read_metrics(EngineKind.SGLANG, "\n".join(lines).encode() + b"\n", AT)
    assert metrics is not None
    return metrics


def of_recording(engine: EngineKind, path: str) -> EngineMetrics:
    metrics = read_metrics(engine, (REFERENCE / path).read_bytes(), AT)
    assert metrics is not None
    return metrics


def test_what_is_not_exposed_is_none() -> None:
    assert vllm("vllm:num_requests_running 3") == EngineMetrics(at=AT, running=3.0)
    assert sglang("sglang:num_running_reqs 3") == EngineMetrics(at=AT, running=3.0)


def test_what_is_no_engine_is_nothing() -> None:
    assert read_metrics(EngineKind.VLLM, b"", AT) is None
    assert read_metrics(EngineKind.AUTO, b"go_goroutines 7\n", AT) is None
    assert read_metrics(EngineKind.VLLM, b"sglang:num_running_reqs 3\n", AT) is None


@pytest.mark.parametrize("kind", [EngineKind.AUTO, EngineKind.OPENAI])
def test_an_unknown_engine_is_told_by_its_names(kind: EngineKind) -> None:
    assert read_metrics(kind, b"# x\nvllm:num_requests_running 3\n", AT) == EngineMetrics(
        at=AT, running=3.0
    )
    assert read_metrics(kind, b"sglang:num_running_reqs 4\n", AT) == EngineMetrics(
        at=AT, running=4.0
    )


def test_vllm_counts_are_summed_over_data_parallel_ranks_and_ratios_averaged() -> None:
    metrics = vllm(
        'vllm:num_requests_running{engine="0"} 3',
        'vllm:num_requests_running{engine="1"} 5',
        'vllm:kv_cache_usage_perc{engine="0"} 0.2',
        'vllm:kv_cache_usage_perc{engine="1"} 0.6',
        'vllm:cache_config_info{block_size="16",engine="0",num_gpu_blocks="1000"} 1',
        'vllm:cache_config_info{block_size="16",engine="1",num_gpu_blocks="1000"} 1',
    )
    assert (metrics.running, metrics.kv_capacity_tokens) == (8, 32_000)
    assert metrics.kv_used_ratio == pytest.approx(0.4)


def test_vllm_requests_deferred_for_remote_kv_are_no_pressure() -> None:
    metrics = vllm(
        "vllm:num_requests_waiting 9",
        'vllm:num_requests_waiting_by_reason{reason="capacity"} 2',
        'vllm:num_requests_waiting_by_reason{reason="deferred"} 7',
    )
    assert metrics.waiting == 2


def test_an_older_vllm_tells_all_its_waiting_requests_only() -> None:
    assert vllm("vllm:num_requests_waiting 9").waiting == 9


@pytest.mark.parametrize(
    ("line", "field"),
    [
        ("vllm:gpu_cache_usage_perc 7", "kv_used_ratio"),
        ("vllm:kv_cache_usage_perc 7", "kv_used_ratio"),
        ("vllm:prefix_cache_queries_total 7", "prefix_queries_tokens"),
        ("vllm:gpu_prefix_cache_queries_total 7", "prefix_queries_tokens"),
        ("vllm:gpu_prefix_cache_queries 7", "prefix_queries_tokens"),
        ("vllm:prefix_cache_hits_total 7", "prefix_hits_tokens"),
        ("vllm:gpu_prefix_cache_hits_total 7", "prefix_hits_tokens"),
        ("vllm:prompt_tokens_total 7", "prompt_tokens"),
        ("vllm:generation_tokens_total 7", "generation_tokens"),
        ("vllm:num_preemptions_total 7", "preemptions"),
        ("vllm:num_preemptions 7", "preemptions"),
    ],
)
def test_every_name_vllm_has_used_is_understood(line: str, field: str) -> None:
    assert getattr(vllm(line), field) == 7


def test_the_newer_name_wins() -> None:
    metrics = vllm("vllm:gpu_cache_usage_perc 0.1", "vllm:kv_cache_usage_perc 0.9")
    assert metrics.kv_used_ratio == 0.9


def test_vllm_has_no_capacity_until_it_has_profiled() -> None:
    metrics = vllm(
        "vllm:num_requests_running 0",
        'vllm:cache_config_info{block_size="16",num_gpu_blocks="None"} 1',
    )
    assert metrics.kv_capacity_tokens is None


def test_sglang_gauges_are_rank_0s_summed_over_data_parallel_ranks() -> None:
    metrics = sglang(
        'sglang:num_running_reqs{dp_rank="0",pp_rank="0",tp_rank="0"} 3',
        'sglang:num_running_reqs{dp_rank="0",pp_rank="0",tp_rank="1"} 3',
        'sglang:num_running_reqs{dp_rank="0",pp_rank="1",tp_rank="0"} 3',
        'sglang:num_running_reqs{dp_rank="1",pp_rank="0",tp_rank="0"} 5',
        'sglang:token_usage{dp_rank="0",pp_rank="0",tp_rank="0"} 0.2',
        'sglang:token_usage{dp_rank="1",pp_rank="0",tp_rank="0"} 0.4',
    )
    assert metrics.running == 8
    assert metrics.kv_used_ratio == pytest.approx(0.3)


def test_an_sglang_gauge_with_priorities_has_its_total_under_the_empty_one() -> None:
    metrics = sglang(
        'sglang:num_queue_reqs{pp_rank="0",priority="",tp_rank="0"} 4',
        'sglang:num_queue_reqs{pp_rank="0",priority="1",tp_rank="0"} 3',
        'sglang:num_queue_reqs{pp_rank="0",priority="100",tp_rank="0"} 1',
    )
    assert metrics.waiting == 4


def test_an_sglang_counter_with_priorities_is_the_sum_of_all() -> None:
    metrics = sglang(
        'sglang:prompt_tokens_total{is_streaming="false",priority=""} 100',
        'sglang:prompt_tokens_total{is_streaming="true",priority="5"} 20',
    )
    assert metrics.prompt_tokens == 120


def test_sglang_hits_are_summed_over_their_sources() -> None:
    metrics = sglang(
        'sglang:cached_tokens_total{cache_source="device"} 100',
        'sglang:cached_tokens_total{cache_source="host"} 20',
        "sglang:prompt_tokens_total 1000",
    )
    assert (metrics.prefix_hits_tokens, metrics.prefix_queries_tokens) == (120, 1000)


def test_an_older_sglang_tells_its_capacity_in_pages() -> None:
    metrics = sglang('sglang:cache_config_info{num_pages="1024",page_size="16"} 1')
    assert metrics.kv_capacity_tokens == 16_384


def test_a_negative_gauge_is_nonsense_and_missing() -> None:
    assert sglang("sglang:num_running_reqs 1", "sglang:token_usage -1").kv_used_ratio is None


LOADS = b"""{"timestamp":"t","version":"0.5.23","loads":[
 {"dp_rank":0,"num_running_reqs":2,"num_waiting_reqs":1,"num_waiting_uncached_tokens":300,
  "max_total_num_tokens":1000,"token_usage":0.2,"new_field":[1]},
 {"dp_rank":1,"num_running_reqs":3,"num_waiting_reqs":0,"num_waiting_uncached_tokens":0,
  "max_total_num_tokens":1000,"token_usage":0.4}]}"""


def test_sglangs_load_report_is_summed_over_data_parallel_ranks() -> None:
    metrics = read_loads(LOADS, AT)
    assert metrics is not None
    assert metrics.kv_used_ratio == pytest.approx(0.3)
    assert (metrics.running, metrics.waiting, metrics.waiting_uncached_tokens) == (5, 1, 300)
    assert (metrics.kv_capacity_tokens, metrics.prompt_tokens) == (2000, None)


def test_a_rank_that_does_not_tell_makes_the_sum_unknown() -> None:
    metrics = read_loads(b'{"loads":[{"num_running_reqs":2},{"num_waiting_reqs":1}]}', AT)
    assert metrics == EngineMetrics(at=AT)


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"loads":[]}', b'{"loads":{"a":1}}', b"\xff", b'{"detail":"x"}']
)
def test_what_is_no_load_report_is_nothing(body: bytes) -> None:
    assert read_loads(body, AT) is None


@given(st.binary(max_size=100))
def test_no_load_report_makes_it_raise(body: bytes) -> None:
    read_loads(body, AT)
    read_loads(b'{"loads":[' + body + b"]}", AT)


@recorded
def test_a_real_vllm_under_load() -> None:
    metrics = of_recording(
        EngineKind.VLLM, "vllm-fixtures/A-all-on/metrics/11_under_load_8_running_4_waiting.txt"
    )
    assert (metrics.running, metrics.waiting) == (8, 4)
    assert metrics.kv_used_ratio == pytest.approx(0.1063, abs=1e-4)
    assert metrics.kv_capacity_tokens == 32 * 1280
    assert (metrics.prefix_queries_tokens, metrics.prefix_hits_tokens) == (99_154, 20_512)
    assert (metrics.prompt_tokens, metrics.generation_tokens) == (99_158, 1204)
    assert metrics.preemptions == 0


@recorded
def test_a_real_vllm_that_is_full() -> None:
    metrics = of_recording(
        EngineKind.VLLM, "vllm-fixtures/S-overload-keepalive/metrics/while_full.txt"
    )
    assert (metrics.running, metrics.waiting) == (2, 2)


@recorded
def test_a_real_sglang_under_load() -> None:
    metrics = of_recording(
        EngineKind.SGLANG,
        "sglang-fixtures/A-all-on/metrics/10_under_load_8_running_4_queued.txt",
    )
    assert (metrics.running, metrics.waiting, metrics.kv_used_ratio) == (8, 4, 0.23)
    assert metrics.kv_capacity_tokens == 16_384
    assert metrics.prefix_hits_tokens is None  # nothing has hit yet, so there is no such series


@recorded
def test_a_real_sglang_with_priorities_is_not_counted_twice() -> None:
    metrics = of_recording(
        EngineKind.SGLANG, "sglang-fixtures/C-key-priority-full/metrics/full_queue.txt"
    )
    assert (metrics.running, metrics.waiting) == (2, 4)
    assert metrics.prompt_tokens == 148 + 220 + 20 + 29 + 20 + 20 + 20 + 80
    assert metrics.prefix_hits_tokens == 67 + 259


@recorded
def test_every_recorded_scrape_is_recognised_and_tells_the_basics() -> None:
    scrapes = sorted(REFERENCE.glob("*-fixtures/*/metrics*/*.txt"))
    scrapes += sorted(REFERENCE.glob("*-fixtures/*/metrics*.txt"))
    assert len(scrapes) >= 20
    for scrape in scrapes:
        metrics = read_metrics(EngineKind.AUTO, scrape.read_bytes(), AT)
        assert metrics is not None, scrape
        told = (metrics.running, metrics.waiting, metrics.kv_used_ratio, metrics.kv_capacity_tokens)
        assert None not in told, scrape


@recorded
@pytest.mark.parametrize("name", ["loads_idle", "loads_core", "loads_all"])
def test_a_real_sglangs_load_report(name: str) -> None:
    response = (REFERENCE / f"sglang-fixtures/A-all-on/http/{name}.response.http").read_bytes()
    body = response.partition(b"\r\n\r\n")[2] or response.partition(b"\n\n")[2]
    metrics = read_loads(body, AT)
    assert metrics is not None
    assert (metrics.running, metrics.waiting, metrics.waiting_uncached_tokens) == (0, 0, 0)
    assert metrics.kv_capacity_tokens == 16_384
