"""Against the simulated engines the figures agree with what the engines themselves counted."""

from __future__ import annotations

import asyncio

import pytest
from cardan_sim.demo.children import start_child
from cardan_sim.replay.engines import read_engines
from cardan_sim.replay.schedule import Pace
from cardan_sim.replay.session import Replay, run_replay
from cardan_sim.traces import BlockPrompt, PromptForm, TraceRequest
from rich.console import Console

from tests.system.processes import START_DEADLINE_S

# A turn finds in the cache what the one before it left there: it comes 0.3 s, many times what an
# answer takes, after that one, so that a machine that is busy for a moment changes nothing.
GAP_S = 0.1
# Three conversations over one system prompt of two blocks, four turns each.
TURNS = [
    TraceRequest(
        0.0, 512 * (3 + turn), 4, BlockPrompt((1, 2, *range(100 * who, 100 * who + turn + 1)), 512)
    )
    for turn in range(4)
    for who in range(1, 4)
]


@pytest.mark.parametrize("make", ["vllm", "sglang"])
@pytest.mark.parametrize("form", ["chat", "completion", "tokens"])
async def test_hits_and_tokens_are_those_the_engine_counted(make: str, form: PromptForm) -> None:
    arguments = [f"--engine={make}", "--model=llama-3.1-8b", "--gpu=h100", "--time-scale=0.05"]
    engine = await start_child("engine", ["engine", "--listen=127.0.0.1:0", *arguments])
    try:
        url = await engine.url(START_DEADLINE_S)
        replay = Replay(
            label=make,
            trace="turns",
            requests=[
                TraceRequest(GAP_S * n, t.input_tokens, t.output_tokens, t.prompt)
                for n, t in enumerate(TURNS)
            ],
            pace=Pace(),
            endpoint=url,
            form=form,
            engines={"one": url},
            time_scale=0.05,
        )
        figures = await run_replay(replay, asyncio.Event(), Console(quiet=True))
        counts = await read_engines({"one": url})
    finally:
        engine.kill()  # SGLang looks only every five seconds whether it may end
        await engine.stop()
    assert (figures.succeeded, figures.errors) == (12, {})
    assert figures.settings.model == "llama-3.1-8b"
    # A later turn finds all but its last block (3 times 3, 4 and 5), a first turn the system
    # prompt, but for the very first: 40 of 54 blocks, and a chat template adds a few tokens.
    assert figures.hit_ratio == pytest.approx(40 / 54, abs=0.01)
    assert figures.balance is not None
    (share,) = figures.balance.endpoints
    assert (share.requests, share.prompt_tokens) == (12, next(iter(counts.values())).prompt_tokens)
    assert share.prompt_tokens is not None
    assert share.cached_tokens is not None
    assert share.cached_tokens / share.prompt_tokens == pytest.approx(figures.hit_ratio)
