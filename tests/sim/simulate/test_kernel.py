"""The clock does things in the order of their times, and as they were planned where those tie."""

from __future__ import annotations

import pytest
from cardan_sim.simulate.kernel import Kernel
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.integers(0, 5), max_size=30))
def test_things_happen_in_the_order_of_time_then_of_planning(times: list[int]) -> None:
    kernel = Kernel()
    seen: list[tuple[float, int]] = []
    for serial, time_s in enumerate(times):
        kernel.at(time_s, lambda serial: seen.append((kernel.now, serial)), serial)
    kernel.run()
    assert seen == sorted((float(time_s), serial) for serial, time_s in enumerate(times))
    assert not len(kernel)


def test_what_happens_may_plan_more() -> None:
    kernel = Kernel()
    seen: list[float] = []

    def again(left: int) -> None:
        seen.append(kernel.now)
        if left:
            kernel.after(0.5, again, left - 1)

    kernel.at(1.0, again, 2)
    kernel.run()
    assert seen == [1.0, 1.5, 2.0]


def test_nothing_is_planned_for_the_past() -> None:
    kernel = Kernel()
    kernel.at(2.0, kernel.at, 1.0, print)
    with pytest.raises(ValueError, match="already"):
        kernel.run()
