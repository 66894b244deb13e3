"""Windows, rates and bounds do what HorizontalPodAutoscaler v2 documents.

The numbers are those of its documentation, of KEP-853 and of its controller's own cases.
"""

from __future__ import annotations

import pytest
from cardan.instants import WallTime
from cardan.scaling import limits
from cardan.scaling.decision import ReasonCode
from cardan.scaling.limits import MAX_EVENTS, MAX_SUPERSEDED
from cardan.scaling.memory import PoolMemory, ScaleEvent
from cardan.scaling.spec import DEFAULT_UP, Behavior, Direction, RateLimit, Select

START = 1_000_000.0
AT_ONCE = Direction(tolerance=0.0)


class Pool:
    """A pool that does what it is told, asked every `tick_s`."""

    def __init__(self, current: int, behavior: Behavior, tick_s: float = 15.0) -> None:
        self.current = current
        self.behavior = behavior
        self.tick_s = tick_s
        self.now = START
        self.memory = PoolMemory()
        self.codes: tuple[ReasonCode, ...] = ()

    def ask(self, wanted: int) -> int:
        """One tick with `wanted` recommended."""
        now = WallTime(self.now)
        memory = limits.observed(self.memory, self.current, self.behavior, now)
        memory = limits.recommended(memory, wanted, self.behavior, now)
        stable = limits.stabilized(wanted, self.current, memory)
        paced = limits.rate_limited(stable.n, self.current, memory, self.behavior, now)
        self.memory = limits.asked(memory, paced.n, now)
        self.codes = tuple(step.reason.code for step in (stable, paced) if step.reason)
        self.current = paced.n
        self.now += self.tick_s
        return paced.n

    def history(self, wanted: int, ticks: int) -> list[int]:
        """Several ticks with the same recommendation."""
        return [self.ask(wanted) for _ in range(ticks)]


def per_minute(*, replicas: int | None = None, percent: int | None = None) -> RateLimit:
    return RateLimit(replicas=replicas, percent=percent, period_s=60)


def direction(
    *limits: RateLimit, select: Select = Select.MAX, stabilization_s: float = 0.0
) -> Direction:
    return Direction(tolerance=0.0, limits=limits, select=select, stabilization_s=stabilization_s)


def up(*limits: RateLimit, select: Select = Select.MAX, stabilization_s: float = 0.0) -> Behavior:
    return Behavior(
        up=direction(*limits, select=select, stabilization_s=stabilization_s), down=AT_ONCE
    )


def down(*limits: RateLimit, select: Select = Select.MAX, stabilization_s: float = 0.0) -> Behavior:
    return Behavior(
        up=AT_ONCE, down=direction(*limits, select=select, stabilization_s=stabilization_s)
    )


def test_by_default_a_pool_doubles_or_grows_by_four_in_15_seconds() -> None:
    assert Pool(1, Behavior(up=DEFAULT_UP)).history(100, 6) == [5, 10, 20, 40, 80, 100]


def test_nine_hundred_percent_a_minute_is_a_decade_a_minute() -> None:
    pool = Pool(1, up(per_minute(percent=900)))
    assert pool.history(10_000, 16)[::4] == [10, 100, 1000, 10_000]


def test_four_replicas_a_minute_are_four_however_often_one_asks() -> None:
    pool = Pool(1, up(per_minute(replicas=4)))
    assert pool.history(100, 9) == [5, 5, 5, 5, 9, 9, 9, 9, 13]
    assert pool.codes == (ReasonCode.UP_LIMITED,)


def test_ten_percent_or_four_replicas_a_minute_down_from_eighty() -> None:
    # "if there are 80 replicas ... during the first step 8 replicas will be reduced ... 72, 10 % is
    # 7.2 but the number is rounded up to 8 ... below 40 the first policy ... 4 at a time"
    behavior = down(per_minute(percent=10), per_minute(replicas=4))
    history = Pool(80, behavior).history(10, 56)
    assert history[::4] == [72, 64, 57, 51, 45, 40, 36, 32, 28, 24, 20, 16, 12, 10]


def test_min_selects_the_smallest_change_and_disabled_none() -> None:
    rates = [per_minute(percent=10), per_minute(replicas=5)]
    assert Pool(100, down(*rates, select=Select.MIN)).ask(10) == 95
    assert Pool(100, down(*rates, select=Select.MAX)).ask(10) == 90
    assert Pool(100, up(*rates, select=Select.MIN)).ask(500) == 105
    assert Pool(100, up(*rates, select=Select.MAX)).ask(500) == 110
    disabled = Pool(100, down(*rates, select=Select.DISABLED))
    assert disabled.ask(10) == 100
    assert disabled.codes == (ReasonCode.DOWN_LIMITED,)


def test_without_rates_any_distance_is_gone_at_once() -> None:
    assert Pool(3, up()).ask(500) == 500
    assert Pool(500, down()).ask(0) == 0


def test_the_period_began_with_what_was_there_before_both_growth_and_shrinkage() -> None:
    # Controller: periodStart = current - added + deleted. 10 - 5 + 1 = 6, and 6 + 4 = 10.
    events = (ScaleEvent(WallTime(START - 30), 5), ScaleEvent(WallTime(START - 20), -1))
    memory = PoolMemory(current=10, events=events)
    behavior = up(per_minute(replicas=4))
    step = limits.rate_limited(50, 10, memory, behavior, WallTime(START))
    assert step.n == 10
    step = limits.rate_limited(50, 10, memory, behavior, WallTime(START + 31))
    assert step.n == 10 + 1 + 4


