"""The step-level engine in a cluster: the same laws, its own truth, and a golden run."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.policies import DualMap, RoundRobin
from cardan_sim.engine.errors import EngineError
from cardan_sim.simulate.engines import Coefficients, PrefillSpec, StepSpec
from cardan_sim.simulate.engines.base import Began, Finished, Refused
from cardan_sim.simulate.faults import Dies, Stalls
from cardan_sim.simulate.jobs import Job
from cardan_sim.simulate.knowledge import Exact, KvEvents, Metrics, Own
from cardan_sim.simulate.recorder import OUTCOMES, Recorder
from cardan_sim.simulate.world import World

from tests.sim.simulate.worlds import SMALL, conversations, play, rows, setup

if TYPE_CHECKING:
    from collections.abc import Iterable

SMALL_KV = StepSpec(model="llama-3.1-8b", gpu="a100", kv_blocks=4000)


@pytest.mark.parametrize("make", ["vllm", "sglang"])
@pytest.mark.parametrize("knowledge", [Exact(), Own(), Metrics(), KvEvents()])
def test_step_level_engines_keep_the_laws(make: str, knowledge: object) -> None:
    engine = StepSpec(make_=make, model="llama-3.1-8b", gpu="a100", kv_blocks=2500)  # type: ignore[arg-type]
    recorder = play(conversations(150, 6.0), engine=engine, knowledge=knowledge, gateways=2)
    assert {OUTCOMES[outcome].value for outcome in recorder.outcome} == {"ok"}
    assert all(0 < t <= e for t, e in zip(recorder.ttft_s, recorder.e2e_s, strict=True))


def test_a_run_is_a_function_of_its_seed() -> None:
    jobs = conversations(150, 6.0)
    assert rows(play(jobs, engine=SMALL_KV)) == rows(play(jobs, engine=SMALL_KV))


def test_reuse_shortens_the_wait() -> None:
    jobs = conversations(300, 7.0)
    ours = play(jobs, DualMap(), engine=SMALL_KV)
    theirs = play(jobs, RoundRobin(), engine=SMALL_KV)
    assert sum(ours.cached) > sum(theirs.cached)
    assert sum(ours.ttft_s) < sum(theirs.ttft_s)


@pytest.mark.parametrize("fault", [Dies(at_s=4.0, for_s=8.0, engine=0), Stalls(at_s=4.0, engine=0)])
def test_faults_lose_nobody(fault: object) -> None:
    recorder = play(conversations(150, 6.0), engine=SMALL_KV, faults=(fault,))
    assert {OUTCOMES[outcome].value for outcome in recorder.outcome} == {"ok"}


def test_an_answer_of_one_token_begins_and_ends_at_once() -> None:
    engine = SMALL_KV.make(0)
    engine.submit(1, Job(0.0, 1000, 1, (5, 6)), 0.0)
    assert engine.advance(0.0) == []
    assert engine.pending_tokens == 1000
    at = engine.next_event_at()
    assert at is not None
    assert engine.advance(at) == [Began(1, at), Finished(1, at, 0, 1)]
    assert engine.holds(5)
    assert not engine.holds(6), "it was not whole"
    assert engine.check_at_rest() is None


def test_a_prompt_that_no_engine_could_hold_is_refused_for_good() -> None:
    engine = SMALL_KV.make(0)
    engine.submit(1, Job(0.0, 200_000, 1, tuple(range(391))), 0.0)
    assert engine.advance(0.0) == [Refused(1, 0.0, True)]


def test_a_full_queue_refuses_and_the_request_goes_elsewhere() -> None:
    engine = StepSpec(model="llama-3.1-8b", gpu="a100", max_num_seqs=2, max_queued=1)
    recorder = play(conversations(60, 20.0), RoundRobin(), engine=engine)
    assert max(recorder.attempts) > 1


def test_measured_coefficients_replace_the_table() -> None:
    costs = Coefficients(a1_s=1e-3, d0_s=0.5)
    engine = StepSpec(model="llama-3.1-8b", gpu="a100", costs=costs).make(0)
    engine.submit(1, Job(0.0, 1000, 2, (5, 6)), 0.0)
    engine.advance(0.0)
    assert engine.next_event_at() == pytest.approx(1.0)
    engine.advance(1.01)
    assert engine.next_event_at() == pytest.approx(1.5)


def test_a_model_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(EngineError):
        StepSpec(model="no-such").spec()


def test_times_between_tokens_are_counted_but_not_the_wait_for_the_first() -> None:
    costs = Coefficients(a1_s=1e-3, d0_s=0.5)
    gaps = Recorder().gaps
    engine = StepSpec(model="llama-3.1-8b", gpu="a100", costs=costs).make(0)
    engine.count_gaps(gaps)
    engine.submit(1, Job(0.0, 1000, 4, (5, 6)), 0.0)
    while (at := engine.next_event_at()) is not None:
        engine.advance(at)
    assert gaps.count == 3
    assert gaps.sum == pytest.approx(1.5)


@pytest.mark.parametrize("warm_up", [0, 100])
def test_of_every_answer_all_gaps_are_counted_from_the_end_of_the_warm_up_on(warm_up: int) -> None:
    world = World(setup(engine=SMALL_KV), RoundRobin(), 1, warm_up)
    recorder = world.play(conversations(150, 6.0))
    gaps = [output - 1 for output in recorder.output]
    assert gaps[warm_up:] != []
    if warm_up:
        assert sum(gaps[warm_up:]) <= recorder.gaps.count < sum(gaps)
    else:
        assert recorder.gaps.count == sum(gaps)


@pytest.mark.parametrize("spec", [SMALL_KV, SMALL])
def test_events_tell_what_the_cache_holds(spec: StepSpec | PrefillSpec) -> None:
    """Also after evictions, and of a cache that was forgotten."""
    engine = spec.make(0)
    told: set[int] = set()

    def heard(stored: Iterable[int], gone: Iterable[int]) -> None:
        told.update(stored)
        told.difference_update(gone)

    engine.listen(heard)
    jobs = conversations(200, 6.0)
    ids = {block for job in jobs for block in job.blocks}
    for key, job in enumerate(jobs):
        engine.submit(key, job, job.due_s)
        while (at := engine.next_event_at()) is not None and at < job.due_s + 0.5:
            engine.advance(at)
        assert {block for block in ids if engine.holds(block)} == told & ids
    assert len(told & ids) < 0.6 * len(ids), "many were evicted"
    while (at := engine.next_event_at()) is not None:
        engine.advance(at)
    engine.forget()
    assert not told & ids
