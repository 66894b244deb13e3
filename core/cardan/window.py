"""How much of this gateway's work an endpoint is given at once, where queues are held here.

The window is counted in prompts without a first token, or in their work. It opens

- with a first token, and when a request fails, ends or is left: then it no longer waits there;
- for answers that are not streamed, whose first byte comes when all is over, when the learned rate
  says that their prompts are done, or a scrape since then says that nothing waits in the engine;
- for one more, when nothing has been sent or come back for two seconds and twice what was predicted
  for the last: the engine may have stopped, or its first tokens may not reach us. Each that is sent
  so makes the next prediction longer, so an engine that has stopped is asked less and less often.

What has been refused for lack of room is not asked before its time.
"""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING

from cardan.estimate import STALL_FACTOR

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.queues import QueuesConfig

SILENCE_S = 2.0  # DualMap's code: `busy_prefill_interval`


def has_room(
    config: QueuesConfig, state: EndpointState, work_tokens: float, now: Monotonic
) -> bool:
    """Whether an endpoint may be sent a prompt of that much work now."""
    if now < state.load.refused_until:
        return False
    prompts, tokens = unanswered(state, now)
    if not prompts:
        return True
    if config.window and prompts >= config.window:
        return _is_silent(state, now)
    if config.window_tokens and tokens + work_tokens > config.window_tokens:
        return _is_silent(state, now)
    return True


def unanswered(state: EndpointState, now: Monotonic) -> tuple[int, float]:
    """Our prompts there that have no first token yet, as far as can be known, and their work."""
    load = state.load
    prompts, tokens = len(load.waiting), load.waiting_tokens
    if load.silent_tokens > 0.0:
        left = load.silent_tokens - state.speed.rate_tokens_per_s() * (now - load.silent_at)
        if left > 0.0 and not _none_waits(state, now):
            prompts += ceil(left / max(1.0, state.speed.siblings.mean_work_tokens))
            tokens += left
    return prompts, tokens


def _none_waits(state: EndpointState, now: Monotonic) -> bool:
    """The engine has said so since the last prompt of which nothing else tells was sent."""
    metrics = state.fresh_metrics(now)
    return metrics is not None and metrics.waiting == 0 and metrics.at > state.load.silent_at


def _is_silent(state: EndpointState, now: Monotonic) -> bool:
    """Nothing was sent, and nothing came back, for longer than there is reason to wait."""
    load = state.load
    last_at, patience_s = load.silent_at, SILENCE_S
    newest = next(reversed(load.waiting), None)
    if newest is not None:
        last_at = max(last_at, newest.opened_at)
        patience_s = max(SILENCE_S, STALL_FACTOR * newest.decision.chosen.ttft_s)
    if load.last_first_token_at is not None:
        last_at = max(last_at, load.last_first_token_at)
    return now - last_at > patience_s
