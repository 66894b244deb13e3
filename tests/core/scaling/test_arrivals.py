"""What clients ask, from counters of what was answered: an overload must not hide."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.arrivals import (
    ArrivalMemory,
    Standing,
    arrived,
    steadied,
    watched,
    with_backlog,
)
from cardan.scaling.learned_mean import LearnedMean
from cardan.scaling.observation import Datum, Demand, EndpointLoad, Freshness, Observation
from cardan.scaling.service import Learned

LEARNED = Learned(
    prompt_tokens=LearnedMean(1000.0, 600.0, 1000.0),
    uncached_tokens=LearnedMean(600.0, 600.0, 600.0),
    output_tokens=LearnedMean(100.0, 600.0, 100.0),
)


def fresh(value: float) -> Datum:
    return Datum(value, WallTime(0.0), Freshness.FRESH)


def demand(
    requests: float, uncached: float, *, shed: float | None = 0.0, answered: float | None = None
) -> Demand:
    """So many end a second; tokens are those of requests of that size, if all had been answered."""
    return Demand(
        requests_per_s=fresh(requests),
        prompt_tokens_per_s=fresh(1000.0 * requests),
        uncached_tokens_per_s=fresh(uncached * requests),
        output_tokens_per_s=fresh(100.0 * requests),
        answered_per_s=Datum() if answered is None else fresh(answered),
        shed_per_s=Datum() if shed is None else fresh(shed),
    )


def seen(at: float, *in_flight: float | None, held: float = 0.0) -> Observation:
    loads = tuple(
        EndpointLoad(
            id=EndpointId(f"e{i}"),
            pool="engines",
            in_flight=Datum() if many is None else fresh(many),
        )
        for i, many in enumerate(in_flight)
    )
    return Observation(at=WallTime(at), demand=Demand(held=fresh(held)), endpoints=loads)


def after(*observations: Observation) -> ArrivalMemory:
    memory = ArrivalMemory()
    for observation in observations:
        memory = watched(memory, observation)
    return memory


def test_what_piles_up_is_added_to_what_ends() -> None:
    memory = after(seen(0, 10, 10), seen(15, 60, 60), seen(30, 100, 100, held=20))
    restored = arrived(memory, demand(20.0, 600.0), LEARNED)
    assert restored.requests_per_s.known == pytest.approx(20.0 + (220 - 20) / 30)
    assert restored.uncached_tokens_per_s.known == pytest.approx(600.0 * (20.0 + 200 / 30))
    assert restored.output_tokens_per_s.known == pytest.approx(100.0 * (20.0 + 200 / 30))


def test_what_is_worked_off_does_not_make_the_load_smaller() -> None:
    memory = after(seen(0, 100), seen(30, 10))
    assert arrived(memory, demand(20.0, 600.0), LEARNED).requests_per_s.known == 20.0


def test_the_window_is_half_a_minute() -> None:
    memory = after(*(seen(15.0 * i, 10.0 * i) for i in range(9)))
    assert memory.standing[0] == Standing(WallTime(90.0), 60.0)
    assert len(memory.standing) == 3


def test_an_endpoint_that_does_not_tell_ends_the_series() -> None:
    assert after(seen(0, 10), seen(15, None)).standing == ()
    assert after(seen(0, 10), seen(15)).standing == ()


def test_chance_does_not_change_the_size_of_a_request_but_another_mix_does() -> None:
    by_chance = arrived(ArrivalMemory(), demand(20.0, 640.0), LEARNED)
    assert by_chance.uncached_tokens_per_s.known == pytest.approx(600.0 * 20)
    for other in (1200.0, 300.0):
        changed = arrived(ArrivalMemory(), demand(20.0, other), LEARNED)
        assert changed.uncached_tokens_per_s.known == pytest.approx(other * 20)


def tokens(told: Demand) -> float:
    """Uncached tokens a second of what arrives, where nothing piles up."""
    return arrived(ArrivalMemory(), told, LEARNED).uncached_tokens_per_s.known or 0.0


def test_requests_that_are_shed_are_as_large_as_those_that_are_served() -> None:
    # 80/s end: 20 are served 600 tokens each, 60 are shed and have none
    assert tokens(demand(80.0, 150.0, shed=60.0)) == pytest.approx(80 * 600.0)
    # those that are served show another mix
    assert tokens(demand(80.0, 300.0, shed=60.0)) == pytest.approx(80 * 1200.0)


def test_where_it_is_known_what_was_answered_is_what_has_tokens() -> None:
    # nobody was shed: 60 of 80 broke, or found no engine
    assert tokens(demand(80.0, 300.0, answered=20.0)) == pytest.approx(80 * 1200.0)


@pytest.mark.parametrize("told", [{"shed": 80.0}, {"answered": 0.0}, {"shed": None}])
def test_where_nobody_was_answered_or_can_tell_requests_are_as_large_as_ever(told: Any) -> None:
    assert tokens(demand(80.0, 1e-6, **told)) == pytest.approx(80 * 600.0)


def test_without_a_past_what_ended_stands_for_what_was_answered() -> None:
    for unknown in (demand(80.0, 300.0, shed=None), demand(80.0, 300.0, answered=0.0)):
        told = arrived(ArrivalMemory(), unknown, Learned()).uncached_tokens_per_s.known
        assert told == pytest.approx(80 * 300.0)


def steady(*rates: float) -> float:
    """The rate that is believed after these, a tick of fifteen seconds each."""
    memory, seen = ArrivalMemory(), Demand()
    for tick, rate in enumerate(rates):
        memory, seen = steadied(memory, demand(rate, 600.0), WallTime(15.0 * tick))
    assert seen.uncached_tokens_per_s.known == pytest.approx(
        600.0 * (seen.requests_per_s.known or 0)
    )
    return seen.requests_per_s.known or 0.0


def test_chance_moves_a_mean_and_a_change_counts_at_once() -> None:
    assert steady(30.0) == 30.0
    assert 30.0 < steady(30.0, 32.0) < 30.5
    assert steady(30.0, 45.0) == 45.0
    assert steady(30.0, 15.0) == 15.0
    assert steady(30.0, *[28.0] * 60) == pytest.approx(28.0, rel=0.01)


def test_what_waits_beyond_a_request_an_engine_is_to_be_cleared_in_a_minute() -> None:
    def waiting(*each: float) -> float:
        loads = tuple(
            EndpointLoad(id=EndpointId(f"e{i}"), pool="engines", waiting=fresh(many))
            for i, many in enumerate(each)
        )
        seen = Observation(at=WallTime(0.0), endpoints=loads)
        return with_backlog(demand(20.0, 600.0), seen).requests_per_s.known or 0.0

    assert waiting(1.0, 0.5) == 20.0
    assert waiting(301.0, 301.0) == pytest.approx(30.0)


def test_what_is_not_fresh_stays_as_it_is() -> None:
    stale = Demand(requests_per_s=Datum(5.0, WallTime(0.0), Freshness.STALE))
    assert arrived(after(seen(0, 10), seen(15, 90)), stale, LEARNED) == stale


def test_without_a_request_that_ended_requests_are_as_large_as_ever() -> None:
    memory = after(seen(0, 0), seen(30, 60))
    restored = arrived(memory, demand(0.0, 0.0), LEARNED)
    assert restored.requests_per_s.known == 2.0
    assert restored.uncached_tokens_per_s.known == 1200.0
