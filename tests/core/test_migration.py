"""Migration: who waits for a hot endpoint goes to another of its candidates, if that helps."""

from __future__ import annotations

import pytest
from cardan.decision import Candidate, Decision, Reason
from cardan.estimate import backlog_tokens, estimate
from cardan.migration import MAX_HOPS, Move, is_hot, plan
from cardan.queues import EndpointQueue, Queues, QueuesConfig, Turn

from tests.core.queueing import START_RATE, T0, Bench, after, sent_to, waits

CONFIG = QueuesConfig(window=1)  # a budget of 2.5 s at 5 s SLO: 25,000 tokens at the start's rate


class Hot:
    """Two endpoints; whoever is told to waits for e0, whether or not that is wise."""

    def __init__(self, *, running: float = 1000.0) -> None:
        self.bench = Bench(2)
        self.queues = Queues(CONFIG)
        self.here, self.there = self.bench.state("e0"), self.bench.state("e1")
        if running:
            self.send(running)

    def send(self, tokens: float, name: str = "e0") -> None:
        """A prompt that is at the engine."""
        exchange = self.bench.exchange(tokens)
        self.bench.scheduler.open(exchange.request, self.decision(exchange, name), T0)

    def wait(self, tokens: float, chain: tuple[int, ...] = (), name: str = "e0") -> Turn:
        """A request that waits."""
        exchange = self.bench.exchange(tokens, chain)
        return self.queues.enter(exchange, self.decision(exchange, name), T0)

    def decision(self, exchange: object, name: str) -> Decision:
        """Whatever is predicted, it is that one."""
        chosen = estimate(self.bench.state(name), exchange.request, T0)  # type: ignore[attr-defined]
        return Decision(chosen, (chosen,), Reason.POLICY)

    @property
    def queue(self) -> EndpointQueue:
        """Who waits for e0."""
        queue = self.queues.at(self.here)
        assert queue is not None
        return queue

    def plan(self, seconds: float = 0.0) -> list[Move]:
        """Who moves to e1."""
        return plan(self.queue, self.queues, lambda _: [self.there], after(seconds))


def test_within_the_budget_nothing_is_hot() -> None:
    hot = Hot()
    hot.wait(10_000)
    assert not is_hot(hot.queue, CONFIG, T0)


def test_more_work_than_the_budget_is_hot() -> None:
    hot = Hot()
    hot.wait(25_000)
    assert is_hot(hot.queue, CONFIG, T0)


def test_a_head_that_has_waited_three_seconds_is_hot() -> None:
    hot = Hot()
    hot.wait(1000)
    assert not is_hot(hot.queue, CONFIG, after(2.9))
    assert is_hot(hot.queue, CONFIG, after(3.1))


def test_who_gains_most_moves_first_until_the_endpoint_is_within_the_budget() -> None:
    hot = Hot(running=15_000)
    turns = [hot.wait(4000) for _ in range(3)]
    moves = hot.plan()
    assert [move.turn for move in moves] == turns[:0:-1]  # the last waits longest; two are enough
    assert all(move.candidate.endpoint is hot.there for move in moves)
    # Behind 19,000 and 8,600 tokens of work here (attention counts), alone there.
    assert moves[0].gain_s == pytest.approx(1.9 + 0.86, rel=0.02)


def test_nobody_moves_to_where_the_budget_would_be_missed() -> None:
    hot = Hot(running=20_000)
    hot.send(23_000, "e1")
    hot.wait(8000)
    assert hot.plan() == []


def test_nobody_moves_to_where_another_has_waited_for_three_seconds() -> None:
    hot = Hot(running=60_000)
    hot.wait(1000)
    hot.wait(100, name="e1")
    assert hot.plan(3.1) == []


def test_each_that_moves_makes_the_place_less_good_for_the_next() -> None:
    hot = Hot(running=60_000)
    for _ in range(10):
        hot.wait(6000)
    moves = hot.plan()
    assert 0 < len(moves) < 5  # 25,000 tokens are the budget there
    for move in moves:
        hot.queues.move(move.turn, move.candidate)
    assert hot.there.load.assigned_tokens <= 25_000 * 1.2


def test_a_warm_prefix_is_weighed_against_the_wait() -> None:
    chain = tuple(range(30))
    hot = Hot(running=0)
    hot.here.shadow.insert(chain)
    hot.send(26_000)
    turn = hot.wait(15_360, chain)
    cold_s = estimate(hot.there, turn.exchange.request, T0).ttft_s
    assert [move.turn for move in hot.plan()] == [turn]
    here_s = backlog_tokens(hot.here, T0) / START_RATE
    assert hot.plan()[0].gain_s == pytest.approx(here_s - cold_s, rel=0.05)


def test_a_gain_too_small_to_be_known_moves_nobody() -> None:
    hot = Hot(running=20_000)
    hot.send(19_900, "e1")
    hot.wait(4000)
    hot.wait(1000)
    moved = {move.turn.work_tokens for move in hot.plan()}
    assert not any(work > 4000 for work in moved)


def test_twice_is_enough() -> None:
    hot = Hot(running=60_000)
    turn = hot.wait(1000)
    assert len(hot.plan()) == 1
    turn.hops = MAX_HOPS
    assert hot.plan() == []


def test_a_move_takes_the_work_along() -> None:
    hot = Hot(running=60_000)
    turn = hot.wait(1000)
    (move,) = hot.plan()
    hot.queues.move(turn, move.candidate)
    assert (turn.state, turn.hops) == (hot.there, 1)
    assert hot.here.load.assigned_tokens == 0.0
    assert hot.there.load.assigned_tokens == turn.work_tokens
    assert isinstance(move.candidate, Candidate)


class TestScheduler:
    """Migration as the scheduler does it: to a key's other owner, when others are woken."""

    def test_who_waits_for_an_engine_that_stops_goes_to_its_other_candidate_and_says_so(
        self,
    ) -> None:
        bench = Bench(2)
        chain = tuple(range(8))
        home = bench.state("e0")
        home.shadow.insert(chain)
        first = bench.exchange(4096, chain)
        assert sent_to(first.arrive(T0)) == "e0"
        tail = bench.exchange(12_000, (*chain, 100))
        assert waits(tail.arrive(T0))
        assert bench.turn(tail).state is home
        # The engine stops: nothing comes back. What waits for it goes to the other.
        assert bench.wake(after(3.5)) == [tail]
        decision = tail.decision
        assert decision is not None
        assert (decision.endpoint.id, decision.reason) == ("e1", Reason.MIGRATED)
        told = decision.receipt()["assigned"]
        assert isinstance(told, dict)
        assert (told["endpoint"], told["migrations"]) == ("e0", 1)

    def test_a_queue_is_looked_at_ten_times_a_second_at_most(self) -> None:
        bench = Bench(1)
        bench.exchange(60_000).arrive(T0)
        waiting = bench.exchange()
        waiting.arrive(T0)
        queues = bench.scheduler.queues
        assert queues is not None
        assert queues.needs_look(bench.state("e0"), T0)
        bench.wake(T0)
        assert not queues.needs_look(bench.state("e0"), after(0.09))
        assert queues.needs_look(bench.state("e0"), after(0.11))

    def test_turned_off_nobody_moves(self) -> None:
        bench = Bench(2, migrate=False)
        exchanges = [bench.exchange(30_000) for _ in range(6)]
        for exchange in exchanges:
            exchange.arrive(T0)
        bench.wake(after(3.5))
        queues = bench.scheduler.queues
        assert queues is not None
        assert queues.migrations == 0