def test_what_was_taken_too_fast_by_others_is_no_reason_to_turn_round() -> None:
    # Somebody has added 20 in this period, of which 4 were allowed: nothing is taken back.
    memory = PoolMemory(current=30, events=(ScaleEvent(WallTime(START), 20),))
    behavior = up(per_minute(replicas=4))
    assert limits.rate_limited(50, 30, memory, behavior, WallTime(START)).n == 30


def test_shrinking_takes_the_most_that_was_wanted_in_the_window() -> None:
    pool = Pool(10, down(stabilization_s=300))
    wanted = [10, 9, 8, 9, 8, 9]
    assert [pool.ask(n) for n in wanted] == [10] * 6
    assert pool.codes == (ReasonCode.DOWN_STABILIZED,)
    # ten was wanted until 15 s, and leaves the window at 315 s; nine 75 s later
    assert pool.history(7, 15) == [10] * 15
    assert pool.history(7, 5) == [9] * 5
    assert pool.ask(7) == 7


def test_growing_takes_the_least_that_was_wanted_in_the_window() -> None:
    pool = Pool(1, up(stabilization_s=60))
    assert [pool.ask(n) for n in [1, 3, 19, 10, 3]] == [1, 1, 1, 1, 1]
    assert pool.codes == (ReasonCode.UP_STABILIZED,)
    assert pool.ask(10) == 3  # one is a minute ago, three is not
    assert pool.ask(10) == 3
    assert pool.ask(10) == 3
    assert pool.ask(10) == 3
    assert pool.ask(10) == 10


def test_both_windows_keep_a_pool_between_them() -> None:
    slow = Direction(stabilization_s=300, tolerance=0.0)
    pool = Pool(5, Behavior(up=slow, down=slow))
    assert [pool.ask(n) for n in [5, 9, 1, 9, 1, 9, 1]] == [5] * 7


def test_a_need_within_a_tenth_of_what_there_is_changes_nothing() -> None:
    behavior = Behavior()
    assert limits.tolerated(11.0, 10, behavior)
    assert limits.tolerated(9.0, 10, behavior)
    assert not limits.tolerated(11.01, 10, behavior)
    assert not limits.tolerated(8.99, 10, behavior)


def test_each_direction_has_its_own_tolerance() -> None:
    behavior = Behavior(up=Direction(tolerance=0.0), down=Direction(tolerance=0.5))
    assert limits.tolerated(5.0, 10, behavior)
    assert not limits.tolerated(10.1, 10, behavior)


def test_from_nothing_no_tolerance_holds() -> None:
    assert not limits.tolerated(0.01, 0, Behavior())


@pytest.mark.parametrize(("need", "n"), [(0.0, 0), (0.01, 1), (3.0000000001, 3), (3.01, 4)])
def test_needs_are_rounded_up(need: float, n: int) -> None:
    assert limits.whole(need) == n


def test_bounds_say_which_of_them_it_was() -> None:
    below, above = limits.bounded(1, 2, 5), limits.bounded(9, 2, 5)
    assert (below.n, above.n) == (2, 5)
    assert below.reason is not None
    assert below.reason.code is ReasonCode.TOO_FEW
    assert above.reason is not None
    assert above.reason.code is ReasonCode.TOO_MANY
    assert limits.bounded(3, 2, 5) == limits.Step(3)


def test_of_contradicting_bounds_the_upper_one_holds() -> None:
    assert limits.bounded(7, 6, 5).n == 5
    assert limits.bounded(3, 6, 5).n == 3


def test_a_change_made_by_others_counts_as_one() -> None:
    pool = Pool(4, up(per_minute(replicas=4)))
    pool.ask(4)
    pool.current = 7  # by hand
    assert pool.ask(100) == 8  # of the four of this minute three are used


def test_what_was_asked_and_not_done_is_no_change() -> None:
    pool = Pool(1, up(per_minute(replicas=4)))
    assert pool.ask(100) == 5
    pool.current = 1  # refused
    assert pool.ask(100) == 5
    assert pool.memory.events == ()


def test_memory_is_the_same_while_nothing_changes() -> None:
    slow = Direction(stabilization_s=300)
    pool = Pool(5, Behavior(up=slow, down=slow))
    pool.ask(5)
    settled = pool.memory
    pool.history(5, 500)
    assert pool.memory == settled


def test_memory_is_bounded_whatever_is_recommended() -> None:
    slow = Direction(stabilization_s=3600, limits=(RateLimit(replicas=1, period_s=3600),))
    pool = Pool(500, Behavior(up=slow, down=slow), tick_s=1)
    for n in [*range(400, 0, -1), *range(500)]:
        pool.current = 200 + n % 7
        pool.ask(n)
        assert len(pool.memory.highs) <= MAX_SUPERSEDED
        assert len(pool.memory.lows) <= MAX_SUPERSEDED
        assert len(pool.memory.events) <= MAX_EVENTS


def test_merged_events_still_add_up() -> None:
    behavior = down(RateLimit(replicas=50, period_s=600))
    pool = Pool(100, behavior, tick_s=1)
    for n in range(99, 59, -1):
        pool.ask(n)
    pool.ask(60)
    assert sum(event.change for event in pool.memory.events) == -40
    assert pool.ask(0) == 50


def test_select_is_spelled_as_kubernetes_spells_it() -> None:
    assert [str(one) for one in Select] == ["Max", "Min", "Disabled"]
