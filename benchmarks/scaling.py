"""Scaling in closed loop on the fluid plant: Cardan, published autoscalers, an all-seeing oracle.

    python -m benchmarks.scaling [--cases diurnal/30,bursty/150] [--seeds 1,2] [--alone]
        [--traces FOLDER] [--tuned] [--json FILE]

A case is a workload and a cold start, played once for each seed. The first half of a day is for
learning: forecasts see its season there, and with `--tuned` the baselines get the best of a few
targets there. Figures are of the second half, means over the seeds with the least and the most.
GPU-hours count replicas that start or drain. Deterministic: the same figures on every machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.scaling.spec import PoolSpec, ScalingSpec, SloSpec
from cardan_sim.scaling import oracle, recorded, workloads
from cardan_sim.scaling.baselines.fixed import Fixed
from cardan_sim.scaling.baselines.hpa import Bounds, Utilisation, gpu_busy, kv_cache
from cardan_sim.scaling.baselines.keda import Waiting
from cardan_sim.scaling.baselines.knative import Kpa
from cardan_sim.scaling.controllers import Cardan
from cardan_sim.scaling.loop import Figures, Run, close
from cardan_sim.scaling.plant import PlantSettings
from cardan_sim.scaling.sensors import POOL

from benchmarks.report import table
from benchmarks.results import Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cardan_sim.scaling.controllers import Controller
    from cardan_sim.scaling.workloads import Workload

ATTAINMENT = 0.95
OVER_ORACLE = 1.2
COLD_STARTS_S = (30.0, 150.0)
JUDGED = ("diurnal", "bursty")
CARDAN = "cardan"
BOUNDS = Bounds(1, 64)
# Fleets of four, eight and twelve or so.
RESTING_PER_S = (13.0, 30.0, 47.0)


class Baseline(NamedTuple):
    """A published autoscaler: its default target, and targets to tune it over."""

    make: Callable[[float], Controller]
    default: float
    targets: tuple[float, ...]


BASELINES = {
    "hpa, GPU utilisation": Baseline(
        lambda target: Utilisation(gpu_busy, target, BOUNDS), 0.8, (0.7, 0.8, 0.9, 0.95)
    ),
    "hpa, KV cache": Baseline(
        lambda target: Utilisation(kv_cache, target, BOUNDS), 0.6, (0.1, 0.15, 0.2, 0.3)
    ),
    "keda, waiting": Baseline(
        lambda target: Waiting(BOUNDS, threshold=target), 5.0, (0.1, 0.25, 0.5, 1.0)
    ),
    "knative, concurrency": Baseline(
        lambda target: Kpa(BOUNDS, concurrency=target), 100.0, (8.0, 12.0, 16.0, 24.0)
    ),
}


Case = tuple["Workload", int | None, float]
"""A day, its seed if it has one, and a cold start."""


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contender in one case."""

    workload: str
    seed: int | None
    cold_start_s: float
    who: str
    attainment: float
    gpu_hours: float
    over_oracle: float
    turns_per_hour: float
    changes: int


