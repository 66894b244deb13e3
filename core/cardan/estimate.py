"""What a request would meet at one endpoint: how much is cached, how long until its first token.

Hit. Leading full blocks that the shadow holds, times the tokens of a block; the whole prompt when
its tail is known too. Never the last token, which engines always compute. Scaled by the endpoint's
hit bias, learned from what engines report.

Backlog. The work that lies before this prompt, in equivalent tokens (`cardan.speed`):

- our own, sent and not yet answered, less what the endpoint must have computed since it last
  showed progress (the oldest was sent, or a first token came);
- our own that wait for their turn there in this gateway (`cardan.queues`), if it holds queues;
- our own that are not streamed: nothing tells when their prompts are done, so they drain at the
  learned rate (`cardan.ledger.Load.silent_tokens`);
- those of other gateways, from fresh engine metrics: what waits there beyond our own. Stale or
  absent metrics say nothing, which is not zero: then our own accounting is all we use.

Stalled. The oldest of ours has waited over three seconds and twice its prediction, and no first
token came in two: the engine is out of memory or hangs (DualMap's appendix). What has made no
progress for that long is expected to need as long again, which is over any budget it had.

Everything is O(1) per endpoint but the shadow's binary search. All predictions are finite and not
negative.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Candidate
from cardan.speed import work_tokens

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.metrics import EngineMetrics
    from cardan.request import RequestView

STALL_AGE_S = 3.0  # DualMap's code: a queued request older than this makes its instance hot
STALL_SILENCE_S = 2.0  # DualMap's code: `busy_prefill_interval`
STALL_FACTOR = 2.0  # a 100k prompt takes more than three seconds and is no stall
# Where the prompt was not read, its size tells: English is about four bytes a token.
BYTES_PER_TOKEN = 4.0


def estimate(
    state: EndpointState, request: RequestView, now: Monotonic, matched: int | None = None
) -> Candidate:
    """Predict `request` at `state`; `matched` is `state.shadow.match(chain)` if already known."""
    prompt = request.prompt
    speed = state.speed
    tokens = prompt.tokens or request.body_bytes / BYTES_PER_TOKEN
    if matched is None:
        matched = state.shadow.match(prompt.chain)
    hit = 0.0
    if matched:
        whole = matched > prompt.full_blocks  # the tail is held too
        hit = (tokens if whole else matched * float(prompt.block_tokens)) * speed.hit_bias
        if hit > tokens - 1.0:
            hit = max(0.0, tokens - 1.0)
    rate, overhead_s = speed.line.known()
    uncached = tokens - hit
    backlog_s = _backlog_tokens(state, rate, now) / rate
    ttft_s = overhead_s + backlog_s + work_tokens(uncached, tokens) / rate
    if state.load.waiting:
        ttft_s += stalled_s(state, now)
    return Candidate(state, hit, uncached, backlog_s, ttft_s, speed.siblings.token_ratio)


def backlog_tokens(state: EndpointState, now: Monotonic) -> float:
    """Work that the endpoint has yet to do before a new prompt, in equivalent tokens."""
    return _backlog_tokens(state, state.speed.rate, now)


def _backlog_tokens(state: EndpointState, rate: float, now: Monotonic) -> float:
    load, metrics = state.load, state.metrics
    own = 0.0
    if load.waiting_tokens > 0.0:
        since = next(iter(load.waiting)).opened_at
        if load.last_first_token_at is not None and load.last_first_token_at > since:
            since = load.last_first_token_at
        own = max(0.0, load.waiting_tokens - rate * max(0.0, now - since))
    if load.silent_tokens > 0.0:
        left = load.silent_tokens - rate * max(0.0, now - load.silent_at)
        if left > 0.0:
            own += left
    if metrics is None or metrics.is_stale(now):
        return own + load.assigned_tokens
    return own + load.assigned_tokens + _others_tokens(state, metrics, own)


def stalled_s(state: EndpointState, now: Monotonic) -> float:
    """For how long an endpoint has shown no progress with our oldest prompt; 0 if it is well."""
    load = state.load
    oldest = next(iter(load.waiting), None)
    if oldest is None:
        return 0.0
    age_s = now - oldest.opened_at
    if age_s <= STALL_AGE_S or age_s <= STALL_FACTOR * oldest.decision.chosen.ttft_s:
        return 0.0
    if load.last_first_token_at is not None and now - load.last_first_token_at <= STALL_SILENCE_S:
        return 0.0
    return age_s


def _others_tokens(state: EndpointState, metrics: EngineMetrics, own_tokens: float) -> float:
    """What other gateways have waiting there, as the engine tells it."""
    if metrics.waiting_uncached_tokens is not None:
        waiting = metrics.waiting_uncached_tokens / state.speed.siblings.token_ratio
        return max(0.0, waiting - own_tokens)
    if not metrics.waiting:
        return 0.0
    mean = max(1.0, state.speed.siblings.mean_work_tokens)
    load = state.load
    own = len(load.waiting) + (load.silent_tokens / mean if load.silent_tokens > 0 else 0.0)
    return max(0.0, metrics.waiting - own) * mean
