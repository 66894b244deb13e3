"""Queues that the gateway holds, in small worlds: nothing is lost, whatever fails, and it moves."""

from __future__ import annotations

import msgspec
import pytest
from cardan.ledger import Outcome
from cardan.policies import DualMap
from cardan.queues import QueuesConfig
from cardan.scheduler import AdmissionConfig
from cardan_sim.simulate.faults import AnyFault
from cardan_sim.simulate.knowledge import AnyKnowledge
from cardan_sim.simulate.recorder import OUTCOMES
from cardan_sim.simulate.world import World

from tests.sim.simulate.worlds import conversations, play, rows, setup

HELD = AdmissionConfig(queues=QueuesConfig(window=1))
BUSY = 25.0  # requests a second: four small engines compute some thirty


def world(rate: float = BUSY, **rest: object) -> World:
    """A world that has been played to its end, where the laws were checked."""
    played = World(setup(**({"admission": HELD, "slo_ttft_s": 2.0} | rest)), DualMap(), 1)
    played.play(conversations(400, rate))
    return played


def outcomes(played: World) -> set[Outcome]:
    """How requests ended."""
    return {OUTCOMES[number] for number in played.recorder.outcome}


def migrations(played: World) -> int:
    """How often somebody was moved."""
    return sum(one.queues.migrations for one in played.schedulers if one.queues is not None)


def test_everybody_is_served_and_some_are_moved() -> None:
    played = world()
    assert outcomes(played) == {Outcome.OK}
    assert migrations(played) > 0


def test_the_same_seed_plays_the_same() -> None:
    jobs = conversations(200, BUSY)
    first, second = (play(jobs, admission=HELD, slo_ttft_s=2.0) for _ in range(2))
    assert rows(first) == rows(second)


@pytest.mark.parametrize("knowledge", ["exact", "own", "metrics", "kv-events"])
def test_gateways_that_share_engines_lose_nobody(knowledge: str) -> None:
    what = msgspec.convert({"type": knowledge}, AnyKnowledge)
    played = world(gateways=3, knowledge=what)
    assert outcomes(played) == {Outcome.OK}


@pytest.mark.parametrize("kind", ["dies", "stalls", "slows"])
def test_an_engine_that_fails_keeps_nobody_waiting_for_ever(kind: str) -> None:
    plain = {"type": kind, "engine": 0, "at_s": 4.0, "for_s": 8.0}
    fault = msgspec.convert(plain, AnyFault)
    played = world(faults=(fault,))
    assert min(played.recorder.outcome) >= 0
