"""The fluid plant: nothing is lost in it, starts take time, caches cool, drains finish."""

from __future__ import annotations

from random import Random

import pytest
from cardan_sim.scaling.offered import Mix, Offered
from cardan_sim.scaling.plant import Plant, PlantSettings

LOAD = Offered(20.0)


def plant(replicas: int = 6, **settings: float) -> Plant:
    return Plant(PlantSettings(replicas=replicas, cold_start_jitter=0.0, **settings))  # type: ignore[arg-type]


def run(fleet: Plant, seconds: int, load: Offered = LOAD) -> float:
    """Share of first tokens in time meanwhile."""
    before = fleet.totals.arrived, fleet.totals.in_time
    for _ in range(seconds):
        fleet.step(load)
    return (fleet.totals.in_time - before[1]) / (fleet.totals.arrived - before[0])


def test_everything_that_arrives_is_in_exactly_one_place() -> None:
    fleet, rng = plant(4), Random(5)
    for second in range(1800):
        fleet.step(Offered(rng.uniform(0.0, 60.0), Mix(rng.uniform(500, 9000), 0.4, 120.0)))
        if second % 45 == 0:
            fleet.scale(rng.randrange(0, 12))
        totals = fleet.totals
        gone = totals.finished + totals.shed + totals.cut
        assert gone + fleet.inside == pytest.approx(totals.arrived, rel=1e-6, abs=1e-3)
        assert -1e-6 <= totals.in_time <= totals.arrived


def test_more_replicas_are_never_worse() -> None:
    shares = [run(plant(n), 300) for n in (3, 4, 5, 6, 8, 12)]
    assert shares == sorted(shares)
    assert shares[0] < 0.2
    assert shares[-1] > 0.98


def test_a_replica_serves_a_cold_start_after_it_was_asked_for_and_costs_all_the_while() -> None:
    fleet = plant(4, cold_start_s=30.0)
    fleet.scale(5)
    run(fleet, 29)
    assert (len(fleet.replicas.ready), len(fleet.replicas.starting)) == (4, 1)
    run(fleet, 1)
    assert (len(fleet.replicas.ready), len(fleet.replicas.starting)) == (5, 0)
    assert fleet.totals.gpu_s == pytest.approx(30 * 5)


def test_an_order_that_is_taken_back_costs_no_cache() -> None:
    fleet = plant(4, cold_start_s=30.0)
    run(fleet, 60)
    fleet.scale(6)
    fleet.scale(4)
    hits = fleet.totals.prompt_tokens - fleet.totals.uncached_tokens
    assert fleet.replicas.held == 4
    assert hits / fleet.totals.prompt_tokens == pytest.approx(0.35, abs=1e-6)


def test_a_change_of_membership_costs_hits_for_a_while() -> None:
    fleet = plant(8)
    run(fleet, 120)

    def uncached(seconds: int) -> float:
        before = fleet.totals.uncached_tokens, fleet.totals.prompt_tokens
        run(fleet, seconds)
        done = fleet.totals.prompt_tokens - before[1]
        return (fleet.totals.uncached_tokens - before[0]) / done

    assert uncached(10) == pytest.approx(0.65, abs=1e-3)
    fleet.scale(6)
    assert uncached(10) > 0.70
    run(fleet, 600)
    assert uncached(10) == pytest.approx(0.65, abs=1e-3)


def test_who_leaves_finishes_first_and_holds_its_gpu_until_then() -> None:
    fleet = plant(6)
    run(fleet, 120)
    fleet.scale(5)
    assert fleet.replicas.held == 6
    assert len(fleet.replicas.ready) == 5
    run(fleet, 120)
    assert fleet.replicas.held == 5


def test_what_comes_to_an_empty_fleet_waits_for_it() -> None:
    fleet = plant(0, cold_start_s=30.0)
    fleet.step(LOAD)
    fleet.scale(8)
    run(fleet, 28)
    assert fleet.held == pytest.approx(20.0 * 29)
    run(fleet, 120)
    assert fleet.held == 0.0
    assert fleet.totals.arrived - fleet.totals.finished == pytest.approx(fleet.inside)


def test_the_same_seed_gives_the_same_starts() -> None:
    def starts(seed: int) -> list[float]:
        fleet = Plant(PlantSettings(replicas=1, seed=seed))
        fleet.scale(8)
        return [replica.ready_at for replica in fleet.replicas.starting]

    assert starts(1) == starts(1)
    assert starts(1) != starts(2)
