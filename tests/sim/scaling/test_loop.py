"""The closed loop: the same for the same seed, at rest at constant load, sane on a short day."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from cardan.scaling.spec import PoolSpec, ScalingSpec, SloSpec
from cardan_sim.scaling import oracle
from cardan_sim.scaling.baselines.fixed import Fixed
from cardan_sim.scaling.controllers import Cardan
from cardan_sim.scaling.loop import Run, close
from cardan_sim.scaling.offered import Mix, Offered
from cardan_sim.scaling.plant import PlantSettings
from cardan_sim.scaling.sensors import POOL
from cardan_sim.scaling.workloads import Workload, bursty, constant, diurnal

if TYPE_CHECKING:
    from collections.abc import Sequence

SPEC = ScalingSpec(
    pools=(PoolSpec(name=POOL, max_replicas=64),), slo=SloSpec(ttft_s=1.0, attainment=0.95)
)


def run(workload: Workload, *, cold_start_s: float = 60.0, replicas: int = 6) -> Run:
    settings = PlantSettings(cold_start_s=cold_start_s, replicas=replicas)
    return close(workload, settings, Cardan(SPEC))


def minutes(rates: Sequence[float]) -> Workload:
    """One rate a minute; nothing of it is for tuning."""
    return Workload("minutes", rates, (Mix(),), 60.0, 0.0)


def test_a_constant_load_settles_and_stays() -> None:
    day = constant(30.0, hours=2.0)
    figures = run(day, replicas=8).figures(day.tuned_s, day.length_s)
    assert figures.changes == 0
    assert figures.attainment > 0.97


def test_a_step_is_followed_up_within_a_cold_start_and_down_again() -> None:
    day = minutes([15.0] * 20 + [45.0] * 30 + [15.0] * 30)
    record = run(day, replicas=4)
    ready = [minute.ready for minute in record.minutes]
    high = oracle.least(Offered(45.0), PlantSettings(), 0.95)
    assert max(ready[18:20]) < high
    assert min(ready[26:48]) >= high
    assert ready[-1] < 0.6 * high
    # The end of the step leaves nothing late: what is asked for in the last ten minutes suffices.
    assert min(minute.in_time for minute in record.minutes[-10:]) > 0.95


def test_the_summary_of_two_hours_is_as_recorded() -> None:
    """Golden: whoever changes these figures by changing a decision says why."""
    wave = [20, 22, 25, 24, 30, 34, 33, 40, 44, 43, 50, 48, 45, 38, 33, 30, 26, 24, 22]
    day = minutes(wave * 6)
    record = run(day, replicas=6)
    figures = record.figures(0.0, float(int(day.length_s)))
    assert figures.attainment == pytest.approx(0.938, abs=0.003)
    assert figures.gpu_hours == pytest.approx(20.5, abs=0.2)


def test_the_same_seed_gives_the_same_run() -> None:
    day = minutes([20.0, 30.0, 45.0, 30.0, 20.0] * 4)
    first, second = run(day), run(day)
    assert first.changes == second.changes
    assert first.minutes == second.minutes


def test_figures_between_marks_add_up() -> None:
    day = Workload("flat", (20.0, 20.0), (Mix(),), 1200.0, 600.0)
    record = close(day, PlantSettings(replicas=8), Fixed(8))
    first, second = record.figures(0.0, 600.0), record.figures(600.0, 1200.0)
    assert first.gpu_hours + second.gpu_hours == pytest.approx(8 * 1200 / 3600)
    assert record.figures(0.0, 1200.0).turns_per_hour == 0.0


def test_an_oracle_asks_a_cold_start_ahead_and_keeps_what_would_be_back_within_one() -> None:
    needs = [2, 2, 2, 2, 5, 2, 2, 5, 2, 2, 2, 2]
    assert oracle.ahead(needs, 30.0) == [2, 5, 5, 5, 5, 5, 5, 5, 2, 2, 2, 2]


def test_an_oracle_needs_as_many_as_hold_the_share_at_rest() -> None:
    settings = PlantSettings()
    n = oracle.least(Offered(40.0), settings, 0.95)
    held = close(minutes([40.0] * 15), PlantSettings(replicas=n), Fixed(n)).minutes[-1].in_time
    short = close(minutes([40.0] * 15), PlantSettings(replicas=n - 1), Fixed(n - 1)).minutes[-1]
    assert held >= 0.95 > short.in_time


def test_synthetic_days_are_of_their_seed_and_as_restless_as_measured_ones() -> None:
    assert diurnal(1, seed=3).rates == diurnal(1, seed=3).rates
    assert diurnal(1, seed=3).rates != diurnal(1, seed=4).rates
    day = bursty(2)
    window = int(600 / day.every_s)
    means = [
        sum(day.rates[i : i + window]) / window for i in range(0, len(day.rates) - window, window)
    ]
    changes = sorted(abs(b / a - 1) for a, b in pairwise(means))
    # ServeGen's m-large, between neighbouring ten minutes: p50 3.8 %, p95 29 %, p99 51 %.
    assert changes[len(changes) // 2] == pytest.approx(0.04, abs=0.02)
    assert changes[int(0.95 * len(changes))] == pytest.approx(0.29, abs=0.1)


def test_where_prompts_are_too_long_for_the_share_an_oracle_comes_close() -> None:
    long = Offered(4.0, Mix(prompt_tokens=12_000.0, hit_ratio=0.1))
    settings = PlantSettings(slo_ttft_s=1.0)
    n = oracle.least(long, settings, 0.99)
    assert n < 40
    idle = oracle.at_rest(long, settings, 1000)
    assert idle - 0.006 < oracle.at_rest(long, settings, n) < 0.99
