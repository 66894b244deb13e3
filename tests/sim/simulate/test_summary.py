"""Sums of a run: what is binned is told within a bin, and a run can be cut."""

from __future__ import annotations

import pytest
from cardan.policies import DualMap, RoundRobin
from cardan_sim.simulate.recorder import GAP_BIN, Recorder
from cardan_sim.simulate.summary import gap_spread, spread, summarise
from cardan_sim.simulate.world import World
from hypothesis import given
from hypothesis import strategies as st

from tests.sim.simulate.worlds import conversations, setup


@given(st.lists(st.floats(2e-4, 60), min_size=1, max_size=60))
def test_quantiles_of_what_was_counted_are_good_to_half_a_bin(values: list[float]) -> None:
    gaps = Recorder().gaps
    for value in values:
        gaps.observe(value)
    counted, exact = gap_spread(gaps), spread(values)
    assert counted is not None
    assert exact is not None
    assert counted.mean_s == pytest.approx(exact.mean_s, abs=1e-5)
    for ours, theirs in zip(counted.quantiles_s, exact.quantiles_s, strict=True):
        # Both are rounded to a microsecond.
        assert ours == pytest.approx(theirs, rel=GAP_BIN**0.5 - 1 + 1e-9, abs=2e-6)


def test_nothing_counted_has_no_distribution() -> None:
    assert gap_spread(Recorder().gaps) is None


def test_the_parts_of_a_run_are_all_that_is_counted() -> None:
    world = World(setup(), DualMap(), 1, warm_up=50)
    recorder = world.play(conversations(400, 10.0))
    whole = summarise(world, (10.0, 20.0))
    assert [(part.from_s, part.until_s) for part in whole.phases] == [
        *((0.0, 10.0), (10.0, 20.0), (20.0, None))
    ]
    assert sum(part.requests for part in whole.phases) == whole.measured == 350
    attained = sum(part.requests * part.attained_ratio for part in whole.phases)
    assert attained / 350 == pytest.approx(whole.attained_ratio, abs=1e-5)
    first = sum(10.0 <= at < 20.0 for at in recorder.arrived_s)
    assert whole.phases[1].requests == first


def test_keys_are_kept_while_nothing_changes_and_where_there_are_none_nothing_is_said() -> None:
    for policy, kept in ((DualMap(), 1.0), (RoundRobin(), None)):
        world = World(setup(), policy, 1, warm_up=0)
        world.play(conversations(200, 10.0))
        (part, _) = summarise(world, (1e6,)).phases
        assert part.kept_ratio == kept


def test_a_run_that_is_not_cut_has_no_parts() -> None:
    world = World(setup(), DualMap(), 1)
    world.play(conversations(100, 10.0))
    assert summarise(world).phases == []
