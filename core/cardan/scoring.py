"""What published policies compare endpoints by: the least of a cost, and prompts not answered yet.

Most routers score every endpoint with one number and take the best. What they count is much the
same; how they weigh it differs, and is each policy's own file. Tokens here are plain ones, as those
routers count them: a policy of ours would rather count work (`cardan.speed`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic

Option = TypeVar("Option")


def least(options: Sequence[Option], cost: Callable[[Option], float], rng: Random) -> Option:
    """The option with the least cost; of equals any, all alike. `options` is not empty."""
    costs = [cost(option) for option in options]
    lowest = min(costs)
    if costs.count(lowest) == 1:
        return options[costs.index(lowest)]
    equals = [option for option, its in zip(options, costs, strict=True) if its == lowest]
    return rng.choice(equals)


def unanswered_tokens(state: EndpointState, now: Monotonic) -> float:
    """Uncached tokens of our prompts there that have no first token yet.

    A prompt counts in full until its first token, as in Dynamo's router and llm-d's. One that is
    not streamed shows no first token; it drains at the endpoint's rate. O(prompts that wait there).
    """
    waiting = [lease.decision.chosen.uncached_tokens for lease in state.load.waiting]
    return sum(waiting) + _silent_tokens(state, now)


def unanswered_prompt_tokens(state: EndpointState, now: Monotonic) -> float:
    """Whole prompts instead, cached or not: what a router counts that knows no cache."""
    chosen = [lease.decision.chosen for lease in state.load.waiting]
    waiting = [candidate.hit_tokens + candidate.uncached_tokens for candidate in chosen]
    return sum(waiting) + _silent_tokens(state, now)


def running_tokens(state: EndpointState) -> float:
    """Prompt tokens of our requests there that are past their first token."""
    waiting = sum([lease.request.prompt.tokens for lease in state.load.waiting])
    return max(0.0, state.load.context_tokens - waiting)


def _silent_tokens(state: EndpointState, now: Monotonic) -> float:
    """What is left to compute of prompts that are not streamed."""
    load = state.load
    if load.silent_tokens <= 0:
        return 0.0
    drained = state.speed.rate_tokens_per_s() * (now - load.silent_at)
    return max(0.0, load.silent_tokens - drained)
