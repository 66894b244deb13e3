"""The published files read as their publisher's README says: counts, spans and ideal reuse."""

from __future__ import annotations

from pathlib import Path

import pytest
from cardan_sim.traces import BlockPrompt, TraceRequest, read_trace

TRACES = Path(__file__).parents[3] / "../shared/traces"


def published(name: str) -> Path:
    path = TRACES / name
    if not path.exists():
        pytest.skip("the published traces are not on this machine")
    return path


def ideal_hit_ratio(requests: list[TraceRequest]) -> float:
    """Token share of blocks seen before, from the start of each prompt to the first unseen."""
    seen: set[int] = set()
    hit = total = 0
    for request in requests:
        assert isinstance(request.prompt, BlockPrompt)
        for index, block in enumerate(request.prompt.blocks):
            if block not in seen:
                break
            start = index * request.prompt.block_tokens
            hit += min(request.prompt.block_tokens, request.input_tokens - start)
        seen.update(request.prompt.blocks)
        total += request.input_tokens
    return hit / total


@pytest.mark.parametrize(
    ("name", "count", "span_s", "hit_ratio"),
    [
        ("mooncake/conversation_trace.jsonl.gz", 12_031, 3_537, 0.374),
        ("mooncake/mooncake_trace_1000.jsonl.gz", 1_000, 177, 0.391),
    ],
)
def test_mooncake_traces_read_as_published(
    name: str, count: int, span_s: float, hit_ratio: float
) -> None:
    requests = read_trace(published(name))
    assert len(requests) == count
    # Spreading the last recorded time adds at most one tick.
    assert requests[-1].arrival_s == pytest.approx(span_s, abs=3.1)
    assert ideal_hit_ratio(requests) == pytest.approx(hit_ratio, abs=0.001)


def test_the_azure_trace_reads_as_published() -> None:
    requests = read_trace(published("azure2023/AzureLLMInferenceTrace_conv.csv.gz"))
    assert len(requests) == 19_366
    assert requests[-1].arrival_s == pytest.approx(3_502, abs=1)
    assert sum(r.input_tokens for r in requests) / len(requests) == pytest.approx(1_155, abs=1)


def test_derived_blocks_of_sixteen_tokens_read_with_their_size() -> None:
    requests = read_trace(published("agentic/miniswe_blocks.jsonl.gz"), block_tokens=16)
    assert len(requests) == 402
    assert ideal_hit_ratio(requests) == pytest.approx(0.934, abs=0.002)
