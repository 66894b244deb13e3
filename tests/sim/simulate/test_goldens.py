"""Summaries of fixed runs, to the digit: what changes them is a change of what is decided.

A change that is meant rewrites them: set CARDAN_WRITE_GOLDENS=1 and run this file.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from cardan.policies import policy_named
from cardan_sim.simulate.engines import PrefillSpec, StepSpec
from cardan_sim.simulate.knowledge import Exact, Metrics
from cardan_sim.simulate.summary import Summary, summarise
from cardan_sim.simulate.workloads import ToolAndAgent, Trace
from cardan_sim.simulate.workloads.base import WHOLE
from cardan_sim.simulate.world import Setup, World

GOLDENS = Path(__file__).with_name("goldens.json")
SLICE = Path(__file__).parents[3] / "sim/cardan_sim/demo/data/conversation_slice.jsonl.gz"
CONVERSATION = Trace(path=str(SLICE), max_input_tokens=20_480)
TOOLS = ToolAndAgent(requests=600, max_input_tokens=20_480)
PREFILL = Setup(engine=PrefillSpec(), knowledge=Exact())
H100 = Setup(engines=4, engine=StepSpec(gpu="h100"), knowledge=Metrics(), gateways=2)

CASES = {
    "conversation, prefill, round-robin": (CONVERSATION, PREFILL, "round-robin", 6.0),
    "conversation, prefill, dualmap": (CONVERSATION, PREFILL, "dualmap", 6.0),
    "tools, prefill, dualmap": (TOOLS, PREFILL, "dualmap", 14.0),
    "conversation, H100, least-request": (CONVERSATION, H100, "least-request", 8.0),
    "conversation, H100, dualmap": (CONVERSATION, H100, "dualmap", 8.0),
}


def short(summary: Summary) -> dict[str, object]:
    """A summary without all of its quantiles."""
    plain: dict[str, object] = msgspec.to_builtins(summary)
    for name in ("ttft_s", "itl_s", "tpot_s", "e2e_s"):
        spread = getattr(summary, name)
        plain[name] = None if spread is None else [spread.p50_s, spread.p90_s, spread.p99_s]
    return msgspec.json.decode(msgspec.json.encode(plain))  # type: ignore[no-any-return]


@pytest.mark.parametrize("name", CASES)
def test_a_fixed_run_comes_to_the_same_figures(name: str) -> None:
    workload, setup, policy, rate = CASES[name]
    world = World(setup, policy_named(policy), seed=7, warm_up=100)
    world.play(workload.jobs(root=Path(), segment=WHOLE, rate=rate, seed=7))
    found = short(summarise(world))
    goldens = msgspec.json.decode(GOLDENS.read_bytes()) if GOLDENS.exists() else {}
    if os.environ.get("CARDAN_WRITE_GOLDENS"):
        goldens[name] = found
        GOLDENS.write_bytes(msgspec.json.format(msgspec.json.encode(goldens), indent=1) + b"\n")
    assert found == goldens[name]
