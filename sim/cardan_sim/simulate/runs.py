"""All runs of a scenario: each a value that names it, each by itself, in as many processes.

A run depends on its name and the scenario alone, so results are the same whoever computes them, in
whichever order.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from cardan_sim.simulate.parallel import performed
from cardan_sim.simulate.search import highest_rate
from cardan_sim.simulate.summary import Summary, summarise
from cardan_sim.simulate.world import World

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan_sim.simulate.scenario import Scenario


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """A row of the scenario, played once. `rate` None asks for the goodput instead."""

    row: str
    variant: str
    policy: str
    rate: float | None
    segment: int
    seed: int


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run: a summary, or the goodput in requests a second."""

    run: Run
    summary: Summary | None = None
    goodput_rps: float | None = None


def runs_of(scenario: Scenario) -> list[Run]:
    """Every run, in the order of the rows."""
    rates: list[float | None] = list(scenario.rates)
    if scenario.goodput is not None:
        rates.append(None)
    return [
        Run(row=row, variant=variant, policy=policy, rate=rate, segment=segment, seed=seed)
        for row, variant, policy in scenario.rows()
        for rate in rates
        for segment in range(len(scenario.segments))
        for seed in range(1, scenario.seeds + 1)
    ]


def perform(scenario: Scenario, run: Run, root: Path) -> Result:
    """Play a run; trace files are found from `root`."""
    if run.rate is not None:
        return Result(run=run, summary=_play(scenario, run, run.rate, root))
    goodput = scenario.goodput
    if goodput is None:
        raise ValueError("this scenario asks for no goodput")

    def attained(rate: float) -> float:
        return _play(scenario, run, rate, root).attained_ratio

    scale = scenario.worlds()[run.variant].engines if scenario.per_engine else 1
    found = highest_rate(
        lambda rate: attained(rate) >= goodput.attain,
        goodput.low,
        goodput.high,
        goodput.tolerance,
    )
    return Result(run=run, goodput_rps=round(found * scale, 4))


def perform_all(
    scenario: Scenario, root: Path, jobs: int, on_done: Callable[[Result], None]
) -> list[Result]:
    """All runs, `jobs` at a time, in the order of `runs_of`; `on_done` hears of each at its end."""
    work = partial(_perform_packed, msgspec.json.encode(scenario), str(root))
    return performed(work, runs_of(scenario), jobs, on_done)


def _perform_packed(packed: bytes, root: str, run: Run) -> Result:
    from cardan_sim.simulate.scenario import Scenario

    return perform(msgspec.json.decode(packed, type=Scenario), run, Path(root))


def _play(scenario: Scenario, run: Run, rate: float, root: Path) -> Summary:
    setup = scenario.worlds()[run.variant]
    jobs = scenario.workload.jobs(
        root=root,
        segment=scenario.segments[run.segment],
        rate=rate * setup.engines if scenario.per_engine else rate,
        seed=run.seed,
    )
    world = World(setup, scenario.policies[run.policy], run.seed, scenario.warm_up)
    world.play(jobs)
    return summarise(world, scenario.cuts_s)
