"""What holds for every load: conservation of blocks and requests, honest hits, determinism."""

from __future__ import annotations

from array import array
from typing import Any

from cardan_sim.engine import Ended, Engine, Event, Request, make_spec
from cardan_sim.engine.blocks import BlockCache, name_blocks
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.sim.engine.driving import ends, ids, tokens_of

specs = st.fixed_dictionaries(
    {
        "make": st.sampled_from(["vllm", "sglang"]),
        "max_num_seqs": st.integers(1, 5),
        "max_num_batched_tokens": st.integers(1, 80),
        "block_size": st.sampled_from([1, 4, 16]),
        "kv_blocks": st.integers(8, 40),
        "max_queued": st.none() | st.integers(0, 4),
        "priority_scheduling": st.booleans(),
    }
)
# (submit after seconds, prompt salt, prompt tokens, output tokens, priority) or an abort.
submits = st.tuples(
    st.floats(0, 0.05), st.integers(0, 3), st.integers(1, 60), st.integers(0, 12), st.integers(0, 9)
)
aborts = st.tuples(st.floats(0, 0.05), st.integers(0, 15))
loads = st.lists(submits | aborts, min_size=1, max_size=16)


def check_conservation(engine: Engine) -> None:
    """Blocks are free, used or cached; slots are never oversold."""
    cache = engine.cache
    assert cache.free >= 0
    assert cache.free + cache.used + cache.idle == cache.total
    assert engine.running <= engine.spec.max_num_seqs


def play(spec: dict[str, Any], load: list[Any], seed: int = 0) -> tuple[Engine, list[Event]]:
    """Run a load to its end, checking conservation at every event."""
    engine = Engine(make_spec(model="tiny", **spec), seed)
    events: list[Event] = []
    now, count = 0.0, 0
    for item in load:
        now += item[0]
        while (due := engine.next_event_at()) is not None and due < now:
            events += engine.advance(due)
            check_conservation(engine)
        if len(item) == 2:
            engine.abort(f"r{item[1]}", now)
            continue
        _, salt, prompt, output, priority = item
        engine.submit(Request(f"r{count}", ids(prompt, salt=salt), output, priority=priority), now)
        count += 1
        check_conservation(engine)
    while (due := engine.next_event_at()) is not None:
        events += engine.advance(due)
        check_conservation(engine)
    return engine, events


@given(specs, loads)
@settings(max_examples=120, deadline=None)
def test_every_request_ends_once_and_everything_is_given_back(
    spec: dict[str, Any], load: list[Any]
) -> None:
    engine, events = play(spec, load)
    ended = [event.id for event in events if isinstance(event, Ended)]
    submitted = sum(len(item) == 5 for item in load)
    assert sorted(ended) == sorted(f"r{i}" for i in range(submitted))
    assert (engine.running, engine.waiting, engine.cache.used) == (0, 0, 0)
    assert engine.idle


@given(specs, loads)
@settings(max_examples=80, deadline=None)
def test_ends_are_last_and_counts_agree(spec: dict[str, Any], load: list[Any]) -> None:
    _, events = play(spec, load)
    assert [event.at for event in events] == sorted(event.at for event in events)
    gone: set[str] = set()
    for event in events:
        assert event.id not in gone
        if isinstance(event, Ended):
            gone.add(event.id)
    for name, end in ends(events).items():
        said = tokens_of(events, name)
        assert [token.number for token in said] == list(range(1, end.generated + 1))
        assert end.cached <= max(0, end.prompt - 1)


@given(specs, loads, st.integers(0, 5))
@settings(max_examples=40, deadline=None)
def test_the_same_seed_gives_the_same_events(
    spec: dict[str, Any], load: list[Any], seed: int
) -> None:
    assert play(spec, load, seed)[1] == play(spec, load, seed)[1]


@given(specs, st.lists(st.tuples(st.integers(0, 2), st.integers(1, 60)), max_size=10))
@settings(max_examples=80, deadline=None)
def test_a_hit_is_a_prefix_that_was_computed_before(
    spec: dict[str, Any], prompts: list[tuple[int, int]]
) -> None:
    """One request at a time: what is found never exceeds the longest shared computed prefix."""
    spec |= {"max_queued": None}
    engine = Engine(make_spec(model="tiny", **spec))
    computed: list[array[int]] = []
    for number, (salt, length) in enumerate(prompts):
        prompt = ids(length, salt=salt)
        engine.submit(Request(f"r{number}", prompt, 1), float(number))
        end = ends(engine.advance(number + 0.999))[f"r{number}"]
        if end.reason == "refused":
            continue
        longest = max((shared_prefix(prompt, other) for other in computed), default=0)
        assert end.cached <= longest
        assert end.cached % engine.spec.block_size == 0
        computed.append(prompt)


def shared_prefix(one: array[int], other: array[int]) -> int:
    """Leading tokens in common."""
    for index, (a, b) in enumerate(zip(one, other, strict=False)):
        if a != b:
            return index
    return min(len(one), len(other))


@given(st.lists(st.integers(0, 2047), max_size=70), st.lists(st.integers(0, 2047), max_size=70))
@settings(max_examples=100, deadline=None)
def test_names_agree_exactly_as_far_as_the_blocks_do(one: list[int], other: list[int]) -> None:
    a, b = array("I", one), array("I", other)
    agreeing = shared_prefix(a, b) // 4
    names_a, names_b = name_blocks(a, 4), name_blocks(b, 4)
    assert len(names_a) == len(a) // 4
    for depth, (left, right) in enumerate(zip(names_a, names_b, strict=False)):
        assert (left == right) == (depth < agreeing)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_the_cache_is_never_over_full_and_never_loses_a_block(data: st.DataObject) -> None:
    """Random holds, takes, names and releases against the sums that must hold."""
    cache = BlockCache(data.draw(st.integers(1, 12)))
    holders: list[tuple[list[int], int]] = []
    for _ in range(data.draw(st.integers(0, 30))):
        if data.draw(st.booleans()) and holders:
            names, private = holders.pop(data.draw(st.integers(0, len(holders) - 1)))
            cache.release(names, private)
        else:
            want = [
                data.draw(st.integers(1, 3)) * 100 + i for i in range(data.draw(st.integers(0, 4)))
            ]
            found = want[: cache.match(want)]
            need = len(want) - len(found)
            if need > cache.available - cache.idle_among(found):
                continue
            cache.hold(found)
            assert cache.take(need)
            named = cache.name(want[len(found) :])
            holders.append((found + named, need - len(named)))
        held = {name for names, _ in holders for name in names}
        assert cache.used == len(held) + sum(private for _, private in holders)
        assert cache.free + cache.used + cache.idle == cache.total
        assert all(name in cache for name in held)
