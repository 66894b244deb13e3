"""Workloads keep what they are made of: order, rate, shared prefixes, the loop of a session."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
import pytest
from cardan_sim.simulate.workloads import (
    AnyWorkload,
    NoisyTenant,
    Sessions,
    SystemPrompts,
    ToolAndAgent,
    Trace,
    WorkloadError,
)
from cardan_sim.simulate.workloads.base import WHOLE, Segment

from tests.sim.simulate.worlds import play

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_sim.simulate.jobs import Job

SLICE = Path(__file__).parents[3] / "sim/cardan_sim/demo/data/conversation_slice.jsonl.gz"


def jobs_of(
    workload: AnyWorkload,
    *,
    root: Path = Path(),
    segment: Segment = WHOLE,
    rate: float | None = 2.0,
    seed: int = 1,
) -> list[Job]:
    return list(workload.jobs(root=root, segment=segment, rate=rate, seed=seed))


def ideal_hit_ratio(jobs: Sequence[Job]) -> float:
    seen: set[int] = set()
    hit = 0
    for job in jobs:
        found = 0
        for block in job.blocks:
            if block not in seen:
                break
            found += 1
        seen.update(job.blocks)
        hit += min(found * job.block_tokens, job.tokens)
    return hit / sum(job.tokens for job in jobs)


MADE = [
    ToolAndAgent(requests=3000),
    SystemPrompts(requests=500),
    NoisyTenant(requests=2000),
]


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.label)
def test_made_up_requests_fit_their_blocks_and_their_rate(workload: AnyWorkload) -> None:
    jobs = jobs_of(workload, rate=5.0)
    assert all(len(job.blocks) == -(-job.tokens // 512) for job in jobs)
    assert all(job.output_tokens >= 1 for job in jobs)
    assert all(a.due_s <= b.due_s for a, b in pairwise(jobs))
    assert len(jobs) / jobs[-1].due_s == pytest.approx(5.0, rel=0.15)


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.label)
def test_the_same_seed_draws_the_same_requests(workload: AnyWorkload) -> None:
    one, other = jobs_of(workload, seed=3), jobs_of(workload, seed=3)
    assert [(j.due_s, j.tokens, tuple(j.blocks)) for j in one] == [
        (j.due_s, j.tokens, tuple(j.blocks)) for j in other
    ]


@pytest.mark.parametrize("workload", MADE, ids=lambda w: w.label)
def test_an_id_stands_for_everything_before_it(workload: AnyWorkload) -> None:
    parents: dict[int, int] = {}
    for job in jobs_of(workload):
        for parent, block in pairwise((0, *job.blocks)):
            assert parents.setdefault(block, parent) == parent


def test_tools_and_agents_are_as_the_paper_describes_them() -> None:
    jobs = jobs_of(ToolAndAgent(requests=8000))
    share = {name: sum(j.tenant == name for j in jobs) / len(jobs) for name in ("hot", "warm")}
    assert share == {"hot": pytest.approx(0.378, abs=0.02), "warm": pytest.approx(0.149, abs=0.02)}
    assert sum(j.tokens for j in jobs) / len(jobs) == pytest.approx(8596, rel=0.1)
    assert sum(j.output_tokens for j in jobs) / len(jobs) == pytest.approx(182, rel=0.1)
    assert ideal_hit_ratio(jobs) == pytest.approx(0.59, abs=0.05)


def test_system_prompts_share_what_they_are_told_to() -> None:
    assert ideal_hit_ratio(jobs_of(SystemPrompts(prefix_share=0.0, requests=300))) == 0.0
    popular = ideal_hit_ratio(jobs_of(SystemPrompts(prompts=5, prefix_share=0.5, requests=600)))
    assert popular == pytest.approx(0.5, abs=0.05)


def test_a_trace_is_rescaled_with_its_order_and_cut() -> None:
    trace = Trace(path=str(SLICE), max_input_tokens=4096, requests=200)
    recorded, fast = jobs_of(trace, rate=None), jobs_of(trace, rate=20.0)
    assert [job.blocks for job in recorded] == [job.blocks for job in fast]
    assert max(job.tokens for job in fast) == 4096
    assert (len(fast) - 1) / fast[-1].due_s == pytest.approx(20.0)
    assert len(jobs_of(trace, segment=Segment(start=0.5))) == 100
    with pytest.raises(WorkloadError, match="nothing lies between"):
        jobs_of(trace, segment=Segment(start=0.5, stop=0.5))


def test_recorded_openai_requests_share_what_their_texts_share(tmp_path: Path) -> None:
    system = {"role": "system", "content": "s" * 6000}
    lines = [
        {"timestamp": at, "body": {"model": "m", "max_tokens": 5, "messages": [system, user]}}
        for at, user in enumerate({"role": "user", "content": c * 3000} for c in "abab")
    ]
    path = tmp_path / "requests.jsonl"
    path.write_text("\n".join(map(json.dumps, lines)))
    a, b, again, _ = jobs_of(Trace(path=str(path)), rate=None)
    assert a.blocks == again.blocks
    assert a.blocks[:2] == b.blocks[:2]
    assert a.blocks != b.blocks
    assert (a.output_tokens, again.due_s) == (5, 2.0)


def test_a_trace_without_times_needs_a_rate(tmp_path: Path) -> None:
    path = tmp_path / "requests.jsonl"
    path.write_text(json.dumps({"body": {"model": "m", "prompt": "x" * 100}}) + "\n")
    assert len(jobs_of(Trace(path=str(path)))) == 1
    with pytest.raises(WorkloadError, match="at which rate"):
        jobs_of(Trace(path=str(path)), rate=None)


def sessions_file(path: Path) -> Path:
    def turn(t: float, tokens: int, think: float, **rest: object) -> dict[str, object]:
        ids = list(range(1, tokens // 64 + 1))
        return {"t": t, "type": "s", "in": tokens, "out": 7, "hash_ids": ids, "think_time": think}

    session = {
        "id": "a",
        "block_size": 64,
        "requests": [
            turn(0.0, 1500, 0.0),
            {"t": 5.0, "type": "subagent", "requests": [turn(1.0, 600, 1.0)]},
            turn(20.0, 3000, 100.0),
            turn(30.0, 90_000, 1.0),
        ],
    }
    path.write_text("\n".join(json.dumps(session | {"id": name}) for name in ("a", "b")))
    return path


def test_a_session_is_a_chain_of_turns_that_think(tmp_path: Path) -> None:
    path = sessions_file(tmp_path / "sessions.jsonl")
    heads = jobs_of(Sessions(path=str(path), max_input_tokens=80_000))
    assert len(heads) == 2
    turns = list(heads[0].turns())
    assert [turn.tokens for turn in turns] == [1500, 600, 3000], "the last one is too long"
    assert [turn.think_s for turn in turns] == [0.0, 1.0, 60.0], "pauses are cut"
    assert list(turns[2].blocks[:2]) == list(turns[0].blocks[:2])
    assert set(heads[0].blocks).isdisjoint(heads[1].blocks)


def test_a_turn_waits_for_the_answer_and_the_thought_before_it(tmp_path: Path) -> None:
    path = sessions_file(tmp_path / "sessions.jsonl")
    jobs = jobs_of(Sessions(path=str(path), max_input_tokens=80_000, limit=1))
    recorder = play(jobs)
    assert len(recorder) == 3
    first_end = recorder.arrived_s[0] + recorder.e2e_s[0]
    assert recorder.arrived_s[1] == pytest.approx(first_end + 1.0)


def test_copies_of_a_session_share_nothing(tmp_path: Path) -> None:
    path = sessions_file(tmp_path / "sessions.jsonl")
    heads = jobs_of(Sessions(path=str(path), copies=2, max_input_tokens=2000))
    assert len(heads) == 4
    assert ideal_hit_ratio(heads) == 0.0


def test_a_trace_whose_lines_name_sessions_can_be_played_as_sessions(tmp_path: Path) -> None:
    path = tmp_path / "blocks.jsonl"
    path.write_text(
        "\n".join(
            json.dumps(
                {
                    "session_id": n % 2,
                    "timestamp": 1000 * n,
                    "input_length": 32 + 16 * n,
                    "output_length": 3,
                    "hash_ids": list(range(2 + n)),
                }
            )
            for n in range(4)
        )
    )
    heads = jobs_of(Sessions(path=str(path), block_tokens=16, think_s=1.5))
    assert sorted(len(list(head.turns())) for head in heads) == [2, 2]
    assert {turn.think_s for head in heads for turn in head.turns()} == {1.5}


def test_workloads_are_strict() -> None:
    with pytest.raises(msgspec.ValidationError, match="unknown field `rat`"):
        msgspec.convert({"type": "tool-and-agent", "rat": 1}, AnyWorkload)
