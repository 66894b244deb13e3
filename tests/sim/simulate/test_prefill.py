"""The fast engine model: what a prompt costs, what its cache finds, and who waits."""

from __future__ import annotations

from cardan_sim.simulate.engines.base import Began, Finished
from cardan_sim.simulate.engines.prefill import BlockLru, PrefillEngine, PrefillSpec
from cardan_sim.simulate.jobs import Job
from hypothesis import given
from hypothesis import strategies as st

SPEC = PrefillSpec(token_s=1e-3, overhead_s=0.1, cache_tokens=4 * 512)


def job(tokens: int, *blocks: int) -> Job:
    return Job(0.0, tokens, 1, blocks)


def found(engine: PrefillEngine, until: float) -> int:
    """Cached tokens of the next prompt that is computed."""
    finished = engine.advance(until)[1]
    assert isinstance(finished, Finished)
    return finished.cached_tokens


def test_a_prompt_takes_the_overhead_and_its_uncached_tokens() -> None:
    engine = PrefillEngine(SPEC)
    engine.submit(1, job(1000, 7, 8), 2.0)
    assert engine.next_event_at() == 2.0 + 0.1 + 1.0
    assert engine.advance(3.1) == [Began(1, 3.1), Finished(1, 3.1, 0, 1)]
    assert engine.check_at_rest() is None


def test_whole_blocks_are_found_again_and_the_last_token_never_is() -> None:
    engine = PrefillEngine(SPEC)
    engine.submit(1, job(1100, 7, 8, 9), 0.0)
    engine.advance(10.0)
    engine.submit(2, job(1024, 7, 8), 10.0)
    assert found(engine, 20.0) == 1023
    engine.submit(3, job(1100, 7, 8, 9), 20.0)
    assert found(engine, 30.0) == 1024, "block 9 was not whole"


def test_prompts_are_computed_one_after_the_other_in_order() -> None:
    engine = PrefillEngine(SPEC)
    for key in (1, 2, 3):
        engine.submit(key, job(900, key), 0.0)
    assert engine.pending_tokens == 2700
    assert [(n.key, n.at) for n in engine.advance(2.5) if isinstance(n, Began)] == [
        (1, 1.0),
        (2, 2.0),
    ]
    assert engine.metrics(2.5).waiting == 0


def test_who_leaves_the_queue_is_never_told_and_who_is_computed_is_computed_untold() -> None:
    engine = PrefillEngine(SPEC)
    for key in (1, 2, 3):
        engine.submit(key, job(900, key), 0.0)
    engine.abort(1, 0.5)
    engine.abort(2, 0.5)
    engine.abort(9, 0.5)
    assert [notice.key for notice in engine.advance(10.0)] == [3, 3]
    assert engine.check_at_rest() is None


def test_a_held_engine_begins_nothing_until_then() -> None:
    engine = PrefillEngine(SPEC)
    engine.hold(5.0, 0.0)
    engine.submit(1, job(900, 1), 0.0)
    assert engine.next_event_at() == 6.0


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 5)), max_size=30), st.integers(1, 12))
def test_of_the_cache_a_held_blocks_predecessors_are_held(
    prompts: list[tuple[int, int]], capacity: int
) -> None:
    cache = BlockLru(capacity)
    for branch, length in prompts:
        blocks = tuple(0 if i == 0 else 100 * (branch + 1) + i for i in range(length))
        cache.use(blocks)
        assert len(cache) <= capacity
        for other in range(4):
            chain = tuple(0 if i == 0 else 100 * (other + 1) + i for i in range(5))
            held = [block in cache for block in chain]
            assert held == sorted(held, reverse=True)
            assert cache.match(chain) == sum(held)
