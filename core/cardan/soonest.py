"""Among endpoints with predictions: who is soonest, and whose prediction can be relied on."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from cardan.decision import Candidate

# Predictions closer than this say nothing: it is about one step of a busy engine. What is in flight
# then says more, above all when one of the engines has stopped to answer.
NOISE_S = 0.02


def predicted_s(candidate: Candidate) -> float:
    """Its predicted time to first token."""
    return candidate.ttft_s


def soonest(
    candidates: Sequence[Candidate],
    rng: Random,
    time_s: Callable[[Candidate], float] = predicted_s,
) -> Candidate:
    """The least predicted time; as good as equal, the fewest in flight; then chance, fairly."""
    best, best_s = candidates[0], time_s(candidates[0])
    equals = 1
    for candidate in candidates[1:]:
        its_s = time_s(candidate)
        less = its_s - best_s
        if -NOISE_S <= less <= NOISE_S:
            less = candidate.endpoint.load.in_flight - best.endpoint.load.in_flight
        if less < 0:
            best, best_s, equals = candidate, its_s, 1
        elif not less:
            equals += 1
            if rng.random() * equals < 1.0:
                best, best_s = candidate, its_s
    return best


def fits(candidate: Candidate, budget_s: float) -> bool:
    """Whether its first token comes within `budget_s` in four of five cases."""
    return candidate.endpoint.speed.cautious_s(candidate.ttft_s) <= budget_s
