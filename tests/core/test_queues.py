"""Queues that the gateway holds: who is sent, who waits, in which order, and what ends a wait."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.decision import QueuedDecision, Reason
from cardan.estimate import backlog_tokens, estimate
from cardan.instants import Monotonic
from cardan.ledger import Outcome
from cardan.lifecycle import Failure, Reject, RejectReason, State
from cardan.queues import QueuesConfig
from cardan.scheduler import AdmissionConfig

from tests.core.queueing import T0, Bench, after, sent_to, waits
from tests.fakes.draining import drain

if TYPE_CHECKING:
    from cardan.held import HeldQueues


class TestWindow:
    """What an endpoint is sent at once."""

    def test_without_a_window_everything_is_sent(self) -> None:
        bench = Bench(1, window=0)
        assert [sent_to(bench.exchange().arrive(T0)) for _ in range(5)] == ["e0"] * 5
        assert bench.scheduler.queues is None

    def test_the_second_prompt_waits_until_the_first_has_its_first_token(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(), bench.exchange()
        assert sent_to(first.arrive(T0)) == "e0"
        assert waits(second.arrive(T0))
        assert bench.wake(after(0.1)) == []
        bench.looks = 0
        first.first_byte(after(0.2))
        assert bench.looks == 1
        assert bench.wake(after(0.2)) == [second]

    def test_a_prompt_that_fails_makes_room(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(), bench.exchange()
        first.arrive(T0)
        second.arrive(T0)
        assert isinstance(first.failed(Failure.RESET, after(0.1)), Reject)
        assert bench.wake(after(0.1)) == [second]

    def test_a_prompt_whose_client_left_makes_room(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(), bench.exchange()
        first.arrive(T0)
        second.arrive(T0)
        first.client_left(after(0.1))
        assert bench.wake(after(0.1)) == [second]

    def test_a_window_of_tokens_takes_what_fits_and_always_one(self) -> None:
        bench = Bench(1, window=0, window_tokens=4000)
        sizes = (9000.0, 1000.0)
        assert [waits(bench.exchange(size).arrive(T0)) for size in sizes] == [False, True]
        bench = Bench(1, window=0, window_tokens=4000)
        more = (1000.0, 1000.0, 1000.0, 2000.0)
        actions = [bench.exchange(size).arrive(T0) for size in more]
        assert [waits(action) for action in actions] == [False, False, False, True]

    def test_a_silence_of_two_seconds_lets_one_more_through_and_then_no_other(self) -> None:
        bench = Bench(1, migrate=False)
        for _ in range(3):
            bench.exchange().arrive(T0)
        assert bench.wake(after(1.9)) == []
        assert len(bench.wake(after(2.1))) == 1
        assert bench.wake(after(2.2)) == []

    def test_a_long_prompt_is_no_silence(self) -> None:
        bench = Bench(1, migrate=False)
        bench.exchange(30_000).arrive(T0)
        bench.exchange().arrive(T0)
        assert bench.wake(after(4.0)) == []

    def test_prompts_that_do_not_stream_count_until_they_must_be_done(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(10_000, stream=False), bench.exchange()
        first.arrive(T0)
        assert waits(second.arrive(T0))
        assert bench.wake(after(0.5)) == []
        assert bench.wake(after(2.5)) == [second]

    def test_the_limit_in_flight_holds_for_who_is_assigned(self) -> None:
        config = AdmissionConfig(max_in_flight_per_endpoint=1, queues=QueuesConfig(window=1))
        bench = Bench(1, admission=config)
        first, second = bench.exchange(), bench.exchange()
        first.arrive(T0)
        assert waits(second.arrive(T0))
        first.first_byte(after(0.1))
        assert bench.wake(after(0.1)) == []
        first.ended(Outcome.OK, after(0.2))
        assert bench.wake(after(0.2)) == [second]

    def test_who_failed_elsewhere_is_sent_past_the_window(self) -> None:
        bench = Bench(2)
        first, second = bench.exchange(), bench.exchange()
        asked = sent_to(first.arrive(T0))
        assert sent_to(second.arrive(T0)) != asked
        assert sent_to(first.failed(Failure.UNREACHABLE, after(0.1))) != asked


class TestOrder:
    """Whose turn it is."""

    def test_first_come_first_served_where_nothing_is_cached(self) -> None:
        bench = Bench(1)
        exchanges = [bench.exchange(at=after(index / 100)) for index in range(4)]
        for exchange in exchanges:
            exchange.arrive(exchange.request.arrived_at)
        sent = []
        for exchange in exchanges:
            now = after(1.0)
            exchange.first_byte(now)
            sent += bench.wake(now)
        assert sent == exchanges[1:]

    @pytest.mark.parametrize(
        ("weight", "slo_s", "goes_first"), [(1.0, 5.0, True), (0.0, 5.0, False), (1.0, 0.2, False)]
    )
    def test_what_is_cached_goes_before_what_came_little_sooner(
        self, weight: float, slo_s: float, goes_first: bool
    ) -> None:
        bench = Bench(1, saved_weight=weight)
        chain = tuple(range(10))
        bench.state("e0").shadow.insert(chain)
        running = bench.exchange()
        running.arrive(T0)
        cold = bench.exchange(5120, slo_s=slo_s)
        warm = bench.exchange(5120, chain, at=after(0.1), slo_s=slo_s)
        cold.arrive(T0)
        warm.arrive(after(0.1))
        running.first_byte(after(0.2))
        assert bench.wake(after(0.2)) == [warm if goes_first else cold]

    def test_who_comes_while_others_wait_does_not_overtake_them(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(), bench.exchange()
        first.arrive(T0)
        second.arrive(T0)
        first.first_byte(after(0.1))
        assert waits(bench.exchange(at=after(0.1)).arrive(after(0.1)))
        assert bench.wake(after(0.1)) == [second]


class TestBacklog:
    """What waits here counts for those who come after, once."""

    def test_assigned_work_is_in_the_prediction(self) -> None:
        bench = Bench(1)
        bench.exchange(1000).arrive(T0)
        alone = backlog_tokens(bench.state("e0"), T0)
        waiting = bench.exchange(3000)
        waiting.arrive(T0)
        work = bench.turn(waiting).work_tokens
        assert backlog_tokens(bench.state("e0"), T0) == pytest.approx(alone + work)

    def test_it_is_what_it_would_be_had_all_been_sent(self) -> None:
        held, sent = Bench(1), Bench(1, window=0)
        for bench in (held, sent):
            for _ in range(4):
                bench.exchange(1000).arrive(T0)
        request = held.exchange(500).request
        predicted = [estimate(b.state("e0"), request, after(0.1)).ttft_s for b in (held, sent)]
        assert predicted[0] == pytest.approx(predicted[1])

    def test_who_is_sent_is_predicted_without_those_behind_it(self) -> None:
        bench = Bench(1)
        exchanges = [bench.exchange(1000) for _ in range(3)]
        for exchange in exchanges:
            exchange.arrive(T0)
        exchanges[0].first_byte(after(0.1))
        bench.wake(after(0.1))
        decision = exchanges[1].decision
        assert decision is not None
        assert decision.chosen.backlog_s == 0.0


class TestReceipt:
    """The decision says that it waited, and where."""

    def test_it_names_the_first_decision_and_the_wait(self) -> None:
        bench = Bench(1)
        first, second = bench.exchange(), bench.exchange()
        first.arrive(T0)
        second.arrive(T0)
        first.first_byte(after(0.5))
        bench.wake(after(0.5))
        assert isinstance(second.decision, QueuedDecision)
        assert second.decision.reason is Reason.ONLY
        assert second.decision.chosen in second.decision.candidates
        told = second.decision.receipt()["assigned"]
        assert isinstance(told, dict)
        assert (told["endpoint"], told["waited_s"], told["migrations"]) == ("e0", 0.5, 0)


class TestEnds:
    """Nobody waits for ever."""

    def test_a_turn_that_does_not_come_is_told_in_time(self) -> None:
        bench = Bench(1, max_wait_s=10.0, migrate=False)
        bench.exchange(200_000).arrive(T0)
        late = bench.exchange()
        late.arrive(T0)
        assert waits(late.wake(after(9.9)))
        answer = late.wake(after(10.0))
        assert isinstance(answer, Reject)
        assert answer.reason is RejectReason.QUEUE_TIMEOUT
        assert not bench.scheduler.queue
        assert bench.state("e0").load.assigned_tokens == 0.0

    def test_the_queue_is_bounded_in_requests_and_bytes(self) -> None:
        queues = QueuesConfig(window=1)
        for limits in (
            AdmissionConfig(max_queued_requests=1, queues=queues),
            AdmissionConfig(max_queued_bytes=150, queues=queues),
        ):
            bench = Bench(1, admission=limits)
            bench.exchange().arrive(T0)
            assert waits(bench.exchange().arrive(T0))
            answer = bench.exchange().arrive(T0)
            assert isinstance(answer, Reject)
            assert answer.reason is RejectReason.QUEUE_FULL

    def test_a_client_that_leaves_takes_its_turn_with_it(self) -> None:
        bench = Bench(1)
        exchanges = [bench.exchange() for _ in range(3)]
        for exchange in exchanges:
            exchange.arrive(T0)
        exchanges[1].client_left(after(0.1))
        exchanges[0].first_byte(after(0.2))
        assert bench.wake(after(0.2)) == [exchanges[2]]

    def test_who_waits_for_one_that_left_is_decided_anew(self) -> None:
        bench = Bench(2)
        for _ in range(6):
            bench.exchange().arrive(T0)
        assert len(bench.scheduler.queues or ()) == 4
        bench.join(1)
        bench.wake(after(0.1))
        assert {turn.state.id for turn in (bench.scheduler.queues or _none()).turns()} == {"e0"}

    def test_who_waits_for_one_that_drains_is_decided_anew(self) -> None:
        bench = Bench(2)
        for _ in range(6):
            bench.exchange().arrive(T0)
        drain(bench.fleet, bench.state("e1").id)
        bench.wake(after(0.1))
        assert {turn.state.id for turn in (bench.scheduler.queues or _none()).turns()} == {"e0"}

    def test_when_nobody_is_left_they_wait_as_anybody_would(self) -> None:
        bench = Bench(1)
        bench.exchange().arrive(T0)
        waiting = bench.exchange()
        waiting.arrive(T0)
        bench.join(0)
        bench.wake(after(1.0))
        assert (waiting.state, waiting.queued_until) == (State.WAITING, Monotonic(T0 + 6.0))
        bench.join(1)
        assert bench.wake(after(2.0)) == [waiting]

    def test_turned_off_everybody_is_sent(self) -> None:
        bench = Bench(1)
        exchanges = [bench.exchange() for _ in range(4)]
        for exchange in exchanges:
            exchange.arrive(T0)
        scheduler = bench.scheduler
        scheduler.reconfigure(scheduler.policy, scheduler.retry, AdmissionConfig())
        assert bench.wake(after(0.1)) == exchanges[1:]
        assert bench.state("e0").load.assigned_tokens == 0.0


def _none() -> HeldQueues:
    raise AssertionError("no queues are held")
