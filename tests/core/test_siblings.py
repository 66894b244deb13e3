"""Endpoints of one engine and model teach each other where to start, and nothing beyond that."""

from __future__ import annotations

import pytest
from cardan.endpoint import Endpoint, EngineKind
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.ledger import Usage
from cardan.memory import MAX_REMEMBERED_MODELS
from cardan.siblings import START_RATE_TOKENS_PER_S, Siblings
from cardan.speed import work_tokens

from tests.core.policies.build import MODEL, NOW, fleet_of, pool_of
from tests.core.test_speed import lease_of, lengths, queue, serve

FAST = 40_000.0


def endpoint(name: str, *models: str, engine: EngineKind = EngineKind.VLLM) -> Endpoint:
    return Endpoint(url=f"http://{name}:1", name=name, models=models, engine=engine)


def fleet(*endpoints: Endpoint) -> Fleet:
    made = Fleet()
    made.update(endpoints, NOW)
    return made


def rates(made: Fleet) -> dict[str, float]:
    return {str(id_): state.speed.rate for id_, state in made.endpoints.items()}


def learned(*others: Endpoint) -> Fleet:
    """A fleet whose endpoint `a` has been found to be fast."""
    made = fleet(endpoint("a", "m"), *others)
    state = next(state for state in made.endpoints.values() if state.id == "a")
    serve(state, FAST, 0.1, lengths(1, 60))
    return made


def test_who_has_not_answered_is_predicted_as_its_siblings_are() -> None:
    made = learned(endpoint("b", "m"))
    known, new = (state.speed for state in made.endpoints.values())
    assert new.rate == pytest.approx(FAST, rel=0.1)
    assert new.overhead_s == pytest.approx(0.1, rel=0.25)
    assert new.ttft_s(0, 4000, 4000) == pytest.approx(known.ttft_s(0, 4000, 4000), rel=0.1)


def test_another_engine_or_another_model_is_no_sibling() -> None:
    made = learned(endpoint("b", "other"), endpoint("c", "m", engine=EngineKind.SGLANG))
    assert rates(made)["b"] == rates(made)["c"] == START_RATE_TOKENS_PER_S


def test_an_adapter_more_or_less_does_not_part_siblings() -> None:
    made = learned(endpoint("b", "an-adapter", "m"))
    assert rates(made)["b"] == pytest.approx(FAST, rel=0.1)


def test_an_endpoint_finds_its_siblings_when_it_has_told_what_it_is() -> None:
    made = learned(Endpoint(url="http://b:1", name="b"))
    assert rates(made)["b"] == START_RATE_TOKENS_PER_S
    (b,) = [state for state in made.endpoints.values() if state.id == "b"]
    made.introspected(b, ["m"], EngineKind.VLLM)
    assert rates(made)["b"] == pytest.approx(FAST, rel=0.1)


def test_who_joins_later_or_comes_back_starts_where_the_others_are() -> None:
    made = learned()
    made.update([], Monotonic(NOW + 500))
    made.update([endpoint("b", "m")], Monotonic(NOW + 600))
    assert rates(made) == {"b": pytest.approx(FAST, rel=0.1)}


def test_a_slow_one_among_fast_ones_is_known_after_a_handful_of_answers() -> None:
    made = learned(endpoint("b", "m"))
    (slow,) = [state for state in made.endpoints.values() if state.id == "b"]
    serve(slow, FAST / 4, 0.1, [4000.0] * 6)
    truth_s = 0.1 + work_tokens(4000, 4000) / (FAST / 4)
    assert slow.speed.ttft_s(0, 4000, 4000) == pytest.approx(truth_s, rel=0.3)


def test_what_siblings_do_later_is_nothing_to_one_that_knows_itself() -> None:
    made = fleet(endpoint("a", "m"), endpoint("b", "m"))
    one, other = made.endpoints.values()
    queue(one, 5_000.0, 0.02, lengths(3, 120))
    before = one.speed.rate
    queue(other, FAST, 0.02, lengths(4, 120))
    assert one.speed.rate == before


def test_a_mix_of_slow_and_fast_is_not_taken_for_overhead() -> None:
    made = fleet_of(4)
    states = pool_of(made).routable
    for round_ in range(30):
        for number, state in enumerate(states):
            rate = FAST if number % 2 else FAST / 4
            serve(state, rate, 0.02, [16_000.0 if round_ % 2 else 1_000.0])
    siblings = states[0].speed.siblings
    assert siblings.overhead_s == pytest.approx(0.02, abs=0.02)
    assert FAST / 4 < siblings.rate < FAST


def test_one_tokenizer_is_learned_from_all_of_them() -> None:
    made = fleet_of(3)
    first, second, third = pool_of(made).routable
    for number in range(40):
        state = (first, second)[number % 2]
        state.speed.correct(lease_of(state, 3000.0), Usage(4500, 1, None), NOW)
    assert third.speed.siblings.token_ratio == pytest.approx(1.5, rel=0.02)


def test_the_words_of_a_chat_template_hardly_move_the_token_ratio() -> None:
    siblings = Siblings()
    for number in range(200):
        siblings.learn_tokens(*((4.0, 40.0) if number % 2 else (4000.0, 4800.0)))
    assert siblings.token_ratio == pytest.approx(1.2, rel=0.05)


def test_models_that_nobody_serves_are_forgotten_when_they_are_many() -> None:
    made = learned()
    (state,) = made.endpoints.values()
    for number in range(3 * MAX_REMEMBERED_MODELS):
        made.introspected(state, [MODEL, f"adapter-{number}"], EngineKind.VLLM)
    assert len(made._siblings) <= MAX_REMEMBERED_MODELS
    made.update([state.endpoint, endpoint("b", "m")], NOW)
    assert rates(made)["b"] == pytest.approx(FAST, rel=0.1)
