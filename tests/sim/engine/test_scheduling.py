"""The engine schedules as a real one: chunks, batches, queues, evicts, preempts, aborts, drains."""

from __future__ import annotations

from array import array

import pytest
from cardan_sim.engine import (
    BadSpecError,
    Engine,
    UnknownModelError,
    encode,
    encode_chat,
    find_model,
    make_spec,
)

from tests.sim.engine.driving import ends, ids, request, run_all, run_out, tiny, tokens_of


def test_one_request_costs_what_the_table_says() -> None:
    """Llama-3.1-8B on H100 prefills 8k tokens at the table's 27.7k tokens a second."""
    engine = Engine(make_spec("vllm", "llama-3.1-8b", gpu="h100"))
    events = run_all(engine, [(0.0, request("a", 8192, output=2))])
    first, second = tokens_of(events, "a")
    assert 8192 / first.at == pytest.approx(27_700, rel=0.05)
    assert second.at - first.at == pytest.approx(6.83e-3 + 4.4e-6 + 0.076e-6 * 8193)


def test_a_prompt_costs_the_same_arithmetic_in_chunks_as_whole() -> None:
    cost = find_model("llama-3.1-8b", "h100")[1].cost
    chunks = sum(cost.prefill_s(1000, end) for end in range(1000, 9000, 1000))
    assert chunks == pytest.approx(cost.prefill_s(8000, 8000))


def test_a_long_prompt_is_computed_in_chunks_and_lets_others_decode_in_vllm() -> None:
    engine = Engine(tiny(max_num_batched_tokens=100))
    events = run_all(engine, [(0.0, request("short", 10, 20)), (0.001, request("long", 950, 1))])
    first_of_long = tokens_of(events, "long")[0].at
    assert sum(token.at < first_of_long for token in tokens_of(events, "short")) >= 9


def test_a_prefill_stops_decoding_in_sglang() -> None:
    engine = Engine(tiny(make="sglang", max_num_batched_tokens=100))
    events = run_all(engine, [(0.0, request("short", 10, 20)), (0.001, request("long", 950, 1))])
    first_of_long = tokens_of(events, "long")[0].at
    assert sum(token.at < first_of_long for token in tokens_of(events, "short")) == 1


def test_a_repeated_prompt_recomputes_at_least_its_last_token() -> None:
    """As recorded: 64 tokens in blocks of 32 find 32, in blocks of 16 find 48; 100 find 96."""
    for block, length, found in ((32, 64, 32), (16, 64, 48), (32, 100, 96), (16, 100, 96)):
        engine = Engine(tiny(block_size=block))
        prompt = ids(length)
        events = run_all(engine, [(0, request("a", prompt)), (1, request("b", prompt))])
        assert (ends(events)["a"].cached, ends(events)["b"].cached) == (0, found)


def test_only_the_shared_prefix_is_found() -> None:
    engine = Engine(tiny(block_size=16))
    fork = ids(40) + ids(60, salt=9)
    events = run_all(engine, [(0, request("a", ids(100))), (1, request("b", fork))])
    assert ends(events)["b"].cached == 32


def test_tenants_do_not_share() -> None:
    engine = Engine(tiny())
    first, second = request("a", ids(100)), request("b", ids(100), cache_seed=77)
    assert ends(run_all(engine, [(0, first), (1, second)]))["b"].cached == 0


def test_the_next_turn_of_a_conversation_finds_what_was_generated() -> None:
    spec = tiny(block_size=4)
    engine = Engine(spec)
    opening = [("user", "what is a gimbal, and why two rings?")]
    prompt = encode_chat(opening, spec.vocab_size)
    answer = [t.token_id for t in tokens_of(run_all(engine, [(0, request("a", prompt, 40))]), "a")]
    said = engine.vocabulary.decode(answer)
    turn2 = encode_chat([*opening, ("assistant", said), ("user", "thanks")], spec.vocab_size)
    cached = ends(run_all(engine, [(1, request("b", turn2))]))["b"].cached
    assert cached >= len(prompt) + 36


