"""Requests are due in the recorded order, at the speed or the rate asked for."""

from __future__ import annotations

import pytest
from cardan_sim.replay.schedule import Pace, ScheduleError, due_times
from cardan_sim.traces import BlockPrompt, TraceRequest
from hypothesis import example, given
from hypothesis import strategies as st


def arriving(*times_s: float | None) -> list[TraceRequest]:
    return [TraceRequest(at, 16, 4, BlockPrompt((1,), 16)) for at in times_s]


def test_the_recorded_times_are_kept_from_the_first_request_on() -> None:
    assert due_times(arriving(5.0, 6.0, 8.0), Pace()) == [0.0, 1.0, 3.0]


def test_a_speed_divides_every_gap() -> None:
    assert due_times(arriving(0.0, 1.0, 3.0), Pace(speed=2.0)) == [0.0, 0.5, 1.5]


def test_a_rate_scales_all_gaps_by_one_factor() -> None:
    assert due_times(arriving(0.0, 10.0, 40.0), Pace(rate_rps=4.0)) == [0.0, 0.125, 0.5]


def test_a_trace_without_times_needs_a_rate() -> None:
    with pytest.raises(ScheduleError, match="--rate"):
        due_times(arriving(None, None), Pace())


def test_arrivals_made_up_for_a_trace_without_times_follow_the_seed() -> None:
    requests = arriving(*[None] * 400)
    due = due_times(requests, Pace(rate_rps=10.0, seed=1))
    assert due == due_times(requests, Pace(rate_rps=10.0, seed=1))
    assert due != due_times(requests, Pace(rate_rps=10.0, seed=2))
    # 400 arrivals at 10 a second take 40 s, with a standard deviation of 2 s.
    assert due[-1] == pytest.approx(40, abs=8)


@given(
    gaps=st.lists(st.floats(0, 100), min_size=1, max_size=30),
    rate=st.one_of(st.none(), st.floats(0.1, 100)),
    speed=st.floats(0.1, 100),
)
@example(gaps=[2.2e-309], rate=1.0, speed=1.0)
def test_due_times_start_at_zero_keep_the_order_and_meet_the_rate(
    gaps: list[float], rate: float | None, speed: float
) -> None:
    arrivals = [sum(gaps[:i]) for i in range(len(gaps) + 1)]
    due = due_times(arriving(*arrivals), Pace(rate_rps=rate, speed=speed))
    assert due[0] == 0.0
    assert due == sorted(due)
    if rate is not None and arrivals[-1] > 1e-6:
        assert len(gaps) / due[-1] == pytest.approx(rate)
