"""What an engine says of itself, with its age. Missing is None, never zero."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from cardan.instants import Monotonic

# A scrape older than three periods of one second is no knowledge: five-second-old metrics route as
# badly as none (simulated; see docs/explanation/routing.md), and one lost scrape must not blind us.
STALE_AFTER_S = 3.0


class EngineMetrics(msgspec.Struct, frozen=True, kw_only=True):
    """One scrape of one engine, whatever its dialect called the series.

    Tokens and requests are counts; ratios are 0..1; counters count since the engine's start.
    """

    at: float
    running: float | None = None
    waiting: float | None = None
    kv_used_ratio: float | None = None
    waiting_uncached_tokens: float | None = None
    kv_capacity_tokens: float | None = None
    prefix_queries_tokens: float | None = None
    prefix_hits_tokens: float | None = None
    prompt_tokens: float | None = None
    generation_tokens: float | None = None
    preemptions: float | None = None

    def is_stale(self, now: Monotonic) -> bool:
        """Too old to route by."""
        return now - self.at > STALE_AFTER_S

    def is_after_restart(self, before: EngineMetrics) -> bool:
        """Whether a counter fell since `before`: the engine restarted, its cache is empty."""
        pairs = (
            (before.prompt_tokens, self.prompt_tokens),
            (before.generation_tokens, self.generation_tokens),
        )
        return any(old is not None and new is not None and new < old for old, new in pairs)