def test_token_ids_of_a_prefix_are_a_prefix_of_the_ids() -> None:
    text = "Ünïcödé and the quick brown fox" * 5
    for cut in range(0, len(text), 7):
        part = encode(text[:cut], 2048)
        assert part[:-1] == encode(text, 2048)[: max(0, len(part) - 1)]


def test_the_least_recently_used_block_goes_first() -> None:
    engine = Engine(tiny(block_size=16, kv_blocks=20))
    old, kept, new = ids(96, salt=1), ids(96, salt=2), ids(160, salt=3)
    load = [(0, request("old", old, 1)), (1, request("kept", kept, 1))]
    load += [(2, request("again", kept, 1)), (3, request("new", new, 1))]
    load += [(4, request("kept?", kept, 1)), (5, request("old?", old, 1))]
    found = {name: end.cached for name, end in ends(run_all(engine, load)).items()}
    assert found["kept?"] == 80
    assert found["old?"] < 80


def test_preempted_requests_say_each_token_once() -> None:
    engine = Engine(tiny(block_size=4, kv_blocks=16))
    events = run_all(engine, [(0.0, request(name, 12, 40)) for name in "abcd"])
    assert engine.stats.preemptions > 0
    for name in "abcd":
        assert [token.number for token in tokens_of(events, name)] == list(range(1, 41))
        assert ends(events)[name].reason == "length"


def test_output_is_cut_to_the_context_that_is_left() -> None:
    engine = Engine(tiny())
    events = run_all(engine, [(0, request("a", 32_760, 100))])
    assert ends(events)["a"].generated == 8


def test_a_prompt_as_long_as_the_context_is_refused() -> None:
    events = run_all(Engine(tiny()), [(0, request("a", 32_768, 1))])
    assert ends(events)["a"].refusal == "too long"


def test_the_queue_is_refused_beyond_its_limit() -> None:
    engine = Engine(tiny(max_num_seqs=2, max_queued=4))
    events = run_all(engine, [(0.0, request(f"r{i}", 10, 5)) for i in range(8)])
    refused = [name for name, end in ends(events).items() if end.reason == "refused"]
    assert refused == ["r6", "r7"]


def test_a_full_sglang_queue_throws_out_the_lowest_priority() -> None:
    engine = Engine(
        tiny(make="sglang", max_num_seqs=1, max_queued=1, priority_scheduling=True),
    )
    load = [(0.0, request("running", 10, 50)), (0.01, request("low", 10, priority=1))]
    load += [(0.011, request("lower", 10, priority=0)), (0.012, request("high", 10, priority=5))]
    reasons = {name: end.reason for name, end in ends(run_all(engine, load)).items()}
    assert reasons == {
        "running": "length",
        "low": "refused",
        "lower": "refused",
        "high": "length",
    }


def test_lower_is_sooner_in_vllm() -> None:
    """Freed slots went to -100, -5, 0, 10 in that order, regardless of arrival."""
    engine = Engine(tiny(max_num_seqs=1, priority_scheduling=True))
    load = [(0.0, request("busy", 10, 50))]
    load += [(0.01, request(f"p{p}", 10, 1, priority=p)) for p in (10, 0, -100, -5)]
    order = [name for name in ends(run_all(engine, load)) if name != "busy"]
    assert order == ["p-100", "p-5", "p0", "p10"]


def test_abort_of_a_waiting_request_is_at_once() -> None:
    engine = Engine(tiny(max_num_seqs=1))
    engine.submit(request("a", 10, 50), 0.0)
    engine.submit(request("b", 10, 50), 0.0)
    engine.advance(0.05)
    assert engine.abort("b", 0.05)
    assert ends(engine.advance(0.05))["b"].reason == "abort"
    assert engine.waiting == 0


