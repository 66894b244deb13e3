"""Things go wrong, and every request still has exactly one outcome."""

from __future__ import annotations

import pytest
from cardan.candidates import Rings
from cardan.ledger import Outcome
from cardan.policies import DualMap
from cardan_sim.simulate.faults import (
    Blind,
    Cold,
    Dies,
    Joins,
    Late,
    Leaves,
    Silent,
    Slows,
    Stalls,
)
from cardan_sim.simulate.knowledge import Exact, KvEvents, Metrics, SeenCache
from cardan_sim.simulate.recorder import OUTCOMES
from cardan_sim.simulate.world import World

from tests.sim.simulate.worlds import conversations, play, rows, setup


@pytest.mark.parametrize(
    "fault",
    [
        Dies(at_s=5.0, for_s=10.0, engine=1),
        Stalls(at_s=5.0, for_s=10.0, engine=1),
        Slows(at_s=5.0, for_s=10.0, engine=1, factor=4.0),
        Cold(at_s=5.0, engine=1),
        Joins(at_s=5.0, count=2),
        Leaves(at_s=5.0, engine=1),
        Silent(at_s=5.0, for_s=10.0, engine=1),
        Late(at_s=5.0, for_s=10.0, by_s=4.0),
        Blind(at_s=5.0, for_s=10.0, gateway=0),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize(
    "knowledge",
    [Exact(), Metrics(), KvEvents(events_delay_s=2.0)],
    ids=lambda knowledge: type(knowledge).__name__,
)
def test_nothing_is_lost_whatever_happens(fault: object, knowledge: object) -> None:
    recorder = play(conversations(300, 8.0), faults=(fault,), knowledge=knowledge, gateways=2)
    assert all(OUTCOMES[outcome] is Outcome.OK for outcome in recorder.outcome)


def test_who_was_with_an_engine_that_died_goes_elsewhere_and_it_gets_work_again() -> None:
    world = World(setup(faults=(Dies(at_s=5.0, for_s=5.0, engine=2),)), DualMap(), 1)
    recorder = world.play(conversations(400, 10.0))
    assert max(recorder.attempts) > 1
    last = [e for e, at in zip(recorder.endpoint, recorder.arrived_s, strict=True) if at > 20]
    assert 2 in last
    dead = [e for e, at in zip(recorder.endpoint, recorder.arrived_s, strict=True) if 6 < at < 9]
    assert 2 not in dead


def test_a_stalled_engine_is_routed_around() -> None:
    jobs = conversations(400, 8.0)
    recorder = play(jobs, faults=(Stalls(at_s=5.0, for_s=60.0, engine=0),))
    during = [e for e, at in zip(recorder.endpoint, recorder.arrived_s, strict=True) if at > 12]
    assert during.count(0) < len(during) / 8


def test_faults_without_a_name_meet_whom_the_seed_says() -> None:
    jobs = conversations(200, 8.0)
    faults = (Dies(at_s=5.0, for_s=5.0),)
    assert rows(play(jobs, faults=faults, seed=5)) == rows(play(jobs, faults=faults, seed=5))


def test_who_joins_gets_work_and_who_leaves_none_but_what_it_has() -> None:
    jobs = conversations(600, 10.0)
    recorder = play(jobs, faults=(Joins(at_s=20.0), Leaves(at_s=40.0, engine=2)))
    went = list(zip(recorder.arrived_s, recorder.endpoint, strict=True))
    assert {engine for at, engine in went if at < 20} == {0, 1, 2, 3}
    assert {engine for at, engine in went if 22 < at < 40} == {0, 1, 2, 3, 4}
    assert {engine for at, engine in went if at > 40} == {0, 1, 3, 4}


def test_one_that_joins_is_known_by_its_metrics_and_its_cache_like_the_others() -> None:
    knowledge = KvEvents()
    world = World(setup(faults=(Joins(at_s=5.0),), knowledge=knowledge), DualMap(), 1)
    world.play(conversations(400, 10.0))
    (scheduler,) = world.schedulers
    state = scheduler.fleet.endpoints[world.cluster.seats[4].endpoint_id]
    assert state.metrics is not None
    assert isinstance(state.shadow, SeenCache)


@pytest.mark.parametrize("policy", [DualMap(), DualMap(mapping=Rings())], ids=["hrw", "rings"])
def test_a_change_of_the_fleet_leaves_nearly_every_key_one_of_its_endpoints(
    policy: DualMap,
) -> None:
    """Of two candidates a join or a leave changes both for about one key in a hundred."""
    jobs = conversations(1500, 20.0)
    faults = (Joins(at_s=25.0), Leaves(at_s=50.0, engine=3))
    recorder = play(jobs, policy, engines=8, faults=faults)
    again = [kept for kept in recorder.kept if kept >= 0]
    assert len(again) > 700
    assert sum(again) / len(again) >= 0.98
