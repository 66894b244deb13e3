"""Every kind of trace file becomes the same value, and a bad line is blamed by name and number."""

from __future__ import annotations

import gzip
import json
from typing import TYPE_CHECKING

import pytest
from cardan_sim.traces import BlockPrompt, RecordedBody, TraceError, read_trace

if TYPE_CHECKING:
    from pathlib import Path


def mooncake_line(at_ms: int, tokens: int, ids: list[int], out: int = 5) -> str:
    return json.dumps(
        {"timestamp": at_ms, "input_length": tokens, "output_length": out, "hash_ids": ids}
    )


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def test_a_mooncake_line_keeps_its_lengths_and_block_ids(tmp_path: Path) -> None:
    path = write(tmp_path / "t.jsonl", mooncake_line(0, 1000, [0, 7], out=42))
    (request,) = read_trace(path)
    assert (request.input_tokens, request.output_tokens) == (1000, 42)
    assert request.prompt == BlockPrompt((0, 7), 512)


def test_requests_of_one_recorded_time_are_spread_over_the_three_seconds_after_it(
    tmp_path: Path,
) -> None:
    lines = [mooncake_line(0, 10, [1]) for _ in range(3)] + [mooncake_line(6000, 10, [1])]
    arrivals = [r.arrival_s for r in read_trace(write(tmp_path / "t.jsonl", *lines))]
    assert arrivals == [0.0, 1.0, 2.0, 6.0]


def test_a_group_is_not_spread_beyond_the_next_recorded_time(tmp_path: Path) -> None:
    lines = [mooncake_line(0, 10, [1]), mooncake_line(0, 10, [1]), mooncake_line(1000, 10, [1])]
    arrivals = [r.arrival_s for r in read_trace(write(tmp_path / "t.jsonl", *lines))]
    assert arrivals == [0.0, 0.5, 1.0]


def test_a_partial_last_block_without_an_id_gets_one_that_nobody_shares(tmp_path: Path) -> None:
    lines = [mooncake_line(at, 40, [1, 2]) for at in (0, 5)]
    first, second = read_trace(write(tmp_path / "t.jsonl", *lines), block_tokens=16)
    assert isinstance(first.prompt, BlockPrompt)
    assert isinstance(second.prompt, BlockPrompt)
    assert first.prompt.blocks[:2] == second.prompt.blocks[:2] == (1, 2)
    assert len({first.prompt.blocks[2], second.prompt.blocks[2], 1, 2}) == 4


def test_gzip_is_read_like_plain_text_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / "trace"
    path.write_bytes(gzip.compress(mooncake_line(0, 10, [3]).encode()))
    assert read_trace(path)[0].input_tokens == 10


def test_azure_rows_become_prompts_that_share_nothing(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_bytes(
        b"TIMESTAMP,ContextTokens,GeneratedTokens\r\n"
        b"2023-11-16 18:15:46.6805900,600,44\r\n"
        b"2023-11-16 18:15:50.9951690,600,109\r\n"
    )
    first, second = read_trace(path)
    assert second.arrival_s == pytest.approx(4.314579, abs=1e-6)
    assert isinstance(first.prompt, BlockPrompt)
    assert isinstance(second.prompt, BlockPrompt)
    assert len(first.prompt.blocks) == 2
    assert not set(first.prompt.blocks) & set(second.prompt.blocks)


def test_burstgpt_columns_are_found_by_name_and_failed_requests_left_out(tmp_path: Path) -> None:
    path = write(
        tmp_path / "burst.csv",
        "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log",
        "5,1,0.2,ChatGPT,472,18,490,Conversation log",
        "7,1,0.2,ChatGPT,0,0,0,Conversation log",
        "9,2,0.2,GPT-4,30,3,33,API log",
    )
    requests = read_trace(path)
    assert [(r.arrival_s, r.input_tokens, r.output_tokens) for r in requests] == [
        (0.0, 472, 18),
        (4.0, 30, 3),
    ]


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("timestamp,client,input_tokens,output_tokens", "1.5,7,614,47"),
        ("req_id,adapter_dir,prompt_len,output_len,req_time", "0,a,614,47,1.5"),
    ],
)
def test_other_tables_of_the_same_kind_are_read_too(tmp_path: Path, header: str, row: str) -> None:
    (request,) = read_trace(write(tmp_path / "t.csv", header, row))
    assert (request.input_tokens, request.output_tokens) == (614, 47)


def test_a_recorded_body_is_kept_whole_with_its_path(tmp_path: Path) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "max_tokens": 9}
    path = write(
        tmp_path / "r.jsonl",
        json.dumps({"timestamp": 3.0, "body": {"prompt": "a"}}),
        json.dumps({"timestamp": "1970-01-01T00:00:01+00:00", "body": body}),
    )
    first, second = read_trace(path)
    assert first.prompt == RecordedBody("/v1/chat/completions", body)
    assert (first.arrival_s, second.arrival_s) == (0.0, 2.0)
    assert first.output_tokens == 9
    assert second.prompt == RecordedBody("/v1/completions", {"prompt": "a"})


def test_lines_of_an_openai_batch_file_have_a_path_and_no_time(tmp_path: Path) -> None:
    line = {
        "custom_id": "1",
        "method": "POST",
        "url": "/v1/embeddings",
        "body": {"model": "e", "input": "text"},
    }
    (request,) = read_trace(write(tmp_path / "b.jsonl", json.dumps(line)))
    assert request.arrival_s is None
    assert request.prompt == RecordedBody("/v1/embeddings", {"model": "e", "input": "text"})


@pytest.mark.parametrize(
    ("name", "lines", "blame"),
    [
        ("t.jsonl", [mooncake_line(0, 10, [1]), '{"timestamp": 1, "hash_ids": []}'], ":2: .*input"),
        ("t.jsonl", [mooncake_line(0, 1500, [1])], ":1: 1 hash_ids for 1500 tokens"),
        ("t.jsonl", [mooncake_line(0, 10, [1]), "not json"], ":2: "),
        ("t.jsonl", [mooncake_line(-5, 10, [1])], ":1: .*negative"),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens", "yesterday,1,1"], ":2: .*yesterday"),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens", "2023-11-16,1"], ":2: 2 columns"),
        ("t.csv", ["a,b,c", "1,2,3"], ":1: of no known format"),
        ("t.jsonl", ['{"body": {"model": "m"}}'], ":1: .*neither"),
        ("t.jsonl", ['{"body": {"prompt": "a"}, "timestamp": "soon"}'], ":1: .*soon"),
        ("t.jsonl", ['{"body": {"prompt": "a"}, "timestamp": 1}', '{"body": {"prompt": "b"}}'],
         "only 1 of 2 requests have a time"),
        ("t.jsonl", [""], "no requests"),
        ("t.csv", ["TIMESTAMP,ContextTokens,GeneratedTokens"], "no requests"),
    ],
)  # fmt: skip
def test_a_bad_file_is_blamed_by_file_and_line(
    tmp_path: Path, name: str, lines: list[str], blame: str
) -> None:
    path = write(tmp_path / name, *lines)
    with pytest.raises(TraceError, match=f"{name}.*{blame}"):
        read_trace(path)


def test_a_missing_file_and_broken_gzip_are_trace_errors(tmp_path: Path) -> None:
    with pytest.raises(TraceError, match="No such file"):
        read_trace(tmp_path / "nowhere.jsonl")
    cut = tmp_path / "cut.gz"
    cut.write_bytes(gzip.compress(mooncake_line(0, 10, [3]).encode() * 50)[:-20])
    with pytest.raises(TraceError, match=r"cut\.gz:1: broken gzip"):
        read_trace(cut)
