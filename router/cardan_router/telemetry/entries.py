"""What is kept of a request that is over: its line in the access log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.decision import Reason
from cardan.ledger import Outcome
from cardan.request import Api
from cardan.value import Value
from msgspec import UNSET, UnsetType

if TYPE_CHECKING:
    from cardan_router.record import FlightRecord

# Paths and models in a log line are the client's words.
MAX_TEXT_CHARS: Final = 200

# An enum's `.value` is a Python property; on this path a dictionary is six times as fast.
_OUTCOME: Final = {outcome: outcome.value for outcome in Outcome}
_REASON: Final = {reason: reason.value for reason in Reason}
_API: Final = {api: api.value for api in Api}


class Entry(Value):
    """A line of the access log. What is `UNSET` is not in it."""

    time: float
    request_id: str
    tenant: str
    api: str
    model: str
    stream: bool
    status: int
    outcome: str
    attempts: int
    body_bytes: int
    bytes_out: int
    ttft_s: float | None
    queue_s: float | None
    duration_s: float | None
    endpoint: str | UnsetType
    reason: str | UnsetType
    predicted_ttft_s: float | UnsetType
    predicted_cached_tokens: int | UnsetType
    prompt_tokens: int | UnsetType | None
    cached_tokens: int | UnsetType | None
    completion_tokens: int | UnsetType | None


def entry_of(flight: FlightRecord, at: float) -> Entry:
    """The line of a request that ended at `at`, wall time. Nothing of the flight is kept in it."""
    exchange, usage, arrived_at = flight.exchange, flight.usage, flight.arrived_at
    view, decision = exchange.request, exchange.decision
    endpoint: str | UnsetType = UNSET
    reason: str | UnsetType = UNSET
    ttft_s: float | UnsetType = UNSET
    hit_tokens: int | UnsetType = UNSET
    prompt: int | UnsetType | None = UNSET
    cached: int | UnsetType | None = UNSET
    completion: int | UnsetType | None = UNSET
    if decision is not None:
        chosen = decision.chosen
        endpoint, reason = chosen.endpoint.id, _REASON[decision.reason]
        ttft_s = int(chosen.ttft_s * 1e4) / 1e4
        hit_tokens = int(chosen.hit_tokens * chosen.token_ratio)
    if usage is not None:
        prompt, cached = usage.prompt_tokens, usage.cached_tokens
        completion = usage.completion_tokens
    return Entry(
        int(at * 1e3) / 1e3,
        view.request_id,
        view.tenant,
        _API[view.api],
        view.model[:MAX_TEXT_CHARS],
        view.stream,
        flight.status,
        _OUTCOME[exchange.outcome or Outcome.INVALID],
        exchange.attempts,
        view.body_bytes,
        flight.bytes_out,
        _since(arrived_at, exchange.first_byte_at),
        _since(arrived_at, flight.dispatched_at),
        _since(arrived_at, flight.ended_at),
        endpoint,
        reason,
        ttft_s,
        hit_tokens,
        prompt,
        cached,
        completion,
    )


def _since(start: float, end: float | None) -> float | None:
    """Seconds to the microsecond (cut, not rounded: that is four times as fast)."""
    return None if end is None else int((end - start) * 1e6) / 1e6
