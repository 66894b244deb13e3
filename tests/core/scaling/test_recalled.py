"""What is on its way and far too much is taken back before it serves; what serves is not."""

from __future__ import annotations

import math

from cardan.instants import WallTime
from cardan.scaling import limits
from cardan.scaling.decision import ReasonCode
from cardan.scaling.limits import RECALL_MARGIN, RECALL_S, Step
from cardan.scaling.memory import PoolMemory, Superseded
from hypothesis import given
from hypothesis import strategies as st

NOW = WallTime(1_700_000_000.0)


def recalled(
    n: int, current: int, ready: int, *highs: tuple[float, int], stable: int | None = None
) -> Step:
    """`n` are wanted, `highs` were (until so many seconds ago), the window says `stable`."""
    past = tuple(Superseded(WallTime(NOW - ago), many) for ago, many in highs)
    held = Step(current if stable is None else stable)
    return limits.recalled(held, n, current, ready, PoolMemory(highs=past), NOW)


def test_a_spike_that_has_passed_is_taken_back_to_what_is_wanted_and_a_quarter() -> None:
    step = recalled(8, 20, 8, (RECALL_S + 1, 20))
    assert step.n == 10
    assert step.reason is not None
    assert step.reason.code is ReasonCode.PENDING_RECALLED


def test_what_was_wanted_just_now_is_still_on_its_way() -> None:
    assert recalled(8, 20, 8, (RECALL_S - 1, 20)).n == 20


def test_what_serves_is_left_to_the_window() -> None:
    assert recalled(8, 20, 20, (RECALL_S + 1, 20)).n == 20
    assert recalled(8, 20, 15, (RECALL_S + 1, 20)).n == 15


def test_a_little_too_much_is_not_worth_it() -> None:
    assert recalled(8, 10, 7, (RECALL_S + 1, 10)).n == 10


@given(
    n=st.integers(0, 50),
    current=st.integers(0, 60),
    ready=st.integers(0, 60),
    stable=st.integers(0, 60),
    highs=st.lists(st.tuples(st.floats(0.0, 300.0), st.integers(0, 60)), max_size=4),
)
def test_it_never_grows_never_touches_what_serves_and_leaves_a_margin(
    n: int, current: int, ready: int, stable: int, highs: list[tuple[float, int]]
) -> None:
    step = recalled(n, current, ready, *highs, stable=stable)
    assert step.n <= stable
    if step.n != stable:
        assert step.n >= max(ready, math.ceil(n * RECALL_MARGIN))
        assert step.n < current