def test_abort_in_a_prefill_takes_effect_at_the_chunk_end() -> None:
    engine = Engine(tiny(max_num_batched_tokens=8192))
    engine.submit(request("a", 30_000, 1), 0.0)
    engine.advance(0.0)
    chunk_end = engine.next_event_at()
    assert chunk_end is not None
    engine.abort("a", chunk_end / 2)
    assert engine.running == 1
    assert ends(engine.advance(chunk_end))["a"].at == chunk_end
    assert engine.idle
    assert engine.cache.used == 0


def test_abort_of_an_unknown_request_says_so() -> None:
    assert Engine(tiny()).abort("nobody", 0.0) is False


def test_a_draining_engine_refuses_and_finishes() -> None:
    engine = Engine(tiny())
    engine.submit(request("a", 10, 5), 0.0)
    engine.drain()
    engine.submit(request("b", 10, 5), 0.0)
    reasons = {name: (end.reason, end.refusal) for name, end in ends(run_out(engine)).items()}
    assert reasons == {"a": ("length", None), "b": ("refused", "draining")}


def test_a_late_caller_gets_the_same_events() -> None:
    load = [(0.0, request("a", 100, 30)), (0.0, request("b", 700, 20))]
    punctual = run_all(Engine(tiny()), load)
    engine = Engine(tiny())
    for at, one in load:
        engine.submit(one, at)
    assert engine.advance(1e9) == punctual


def test_time_scale_stretches_every_duration() -> None:
    load = [(0.0, request("a", 1000, 10))]
    slow = ends(run_all(Engine(tiny(time_scale=2.0)), load))["a"].at
    fast = ends(run_all(Engine(tiny(time_scale=0.5)), load))["a"].at
    assert slow == pytest.approx(4 * fast)


def test_a_slow_prefill_leaves_decoding_alone() -> None:
    engine = Engine(make_spec("vllm", "llama-3.1-8b"))
    engine.prefill_factor = 10.0
    events = run_all(engine, [(0.0, request("a", 8192, 3))])
    first, second, _ = tokens_of(events, "a")
    assert first.at > 2.0
    assert second.at - first.at < 0.01


def test_a_prompt_without_output_ends_when_it_is_computed() -> None:
    events = run_all(Engine(tiny()), [(0.0, request("a", 100, 0))])
    assert events == [ends(events)["a"]]
    assert ends(events)["a"].reason == "length"


def test_sglang_exports_gauges_every_forty_decode_steps() -> None:
    engine = Engine(tiny(make="sglang", max_num_seqs=1))
    engine.submit(request("a", 10, 100), 0.0)
    engine.submit(request("b", 10, 100), 0.0)
    engine.advance(0.012)
    shown_at = engine.gauges.at
    engine.advance(0.05)
    assert engine.gauges.at == shown_at
    assert engine.load(0.05).decoding == 1
    engine.advance(0.11)
    assert engine.gauges.at > shown_at
    run_out(engine)
    assert (engine.gauges.running, engine.gauges.waiting) == (0, 0)


@pytest.mark.parametrize(
    "sizes",
    [{"time_scale": 0.0}, {"max_num_seqs": 0}, {"kv_blocks": 0}, {"max_queued": -1}],
)
def test_an_impossible_engine_is_refused(sizes: dict[str, float]) -> None:
    with pytest.raises(BadSpecError):
        tiny(**sizes)


def test_unknown_hardware_is_named() -> None:
    with pytest.raises(UnknownModelError, match=r"llama-3\.1-8b"):
        make_spec(model="gpt-17")
    with pytest.raises(UnknownModelError, match="h100, a100"):
        make_spec(model="llama-3.1-8b", gpu="abacus")


def test_an_id_that_is_alive_and_an_empty_prompt_are_mistakes() -> None:
    engine = Engine(tiny())
    engine.submit(request("a", 10), 0.0)
    with pytest.raises(ValueError, match="alive"):
        engine.submit(request("a", 10), 0.0)
    with pytest.raises(ValueError, match="at least one token"):
        engine.submit(request("b", array("I")), 0.0)
