"""`cardan simulate` against real processes: the same requests, as good as the same figures.

On one side engines and a gateway as processes and a client over HTTP, on the other a heap of
events. What the simulator leaves out (sockets, the gateway's own time, a clock that is never late)
must not matter, or its tables mean nothing.

A machine that is busy must not decide. So the engines are slow (A100, four times as slow as H100)
and requests seldom: two that come a third of a second apart do not change places when a process is
late by some hundredths. Where a prefix falls is luck, another for each seed, so the simulated
figures are means over some.
"""

from __future__ import annotations

import asyncio
import json
from statistics import mean
from typing import TYPE_CHECKING, Final, NamedTuple

import pytest
from cardan_sim.demo.cut import SLICE
from cardan_sim.demo.fleet import Fleet
from cardan_sim.demo.setting import Setting, load_slice, replay_of
from cardan_sim.replay.session import run_replay
from cardan_sim.simulate.main import main
from rich.console import Console

if TYPE_CHECKING:
    from pathlib import Path

    from cardan_sim.replay.figures import Figures

POLICIES: Final = ("round-robin", "dualmap")
# With arrivals up to 50 ms late at random, simulated attainment stays within 2 points for either
# policy and the hit rate within 0.5.
SETTING: Final = Setting(gpu="a100", engines=4, requests=80, rate_rps=3.1, max_output_tokens=20)
SEEDS: Final = 8
# What the project promises of its simulator.
ATTAINED_WITHIN: Final = 0.05
HIT_WITHIN: Final = 0.03


class Shares(NamedTuple):
    """First tokens in time, and prompt tokens that were cached."""

    attained: float
    hit: float


async def real(policy: str) -> Figures:
    """The slice through processes."""
    fleet = Fleet(SETTING, policy, "127.0.0.1:0")
    await fleet.start()
    async with fleet:
        replay = replay_of(SETTING, policy, load_slice(SETTING), fleet.gateway_url, fleet.engines)
        return await run_replay(replay, asyncio.Event(), Console(quiet=True))


def simulated(folder: Path) -> dict[str, Shares]:
    """The slice through the command, means over seeds."""
    asked = ["--trace", str(SLICE), "--limit", str(SETTING.requests), "--warm-up", "0"]
    asked += ["--rate", str(SETTING.rate_rps), "--slo-ttft", str(SETTING.slo_ttft_s)]
    asked += ["--max-output-tokens", str(SETTING.max_output_tokens)]
    asked += ["--fleet", f"{SETTING.engines}x{SETTING.model}@{SETTING.gpu}:{SETTING.engine}"]
    for policy in POLICIES:
        asked += ["--policy", policy]
    played = []
    for seed in range(1, SEEDS + 1):
        out = folder / f"{seed}.json"
        assert main([*asked, "--seed", str(seed), "--json", str(out)]) == 0
        played.append(json.loads(out.read_bytes())["summaries"])
    return {
        policy: Shares(
            mean(summaries[policy]["attained_ratio"] for summaries in played),
            mean(summaries[policy]["hit_ratio"] for summaries in played),
        )
        for policy in POLICIES
    }


@pytest.mark.slow
async def test_the_simulator_says_what_real_processes_do(tmp_path: Path) -> None:
    expected = simulated(tmp_path)
    apart = expected["dualmap"].hit - expected["round-robin"].hit
    assert apart > 2 * HIT_WITHIN, "a slice on which policies are alike would show nothing"
    found = dict(
        zip(POLICIES, await asyncio.gather(*(real(policy) for policy in POLICIES)), strict=True)
    )
    for policy, figures in found.items():
        assert figures.succeeded == SETTING.requests
        assert figures.hit_ratio is not None
        told = f"{policy}: {expected[policy]} simulated, "
        told += f"{figures.attained_ratio}, {figures.hit_ratio} measured"
        assert abs(figures.attained_ratio - expected[policy].attained) <= ATTAINED_WITHIN, told
        assert abs(figures.hit_ratio - expected[policy].hit) <= HIT_WITHIN, told
