"""What the operator sees of the plant: as late, as averaged and as incomplete as metrics are."""

from __future__ import annotations

from random import Random

import pytest
from cardan.scaling.observation import Freshness
from cardan_sim.scaling.offered import Offered
from cardan_sim.scaling.plant import Plant, PlantSettings
from cardan_sim.scaling.sensors import EPOCH_S, POOL, Sensors, SensorSettings

QUIET = SensorSettings(gauge_noise=0.0)


def watched(rates: list[float], replicas: int = 8) -> tuple[Plant, Sensors]:
    """A fleet under one rate after the other, a second each, watched all the time."""
    plant = Plant(PlantSettings(replicas=replicas))
    sensors = Sensors(plant, QUIET, Random(1))
    for rate in rates:
        sensors.read(plant.step(Offered(rate)))
    return plant, sensors


def test_nothing_is_known_before_two_scrapes() -> None:
    plant, sensors = watched([20.0] * 10)
    demand = sensors.observe(plant.now).demand
    assert demand.requests_per_s.freshness is Freshness.MISSING


def test_rates_are_those_of_half_a_minute_and_bear_the_time_of_the_scrape() -> None:
    plant, sensors = watched([20.0] * 400)
    seen = sensors.observe(plant.now)
    at = seen.demand.requests_per_s.at
    assert at is not None
    assert 1.0 <= seen.at - at <= 16.0
    assert seen.demand.requests_per_s.known == pytest.approx(20.0, rel=0.2)
    assert seen.at == EPOCH_S + plant.now


def test_a_burst_is_seen_a_scrape_later() -> None:
    plant, sensors = watched([20.0] * 391 + [200.0] * 5)
    assert (sensors.observe(plant.now).demand.requests_per_s.known or 0) < 30


def test_counters_tell_what_ended_so_an_overload_hides_from_them() -> None:
    plant, sensors = watched([50.0] * 46, replicas=6)
    seen = sensors.observe(plant.now)
    assert (seen.demand.requests_per_s.known or 0) < 40
    waiting = sum(load.waiting.known or 0 for load in seen.endpoints)
    assert waiting > 100


def test_attainment_and_its_quantile_agree() -> None:
    plant, sensors = watched([20.0] * 700)
    demand = sensors.observe(plant.now).demand
    truth = plant.totals.in_time / plant.totals.arrived
    assert demand.attainment.known == pytest.approx(truth, abs=0.01)
    p95_s = demand.ttft_p95_s.known
    assert p95_s is not None
    assert plant.queues.late(plant.pace.prefill_s, p95_s) == pytest.approx(0.05, abs=0.02)


def test_pending_ready_and_started_replicas_are_told() -> None:
    plant, sensors = watched([20.0] * 60)
    plant.scale(10)
    pool = sensors.observe(plant.now).pools[POOL]
    assert (pool.desired, pool.ready, len(pool.pending)) == (10, 8, 2)
    for _ in range(300):
        sensors.read(plant.step(Offered(20.0)))
    pool = sensors.observe(plant.now).pools[POOL]
    assert (pool.ready, len(pool.pending)) == (10, 0)
    assert pool.started_s == pytest.approx((150.0, 150.0), rel=0.4)
