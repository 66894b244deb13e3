"""Things go wrong, and every request still has exactly one outcome."""

from __future__ import annotations

import pytest
from cardan.ledger import Outcome
from cardan.policies import DualMap
from cardan_sim.simulate.faults import Blind, Cold, Dies, Late, Silent, Slows, Stalls
from cardan_sim.simulate.knowledge import Exact, Metrics
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
        Silent(at_s=5.0, for_s=10.0, engine=1),
        Late(at_s=5.0, for_s=10.0, by_s=4.0),
        Blind(at_s=5.0, for_s=10.0, gateway=0),
    ],
    ids=lambda fault: type(fault).__name__,
)
@pytest.mark.parametrize("knowledge", [Exact(), Metrics()], ids=lambda k: type(k).__name__)
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
