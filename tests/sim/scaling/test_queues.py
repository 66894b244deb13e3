"""The fluid of shorter-of-two queues: its fixed point, its balance, single requests beside it."""

from __future__ import annotations

import heapq
from random import Random

import pytest
from cardan_sim.scaling.queues import Queues, settled


def run(queues: Queues, rate: float, served: float, seconds: int) -> tuple[float, float]:
    """Let whole seconds pass; what was served and shed per server."""
    flows = [queues.advance(rate, served, 1.0) for _ in range(seconds)]
    return sum(flow.served for flow in flows), sum(flow.shed for flow in flows)


@pytest.mark.parametrize("rho", [0.2, 0.5, 0.8, 0.9])
def test_at_rest_the_shares_are_the_published_fixed_point(rho: float) -> None:
    queues = Queues()
    run(queues, rho * 5.0, 5.0, 300)
    assert queues.s[1:5] == pytest.approx([rho ** (2**k - 1) for k in range(1, 5)], abs=2e-3)
    assert queues.late(0.2, 1.0) == pytest.approx(settled(rho).late(0.2, 1.0), abs=2e-3)


def test_an_overload_piles_up_by_what_exceeds_the_service() -> None:
    queues = Queues()
    run(queues, 6.0, 5.0, 60)
    assert queues.depth == pytest.approx(60 * (6.0 - 5.0), rel=0.1)
    assert queues.late(0.2, 1.0) > 0.99


def test_what_has_piled_up_goes_again() -> None:
    queues = Queues()
    run(queues, 10.0, 5.0, 10)
    run(queues, 2.0, 5.0, 30)
    assert queues.depth == pytest.approx(settled(0.4).depth, abs=0.01)


def test_no_queue_is_deeper_than_gateways_allow() -> None:
    queues = Queues()
    served, shed = run(queues, 20.0, 5.0, 60)
    assert queues.depth <= 201
    assert shed > 0
    assert served + shed + queues.depth == pytest.approx(20.0 * 60, rel=0.01)


def test_empty_servers_that_join_take_their_share_of_nothing() -> None:
    queues = settled(0.8)
    before = queues.depth
    queues.spread(4, 5)
    assert queues.depth == pytest.approx(before * 4 / 5)
    assert queues.s[0] == 1.0


@pytest.mark.parametrize("rho", [0.5, 0.7, 0.85])
def test_single_requests_are_late_as_often_as_the_fluid_says(rho: float) -> None:
    """24 servers, requests that join the shorter of two queues, exponential services."""
    budget = 4.0  # mean services
    late = one_by_one(servers=24, rho=rho, budget=budget, requests=40_000, seed=3)
    assert settled(rho).late(1.0, budget) == pytest.approx(late, abs=0.02)


def one_by_one(*, servers: int, rho: float, budget: float, requests: int, seed: int) -> float:
    """The share of requests that take more than `budget`, one request after the other."""
    rng, now, late = Random(seed), 0.0, 0
    ends: list[list[float]] = [[] for _ in range(servers)]
    for number in range(requests):
        now += rng.expovariate(rho * servers)
        pair = rng.sample(ends, 2)
        for queue in pair:
            while queue and queue[0] <= now:
                heapq.heappop(queue)
        queue = min(pair, key=len)
        end = max(queue[-1] if queue else now, now) + rng.expovariate(1.0)
        queue.append(end)
        late += number > requests // 10 and end - now > budget
    return late / (0.9 * requests)
