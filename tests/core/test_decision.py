"""A receipt counts tokens as the engine does, so it can stand beside what the engine reports."""

from __future__ import annotations

from typing import Any

import pytest
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.ledger import Ledger, Usage

from tests.core.policies.build import NOW, fleet_of, pool_of, prompt_of, request_of


def test_a_receipt_is_in_the_engines_tokens() -> None:
    state = pool_of(fleet_of(1)).routable[0]
    state.shadow.insert((1, 2))
    state.speed.siblings.token_ratio = 1.5
    candidate = estimate(state, request_of(prompt_of(1, 2, 3)), NOW)
    assert (candidate.hit_tokens, candidate.uncached_tokens) == (1024, 512)
    receipt: dict[str, Any] = Decision(candidate, (candidate,), Reason.POLICY).receipt()
    assert receipt["predicted_cached_tokens"] == 1536
    (shown,) = receipt["candidates"]
    assert (shown["cached_tokens"], shown["uncached_tokens"]) == (1536, 768)


def test_what_was_predicted_does_not_change_by_what_is_learned_from_it() -> None:
    state = pool_of(fleet_of(1)).routable[0]
    state.shadow.insert((1, 2))
    request = request_of(prompt_of(1, 2, 3))
    candidate = estimate(state, request, NOW)
    decision = Decision(candidate, (candidate,), Reason.POLICY)
    before = decision.receipt()
    state.speed.correct(Ledger().open(request, decision, NOW), Usage(3000, 1, 2000), NOW)
    assert state.speed.siblings.token_ratio > 1.1
    assert decision.receipt() == before


def test_predictions_and_reports_agree_once_the_tokenizer_is_known() -> None:
    """Three quarters of a real token per estimated one; the engine holds what the shadow says."""
    state = pool_of(fleet_of(1)).routable[0]
    state.shadow.insert((1, 2))
    request = request_of(prompt_of(1, 2, 3))
    for _ in range(40):
        candidate = estimate(state, request, NOW)
        decision = Decision(candidate, (candidate,), Reason.POLICY)
        state.speed.correct(Ledger().open(request, decision, NOW), Usage(1152, 1, 768), NOW)
    candidate = estimate(state, request, NOW)
    assert candidate.cached_real_tokens == pytest.approx(768, rel=0.02)
    assert candidate.uncached_real_tokens == pytest.approx(384, rel=0.02)
