"""The published autoscalers, on cases computed by hand from their documentation."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
from cardan_sim.scaling.baselines.hpa import Behaviour, Bounds, Utilisation
from cardan_sim.scaling.baselines.keda import Waiting
from cardan_sim.scaling.baselines.knative import Kpa

if TYPE_CHECKING:
    from cardan_sim.scaling.plant import Sample
    from cardan_sim.scaling.sensors import Sensors

BOUNDS = Bounds(1, 64)


def sensors(ready: int, desired: int | None = None, **sample: float) -> Sensors:
    """Sensors of a fleet of so many, with these gauges."""
    replicas = SimpleNamespace(desired=desired or ready, ready=[None] * ready)
    gauges = SimpleNamespace(**sample)
    plant = SimpleNamespace(replicas=replicas)
    return cast("Sensors", SimpleNamespace(plant=plant, gauges=lambda now: gauges))


def hpa(value: float, ready: int, desired: int | None = None) -> int:
    scaler = Utilisation(lambda sample: sample.busy, 0.5, BOUNDS)
    return scaler.desired(sensors(ready, desired, busy=value), 0.0)


@pytest.mark.parametrize(
    ("value", "ready", "wanted"),
    [
        (0.75, 4, 6),  # ceil(4 * 1.5)
        (0.54, 10, 10),  # 8 % is within tolerance
        (0.56, 10, 12),  # ceil(11.2)
        (0.95, 2, 4),  # ceil(3.8), and four more are allowed
        (1.5, 10, 20),  # ceil(30), cut at twice
    ],
)
def test_hpa_follows_the_ratio_to_its_target(value: float, ready: int, wanted: int) -> None:
    assert hpa(value, ready) == wanted


def test_hpa_counts_replicas_that_start_as_idle_when_it_grows() -> None:
    assert hpa(0.75, 4, 6) == 6  # 0.75 * 4 / 6 = 0.5: on target


def test_hpa_goes_down_by_the_most_that_was_wanted_in_five_minutes() -> None:
    limits = Behaviour(BOUNDS)
    assert limits.limit(10, 8, 0.0) == 8
    limits = Behaviour(BOUNDS)
    assert limits.limit(10, 10, 0.0) == 10
    assert [limits.limit(10, 4, at) for at in (15.0, 299.0, 301.0)] == [10, 10, 4]


def test_keda_wants_a_replica_for_every_five_that_wait() -> None:
    scaler = Waiting(BOUNDS)
    assert scaler.desired(sensors(3, waiting=31.0, held=0.0), 0.0) == 7
    assert Waiting(BOUNDS).desired(sensors(3, waiting=0.0, held=0.0), 0.0) == 1


def seen(scaler: Kpa, begin: int, end: int, in_flight: float) -> None:
    for second in range(begin, end):
        sample = SimpleNamespace(at=float(second), queued=in_flight, running=0.0, held=0.0)
        scaler.look(cast("Sample", sample))


def test_knative_takes_the_mean_of_a_minute_over_its_target() -> None:
    scaler = Kpa(BOUNDS, concurrency=10.0)  # 7 each
    seen(scaler, 0, 60, 35.0)
    assert scaler.desired(sensors(5), 60.0) == 5
    seen(scaler, 60, 120, 15.0)
    assert scaler.desired(sensors(5), 120.0) == 3


def test_knative_halves_at_most() -> None:
    scaler = Kpa(BOUNDS, concurrency=10.0)
    seen(scaler, 0, 60, 0.0)
    assert scaler.desired(sensors(9), 60.0) == 4


def test_knative_panics_at_twice_and_then_only_grows_for_a_minute() -> None:
    scaler = Kpa(BOUNDS, concurrency=10.0)
    seen(scaler, 0, 60, 14.0)
    assert scaler.desired(sensors(2), 60.0) == 2
    seen(scaler, 60, 66, 70.0)
    assert scaler.desired(sensors(2), 66.0) == 10
    seen(scaler, 66, 100, 7.0)
    assert scaler.desired(sensors(10), 100.0) == 10
    seen(scaler, 100, 130, 7.0)
    assert scaler.desired(sensors(10), 130.0) == 5
