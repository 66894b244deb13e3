"""A whole run: the production core decides, nothing is lost, and the seed decides the rest."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from cardan.ledger import Ledger
from cardan.policies import DualMap, LeastRequest, RoundRobin
from cardan.policies import dualmap as dualmap_module
from cardan.scheduler import AdmissionConfig
from cardan_sim.simulate.knowledge import Exact, KvEvents, Metrics, Own
from cardan_sim.simulate.laws import ConservationError
from cardan_sim.simulate.world import World

from tests.sim.simulate.worlds import SMALL, conversations, play, rows, setup

if TYPE_CHECKING:
    from cardan_sim.simulate.recorder import Recorder


def hit_ratio(recorder: Recorder) -> float:
    return sum(recorder.cached) / sum(recorder.tokens)


def attained(recorder: Recorder, slo_s: float = 5.0) -> float:
    return sum(ttft_s <= slo_s for ttft_s in recorder.ttft_s) / len(recorder)


def test_the_same_seed_gives_the_same_run_and_another_seed_another() -> None:
    jobs = conversations(300, 10.0)
    assert rows(play(jobs, seed=3)) == rows(play(jobs, seed=3))
    assert rows(play(jobs, seed=3)) != rows(play(jobs, seed=4))


def test_reuse_shows_where_a_policy_looks_for_it() -> None:
    jobs = conversations(600, 14.0)
    ours, theirs = play(jobs, DualMap()), play(jobs, RoundRobin())
    assert hit_ratio(ours) > hit_ratio(theirs) + 0.1
    assert attained(ours) > attained(theirs)


@pytest.mark.parametrize(
    "knowledge", [Exact(), Own(), Metrics(), KvEvents(), KvEvents(events_delay_s=3.0)]
)
@pytest.mark.parametrize("gateways", [1, 3])
def test_every_kind_of_knowledge_keeps_the_laws(knowledge: object, gateways: int) -> None:
    recorder = play(conversations(200, 8.0), knowledge=knowledge, gateways=gateways)
    assert attained(recorder) > 0.8


def test_gateways_that_share_one_mind_decide_as_one_does() -> None:
    jobs = conversations(200, 8.0)
    three = play(jobs, LeastRequest(), knowledge=Exact(), gateways=3)
    one = play(jobs, LeastRequest(), knowledge=Exact(), gateways=1)
    assert abs(attained(three) - attained(one)) < 0.02


def test_a_belief_that_is_seen_is_never_wrong_below_a_block() -> None:
    recorder = play(conversations(200, 2.0), knowledge=Exact())
    wrong = [b - c for b, c in zip(recorder.believed, recorder.cached, strict=True)]
    assert abs(sum(wrong)) / sum(recorder.tokens) < 0.02


def test_who_finds_no_room_waits_in_the_gateway_and_is_woken() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_wait_s=1000.0)
    recorder = play(conversations(200, 12.0), admission=admission)
    assert all(ttft_s > 0 for ttft_s in recorder.ttft_s)


def test_a_queue_that_is_full_turns_away_and_that_is_an_outcome() -> None:
    admission = AdmissionConfig(max_in_flight_per_endpoint=1, max_queued_requests=2)
    recorder = play(conversations(200, 40.0), admission=admission)
    assert 0 < sum(ttft_s > 0 for ttft_s in recorder.ttft_s) < len(recorder)


def test_a_bug_planted_in_the_cores_policy_shows_in_the_simulator(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    jobs = conversations(600, 12.0)
    before = play(jobs)
    monkeypatch.setattr(dualmap_module, "_own", lambda matched, depth: [0] * len(matched))
    after = play(jobs)
    assert hit_ratio(after) < hit_ratio(before) - 0.02


def test_a_lease_that_leaks_in_the_core_is_found_at_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kept = Ledger.on_close

    def leaky(self: Ledger, *rest: object) -> None:
        kept(self, *rest)  # type: ignore[arg-type]
        self.open_leases += 1

    monkeypatch.setattr(Ledger, "on_close", leaky)
    with pytest.raises(ConservationError, match="leases are open"):
        play(conversations(20, 5.0))


def test_no_policy_is_told_how_long_an_answer_will_be() -> None:
    jobs = conversations(150, 8.0)
    longer = [replace(job, output_tokens=100 * job.output_tokens) for job in jobs]
    assert rows(play(jobs)) == rows(play(longer)), "this engine does not decode"


def test_where_caches_are_seen_they_are_as_large_as_the_engines_are() -> None:
    world = World(setup(knowledge=Exact()), DualMap(), 1)
    world.play(conversations(100, 8.0))
    for scheduler in world.schedulers:
        for state in scheduler.fleet.endpoints.values():
            assert state.shadow.capacity_blocks == SMALL.cache_tokens // 512
            assert state.metrics is not None
            assert state.metrics.prompt_tokens


def test_a_front_that_keeps_beginnings_together_helps_gateways_that_know_only_their_own() -> None:
    jobs = conversations(400, 8.0)
    anybody = play(jobs, knowledge=Own(), gateways=4)
    by_prefix = play(jobs, knowledge=Own(), gateways=4, front_blocks=3)
    assert hit_ratio(by_prefix) > hit_ratio(anybody)


def test_events_that_come_late_are_believed_late() -> None:
    jobs = conversations(200, 4.0)

    def believed(delay_s: float) -> float:
        recorder = play(jobs, knowledge=KvEvents(events_delay_s=delay_s))
        return sum(recorder.believed) / sum(recorder.tokens)

    assert believed(1e6) == 0.0
    assert 0.0 < believed(5.0) < believed(0.0) - 0.02
