"""Scaling in closed loop on the fluid plant: Cardan, published autoscalers, an all-seeing oracle.

    python -m benchmarks.scaling [--cases diurnal/30,bursty/150] [--traces FOLDER] [--json FILE]

A case is a workload and a cold start. Its first half is for tuning: forecasts learn its season
there, and with `--tuned` the baselines get the best of a few targets there. Figures are of the
second half.
GPU-hours count replicas that start or drain. Deterministic: the same figures on every machine.
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.scaling.spec import DEFAULT_DOWN, Behavior, PoolSpec, ScalingSpec, SloSpec
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


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """One contender in one case."""

    workload: str
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
    for workload, cold_start_s in _cases(options):
        of_case = list(play(workload, cold_start_s, tuned=options.tuned))
        rows += of_case
        print(
            f"\n{workload.name}, cold start {cold_start_s:.0f} s\n\n{_table(of_case)}", flush=True
        )
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
    parser.add_argument("--traces", type=Path, help="folder of public traces (see recorded.py)")
    parser.add_argument("--tuned", action="store_true", help="baselines at their best target too")
    parser.add_argument("--json", type=Path, metavar="FILE")
    return parser.parse_args()


def _cases(options: argparse.Namespace) -> Iterator[tuple[Workload, float]]:
    days = [workloads.diurnal(), workloads.bursty()]
    if options.traces:
        days += recorded.recorded(options.traces)
    chosen = set(filter(None, options.cases.split(",")))
    for day, cold_start_s in itertools.product(days, COLD_STARTS_S):
        if not chosen or chosen & {day.name, f"{day.name}/{cold_start_s:.0f}"}:
            yield day, cold_start_s


def spec(settings: PlantSettings) -> ScalingSpec:
    """What a user would write: bounds, the SLO, and a shorter window where replicas start fast.

    A replica that was let go too early is missed for one cold start, so the window need not be much
    longer than a few of them. Everything else is the default.
    """
    pool = PoolSpec(name=POOL, min_replicas=BOUNDS.least, max_replicas=BOUNDS.most)
    slo = SloSpec(ttft_s=settings.slo_ttft_s, attainment=ATTAINMENT)
    window_s = min(DEFAULT_DOWN.stabilization_s, 4.0 * settings.cold_start_s)
    down = msgspec.structs.replace(DEFAULT_DOWN, stabilization_s=window_s)
    return ScalingSpec(pools=(pool,), slo=slo, behavior=Behavior(down=down))


def play(workload: Workload, cold_start_s: float, *, tuned: bool) -> Iterator[Row]:
    """Everybody on one case, the oracle first."""
    settings = PlantSettings(cold_start_s=cold_start_s)
    begin = oracle.least(workload.at(0.0), settings, ATTAINMENT)
    settings = PlantSettings(cold_start_s=cold_start_s, replicas=begin)
    end = float(int(workload.length_s))
    best = oracle.foresee(workload, settings, ATTAINMENT)
    row = partial(_row, workload.name, cold_start_s, least=best.figures.gpu_hours)
    yield row("oracle", best.figures)
    for who, controller in _contenders(workload, settings, best.run, tuned=tuned):
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
    """Constant load: nothing may change after the first hour."""
    day = workloads.constant()
    settings = PlantSettings(cold_start_s=150.0, replicas=10)
    run = close(day, settings, Cardan(spec(settings)))
    changes = run.figures(day.tuned_s, float(int(day.length_s))).changes
    return Verdict("changes at constant load", f"{changes}", "0", changes == 0)


def _row(workload: str, cold_start_s: float, who: str, figures: Figures, *, least: float) -> Row:
    return Row(
        workload=workload,
        cold_start_s=cold_start_s,
        who=who,
        over_oracle=figures.gpu_hours / least,
        **figures._asdict(),
    )


def _table(rows: Iterable[Row]) -> str:
    head = ["", "in time", "GPU-hours", "over oracle", "turns/h", "changes"]
    return table(
        head,
        [
            [
                row.who,
                f"{row.attainment:.1%}",
                f"{row.gpu_hours:.0f}",
                f"{row.over_oracle:.2f}",
                f"{row.turns_per_hour:.1f}",
                f"{row.changes}",
            ]
            for row in rows
        ],
    )


def _verdicts(rows: list[Row]) -> Iterator[Verdict]:
    cases = itertools.groupby(rows, key=lambda row: (row.workload, row.cold_start_s))
    for (workload, cold_start_s), group in cases:
        of_case = list(group)
        ours = next(row for row in of_case if row.who == CARDAN)
        what = f"{workload}, {cold_start_s:.0f} s"
        judged = workload in JUDGED
        held = ours.attainment >= ATTAINMENT if judged else None
        cheap = ours.over_oracle <= OVER_ORACLE if judged else None
        yield Verdict(f"{what}: in time", f"{ours.attainment:.1%}", "≥ 95 %", held)
        yield Verdict(f"{what}: over oracle", f"{ours.over_oracle:.2f}", "≤ 1.2", cheap)
        better = [
            row.who for row in of_case if row.who not in ("oracle", CARDAN) and _beats(row, ours)
        ]
        yield Verdict(f"{what}: better on both", ", ".join(better) or "none", "none", not better)


def _beats(row: Row, ours: Row) -> bool:
    return row.attainment >= ours.attainment and row.gpu_hours <= ours.gpu_hours


def _words(verdicts: Iterable[Verdict]) -> list[list[str]]:
    return [[v.what, v.figure, v.limit, v.word] for v in verdicts]


if __name__ == "__main__":
    sys.exit(main())
