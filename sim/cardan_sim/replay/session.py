"""One replay from its settings to its figures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cardan_sim.replay.client import ReplayClient
from cardan_sim.replay.engines import read_engines
from cardan_sim.replay.figures import Settings
from cardan_sim.replay.measure import measure
from cardan_sim.replay.openloop import OpenLoop
from cardan_sim.replay.progress import show_progress
from cardan_sim.replay.schedule import Pace, due_times
from cardan_sim.traces import PromptForm, PromptWriter

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from cardan_sim.replay.figures import Figures
    from cardan_sim.traces import TraceRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """What to replay, where to and how. Durations in seconds.

    `model` None takes the first the endpoint lists and leaves the names in recorded bodies.
    `engines`, URLs by name, are read for the balance instead of the gateway's receipts.
    `time_scale` is the engines' own; `slo_ttft_s` is in their time.
    """

    label: str
    trace: str
    requests: Sequence[TraceRequest]
    pace: Pace
    endpoint: str
    model: str | None = None
    api_key: str | None = None
    form: PromptForm = "chat"
    ignore_eos: bool = True
    max_output_tokens: int | None = None
    engines: Mapping[str, str] = field(default_factory=dict)
    slo_ttft_s: float = 5.0
    time_scale: float = 1.0
    timeout_s: float = 600.0


async def run_replay(replay: Replay, stop: asyncio.Event, console: Console) -> Figures:
    """Play a trace and measure it; `stop` ends it early with what was seen until then.

    Raises ScheduleError, or EndpointUnusableError where a model's name must be asked for and the
    endpoint does not answer.
    """
    due_s = due_times(replay.requests, replay.pace)
    before = await read_engines(replay.engines)
    async with ReplayClient(
        replay.endpoint, api_key=replay.api_key, timeout_s=replay.timeout_s
    ) as client:
        model = replay.model or await client.first_model()
        writer = PromptWriter(
            model,
            form=replay.form,
            ignore_eos=replay.ignore_eos,
            max_output_tokens=replay.max_output_tokens,
            rename_recorded=replay.model is not None,
        )
        loop = OpenLoop(client, writer, replay.requests, due_s)
        async with show_progress(loop.tally, replay.label, console):
            outcome = await loop.run(stop)
    after = await read_engines(replay.engines)
    grown = {name: now.since(before[name]) for name, now in after.items() if name in before}
    return measure(outcome, _settings(replay, model, due_s), grown)


def _settings(replay: Replay, model: str, due_s: Sequence[float]) -> Settings:
    span_s = due_s[-1] if due_s else 0.0
    return Settings(
        label=replay.label,
        trace=replay.trace,
        endpoint=replay.endpoint,
        model=model,
        requests=len(replay.requests),
        offered_rps=(len(due_s) - 1) / span_s * replay.time_scale if span_s else 0.0,
        time_scale=replay.time_scale,
        slo_ttft_s=replay.slo_ttft_s,
    )
