"""What engines say is used while it is young, and a counter that falls means an empty cache."""

from __future__ import annotations

import pytest
from cardan.instants import Monotonic
from cardan.metrics import STALE_AFTER_S, EngineMetrics

from tests.core.policies.build import NOW, fleet_of, pool_of


def test_a_scrape_is_stale_after_three_seconds() -> None:
    metrics = EngineMetrics(at=NOW)
    assert not metrics.is_stale(Monotonic(NOW + STALE_AFTER_S))
    assert metrics.is_stale(Monotonic(NOW + STALE_AFTER_S + 0.01))


@pytest.mark.parametrize(
    ("before", "after", "restarted"),
    [
        (EngineMetrics(at=1, prompt_tokens=5), EngineMetrics(at=2, prompt_tokens=5), False),
        (EngineMetrics(at=1, prompt_tokens=5), EngineMetrics(at=2, prompt_tokens=4), True),
        (EngineMetrics(at=1, generation_tokens=5), EngineMetrics(at=2, generation_tokens=0), True),
        (EngineMetrics(at=1, prompt_tokens=5), EngineMetrics(at=2), False),
        (EngineMetrics(at=1), EngineMetrics(at=2, prompt_tokens=4), False),
        (EngineMetrics(at=1, running=5), EngineMetrics(at=2, running=0), False),
    ],
)
def test_a_counter_that_fell_tells_of_a_restart(
    before: EngineMetrics, after: EngineMetrics, restarted: bool
) -> None:
    assert after.is_after_restart(before) is restarted


def test_the_shadow_forgets_what_a_restarted_engine_has_lost() -> None:
    state = pool_of(fleet_of(1)).routable[0]
    state.shadow.insert((1, 2, 3))
    state.observe(EngineMetrics(at=NOW, prompt_tokens=5000))
    state.observe(EngineMetrics(at=NOW + 1, prompt_tokens=6000))
    assert state.shadow.match((1, 2, 3)) == 3
    state.observe(EngineMetrics(at=NOW + 2, prompt_tokens=0))
    assert state.shadow.match((1, 2, 3)) == 0


def test_the_shadow_is_as_large_as_the_engine_says_in_its_own_tokens() -> None:
    state = pool_of(fleet_of(1)).routable[0]
    state.observe(EngineMetrics(at=NOW, kv_capacity_tokens=512 * 100))
    assert state.shadow.capacity_blocks == 100
    state.speed.siblings.token_ratio = 2.0  # a text of two real tokens per estimated one
    state.observe(EngineMetrics(at=NOW, kv_capacity_tokens=512 * 100))
    assert state.shadow.capacity_blocks == 50


def test_a_scrape_without_a_capacity_leaves_the_shadow_alone() -> None:
    state = pool_of(fleet_of(1)).routable[0]
    before = state.shadow.capacity_blocks
    state.observe(EngineMetrics(at=NOW))
    assert state.shadow.capacity_blocks == before