def main() -> int:
    """Print a table for every case and the verdicts; 1 when a target is missed."""
    options = _options()
    rows, started = [], time.perf_counter()
    for case in _cases(options):
        of_case = [row for one in case for row in play(*one, options)]
        rows += of_case
        cold_start_s = of_case[0].cold_start_s
        print(f"\n{of_case[0].workload}, cold start {cold_start_s:.0f} s\n")
        print(_table(of_case), flush=True)
    flaps = at_rest()
    verdicts = [*_verdicts(rows), flaps]
    print("\n" + table(["must reach", "figure", "limit", ""], _words(verdicts)))
    print(f"\n{time.perf_counter() - started:.0f} s")
    if options.json:
        options.json.write_bytes(msgspec.json.encode({"rows": rows, "verdicts": verdicts}))
    return int(any(verdict.met is False for verdict in verdicts))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--cases", default="", help="workload/cold start, comma-separated")
    parser.add_argument("--seeds", default="1", help="of the synthetic days, comma-separated")
    parser.add_argument("--alone", action="store_true", help="without the baselines")
    parser.add_argument("--traces", type=Path, help="folder of public traces (see recorded.py)")
    parser.add_argument("--tuned", action="store_true", help="baselines at their best target too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> Iterator[list[Case]]:
    seeds = [int(seed) for seed in options.seeds.split(",")]
    days: list[list[tuple[Workload, int | None]]] = [
        [(workloads.diurnal(seed=seed), seed) for seed in seeds],
        [(workloads.bursty(seed=seed), seed) for seed in seeds],
    ]
    if options.traces:
        days += [[(day, None)] for day in recorded.recorded(options.traces)]
    chosen = set(filter(None, options.cases.split(",")))
    for day, cold_start_s in itertools.product(days, COLD_STARTS_S):
        name = day[0][0].name
        if not chosen or chosen & {name, f"{name}/{cold_start_s:.0f}"}:
            yield [(workload, seed, cold_start_s) for workload, seed in day]


def spec(settings: PlantSettings) -> ScalingSpec:
    """What a user would write: bounds and the SLO. Everything else is the default."""
    pool = PoolSpec(name=POOL, min_replicas=BOUNDS.least, max_replicas=BOUNDS.most)
    slo = SloSpec(ttft_s=settings.slo_ttft_s, attainment=ATTAINMENT)
    return ScalingSpec(pools=(pool,), slo=slo)


def play(
    workload: Workload, seed: int | None, cold_start_s: float, options: argparse.Namespace
) -> Iterator[Row]:
    """Everybody on one case, the oracle first."""
    settings = PlantSettings(cold_start_s=cold_start_s)
    begin = oracle.least(workload.at(0.0), settings, ATTAINMENT)
    settings = PlantSettings(cold_start_s=cold_start_s, replicas=begin)
    end = float(int(workload.length_s))
    best = oracle.foresee(workload, settings, ATTAINMENT)
    row = partial(_row, workload.name, seed, cold_start_s, least=best.figures.gpu_hours)
    yield row("oracle", best.figures)
    contenders = _contenders(workload, settings, best.run, tuned=options.tuned)
    for who, controller in itertools.islice(contenders, 1 if options.alone else None):
        figures = close(workload, settings, controller).figures(workload.tuned_s, end)
        yield row(who, figures)


def _contenders(
    workload: Workload, settings: PlantSettings, best: Run, *, tuned: bool
) -> Iterator[tuple[str, Controller]]:
    yield CARDAN, Cardan(spec(settings))
    for name, baseline in BASELINES.items():
        yield name, baseline.make(baseline.default)
        if tuned:
            target = tune(workload, settings, baseline)
            yield f"{name}, tuned to {target:g}", baseline.make(target)
    yield "as many as the peak needs", Fixed(max(minute.ready for minute in best.minutes))


def tune(workload: Workload, settings: PlantSettings, baseline: Baseline) -> float:
    """The cheapest target that holds the SLO on the first half, or else what misses it least."""
    tried: list[tuple[bool, float, float]] = []
    for target in baseline.targets:
        run = close(workload, settings, baseline.make(target), until_s=workload.tuned_s)
        figures = run.figures(0.0, workload.tuned_s)
        missed = figures.attainment < ATTAINMENT
        tried.append((missed, -figures.attainment if missed else figures.gpu_hours, target))
    return min(tried)[2]


def at_rest() -> Verdict:
    """Constant load: once the fleet is known, no change is undone. (Credit may take one away.)"""
    flaps, changes = 0.0, 0
    for rate, cold_start_s in itertools.product(RESTING_PER_S, COLD_STARTS_S):
        day = workloads.constant(rate, hours=24.0)
        settings = PlantSettings(cold_start_s=cold_start_s, replicas=10)
        run = close(day, settings, Cardan(spec(settings)))
        figures = run.figures(day.tuned_s, float(int(day.length_s)))
        flaps, changes = flaps + figures.turns_per_hour, changes + figures.changes
    words = f"{flaps:g} an hour, {changes} changes in six half days"
    return Verdict("flaps at constant load", words, "0", flaps == 0)


def _row(
    workload: str,
    seed: int | None,
    cold_start_s: float,
    who: str,
    figures: Figures,
    *,
    least: float,
) -> Row:
    return Row(
        workload=workload,
        seed=seed,
        cold_start_s=cold_start_s,
        who=who,
        over_oracle=figures.gpu_hours / least,
        **figures._asdict(),
    )


def _table(rows: Iterable[Row]) -> str:
    head = ["", "in time", "(least, most)", "GPU-hours", "over oracle", "(least, most)", "turns/h"]
    return table(
        head,
        [
            [
                who,
                f"{mean(row.attainment for row in own):.1%}",
                _range([100 * row.attainment for row in own], ".1f"),
                f"{mean(row.gpu_hours for row in own):.0f}",
                f"{mean(row.over_oracle for row in own):.2f}",
                _range([row.over_oracle for row in own], ".2f"),
                f"{mean(row.turns_per_hour for row in own):.1f}",
            ]
            for who, own in _by_contender(rows).items()
        ],
    )


def _by_contender(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows of one case under who played it; a tuned baseline is one, whatever its target was."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.who.partition(" to ")[0], []).append(row)
    return found


def _range(values: list[float], form: str) -> str:
    return f"{min(values):{form}} to {max(values):{form}}"


def _verdicts(rows: list[Row]) -> Iterator[Verdict]:
    cases = itertools.groupby(rows, key=lambda row: (row.workload, row.cold_start_s))
    for (workload, cold_start_s), group in cases:
        played = _by_contender(group)
        attained, over = _means(played[CARDAN])
        what = f"{workload}, {cold_start_s:.0f} s"
        judged = workload in JUDGED
        held = attained >= ATTAINMENT if judged else None
        cheap = over <= OVER_ORACLE if judged else None
        yield Verdict(f"{what}: in time", f"{attained:.1%}", "≥ 95 %", held)
        yield Verdict(f"{what}: over oracle", f"{over:.2f}", "≤ 1.2", cheap)
        if len(played) > len(("oracle", CARDAN)):
            better = [who for who, own in played.items() if _beats(own, played[CARDAN])]
            words = ", ".join(better) or "none"
            yield Verdict(f"{what}: better on both", words, "none", not better)


def _means(rows: list[Row]) -> tuple[float, float]:
    return mean(row.attainment for row in rows), mean(row.over_oracle for row in rows)


def _beats(rows: list[Row], ours: list[Row]) -> bool:
    """Whether a baseline is as good in both; the oracle and we ourselves are none."""
    if rows[0].who in ("oracle", CARDAN):
        return False
    (attained, over), (our_attained, our_over) = _means(rows), _means(ours)
    return attained >= our_attained and over <= our_over


def _words(verdicts: Iterable[Verdict]) -> list[list[str]]:
    return [[v.what, v.figure, v.limit, v.word] for v in verdicts]


if __name__ == "__main__":
    sys.exit(main())
