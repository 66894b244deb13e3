"""All runs of a scenario of scaling, and what they come to beside the oracle's."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.scaling import oracle
from cardan_sim.scaling.loop import close
from cardan_sim.simulate.compare import Mean, mean_of
from cardan_sim.simulate.parallel import performed
from cardan_sim.simulate.scaling.scenario import ScalingScenario

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_sim.scaling.loop import Figures, Run

ORACLE: Final = "oracle"
# The time line that is kept and drawn: a point every ten minutes.
LINE_MINUTES: Final = 10


class ScalingRun(msgspec.Struct, frozen=True, kw_only=True):
    """A contender, or the oracle, on a load once."""

    load: str
    cold_start_s: float
    who: str
    seed: int


class ScalingResult(msgspec.Struct, frozen=True, kw_only=True):
    """What came of it, on the second half of the load; see `cardan_sim.scaling.loop.Figures`.

    `ready` are the replicas that served, a number every `LINE_MINUTES` from the beginning on.
    """

    run: ScalingRun
    attained_ratio: float
    gpu_hours: float
    turns_per_hour: float
    changes: int
    ready: list[int]


class ScalingRow(msgspec.Struct, frozen=True, kw_only=True):
    """A contender on a load with a cold start: means over seeds.

    `over_oracle` is the ratio of GPU-hours to those of the oracle with the same seed.
    """

    load: str
    cold_start_s: float
    who: str
    attained: Mean | None
    gpu_hours: Mean | None
    over_oracle: Mean | None
    turns_per_hour: Mean | None


def runs_of(scenario: ScalingScenario) -> list[ScalingRun]:
    """Every run, the oracle's before those of the others."""
    return [
        ScalingRun(load=load, cold_start_s=cold_start_s, who=who, seed=seed)
        for load in scenario.loads
        for cold_start_s in scenario.cold_starts_s
        for who in (ORACLE, *scenario.contenders)
        for seed in range(1, scenario.seeds + 1)
    ]


def perform(scenario: ScalingScenario, run: ScalingRun, root: Path) -> ScalingResult:
    """Play a run; files are found from `root`."""
    scenario = scenario.of_load(run.load)
    load = scenario.loads[run.load].load(root, run.seed)
    settings = scenario.plant(run.cold_start_s, run.seed)
    if run.who == ORACLE:
        best = oracle.foresee(load, settings, scenario.attain)
        return _result(run, best.run, best.figures)
    begin = oracle.least(load.at(0.0), settings, scenario.attain)
    settings = replace(settings, replicas=scenario.bounds.clamp(begin))
    played = close(load, settings, scenario.contenders[run.who].make(scenario))
    return _result(run, played, played.figures(load.tuned_s, float(int(load.length_s))))


def _result(run: ScalingRun, played: Run, figures: Figures) -> ScalingResult:
    return ScalingResult(
        run=run,
        attained_ratio=round(figures.attainment, 6),
        gpu_hours=round(figures.gpu_hours, 3),
        turns_per_hour=round(figures.turns_per_hour, 3),
        changes=figures.changes,
        ready=[minute.ready for minute in played.minutes[::LINE_MINUTES]],
    )


def perform_all(
    scenario: ScalingScenario, root: Path, jobs: int, on_done: Callable[[ScalingResult], None]
) -> list[ScalingResult]:
    """All runs, `jobs` at a time, in the order of `runs_of`; `on_done` hears of each at its end."""
    work = partial(_perform_packed, msgspec.json.encode(scenario), str(root))
    return performed(work, runs_of(scenario), jobs, on_done)


def _perform_packed(packed: bytes, root: str, run: ScalingRun) -> ScalingResult:
    return perform(msgspec.json.decode(packed, type=ScalingScenario), run, Path(root))


def compare(results: Sequence[ScalingResult]) -> list[ScalingRow]:
    """Every contender on every load with every cold start, in the order of the results."""
    by_run = {result.run: result for result in results}
    places = dict.fromkeys((r.run.load, r.run.cold_start_s, r.run.who) for r in results)
    rows = []
    for load, cold_start_s, who in places:
        own = [
            r
            for r in results
            if (r.run.load, r.run.cold_start_s, r.run.who) == (load, cold_start_s, who)
        ]
        oracles = [by_run[msgspec.structs.replace(r.run, who=ORACLE)] for r in own]
        rows.append(
            ScalingRow(
                load=load,
                cold_start_s=cold_start_s,
                who=who,
                attained=mean_of([r.attained_ratio for r in own]),
                gpu_hours=mean_of([r.gpu_hours for r in own]),
                over_oracle=mean_of(
                    [r.gpu_hours / best.gpu_hours for r, best in zip(own, oracles, strict=True)]
                ),
                turns_per_hour=mean_of([r.turns_per_hour for r in own]),
            )
        )
    return rows
