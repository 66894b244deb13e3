"""The engine that tells only first tokens and ends is the engine that tells every token.

The law compares both under any load: the same first tokens and ends at the same times to the last
bit, the same hits, the same evictions and preemptions.
"""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from cardan_sim.engine import (
    Ended,
    Engine,
    Event,
    NamedPrompt,
    QuietEngine,
    Request,
    Token,
    make_spec,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.engine.test_laws import check_conservation

specs = st.fixed_dictionaries(
    {
        "make": st.sampled_from(["vllm", "sglang"]),
        "max_num_seqs": st.integers(1, 6),
        "max_num_batched_tokens": st.integers(1, 90),
        "block_size": st.sampled_from([1, 4, 16]),
        "kv_blocks": st.integers(8, 60),
        "max_queued": st.none() | st.integers(0, 6),
        "priority_scheduling": st.booleans(),
    }
)
# (after seconds, branch of the prompts' tree, prompt tokens, output tokens, priority), or an abort.
submits = st.tuples(
    st.floats(0, 0.06),
    st.integers(0, 3),
    st.integers(1, 80),
    st.integers(0, 60),
    st.integers(0, 2),
)
aborts = st.tuples(st.floats(0, 0.06), st.integers(0, 15))
loads = st.lists(submits | aborts, min_size=1, max_size=16)


def named(branch: int, tokens: int) -> NamedPrompt:
    """A prompt of a tree: two shared blocks of 16 tokens, then a branch's own."""
    blocks = [i if i < 2 else 100 * (branch + 1) + i for i in range(-(-tokens // 16))]
    return NamedPrompt(tuple(blocks), 16, tokens)


def play(engine: Engine, load: list[Any]) -> list[Event]:
    """Run a load to its end."""
    events: list[Event] = []
    now, count = 0.0, 0
    for item in load:
        now += item[0]
        while (due := engine.next_event_at()) is not None and due < now:
            events += engine.advance(due)
        if len(item) == 2:
            engine.abort(f"r{item[1]}", now)
            continue
        _, branch, prompt, output, priority = item
        engine.submit(Request(f"r{count}", named(branch, prompt), output, priority=priority), now)
        count += 1
    while (due := engine.next_event_at()) is not None:
        events += engine.advance(due)
        check_conservation(engine)
    return events


def told(events: list[Event]) -> list[Event]:
    """What a quiet engine tells of these, without the words."""
    return [
        event._replace(token_id=0) if isinstance(event, Token) else event
        for event in events
        if isinstance(event, Ended) or event.number == 1
    ]


@given(specs, loads)
@settings(max_examples=150, deadline=None)
def test_both_tell_the_same_first_tokens_and_ends(spec: dict[str, Any], load: list[Any]) -> None:
    every = Engine(make_spec(model="tiny", **spec))
    quiet = QuietEngine(make_spec(model="tiny", **spec))
    assert told(play(every, load)) == told(play(quiet, load))
    for name in ("generated", "steps", "preemptions", "prompt_cached", "prompt_computed"):
        assert getattr(every.stats, name) == getattr(quiet.stats, name), name
    assert every.cache.evicted == quiet.cache.evicted
    assert every.cache.idle == quiet.cache.idle
    assert quiet.idle


@given(specs, loads)
@settings(max_examples=60, deadline=None)
def test_both_count_the_same_gaps_between_tokens(spec: dict[str, Any], load: list[Any]) -> None:
    every = Engine(make_spec(model="tiny", **spec))
    quiet = QuietEngine(make_spec(model="tiny", **spec))
    play(every, load)
    play(quiet, load)
    ours, theirs = every.stats.merged("itl_s"), quiet.stats.merged("itl_s")
    assert ours.counts == theirs.counts
    assert ours.sum == pytest.approx(theirs.sum)


def test_a_lonely_stretch_of_decoding_is_few_events() -> None:
    engine = QuietEngine(make_spec("vllm", "llama-3.1-8b", gpu="h100"))
    engine.submit(Request("a", NamedPrompt((1, 2), 512, 1000), 1001), 0.0)
    looks = 0
    while (due := engine.next_event_at()) is not None:
        engine.advance(due)
        looks += 1
    assert engine.stats.generated == 1001
    assert looks < 12


def test_names_of_a_prompt_are_its_blocks_cut_small() -> None:
    one, other = NamedPrompt((5, 6), 32, 60), NamedPrompt((5, 7), 32, 40)
    assert len(one.names(16)) == 3
    assert one.names(16)[:2] == other.names(16)
    assert one.names(16)[2] not in other.names(16)
    assert len(one.names(32)) == 1


def test_blocks_that_do_not_fit_are_an_error() -> None:
    with pytest.raises(ValueError, match="blocks of 32 tokens hold none of 24"):
        NamedPrompt((5, 6), 32, 60).names(24)


def test_a_quiet_engine_takes_no_token_ids() -> None:
    engine = QuietEngine(make_spec(model="tiny"))
    with pytest.raises(TypeError, match="named prompts"):
        engine.submit(Request("a", array("I", [1, 2]), 1), 0.0)


def test_a_held_engine_ends_its_step_and_begins_none_until_then() -> None:
    engine = QuietEngine(make_spec(model="tiny"))
    engine.submit(Request("a", named(0, 40), 50), 0.0)
    engine.advance(0.02)
    engine.hold(5.0, 0.02)
    engine.advance(4.9)
    before = engine.stats.generated
    engine.submit(Request("b", named(1, 40), 5), 4.9)
    assert engine.advance(4.99) == []
    assert engine.stats.generated == before < 50
    assert {event.id for event in play(engine, []) if isinstance(event, Ended)} == {"a", "b"}
