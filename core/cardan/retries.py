"""How often a request may be tried elsewhere, and who pays for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec

if TYPE_CHECKING:
    from cardan.instants import Monotonic


class RetryConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits on trying elsewhere.

    `max_attempts` dispatches per request in all. `max_breaks` endpoints at most may break (reset,
    broken head, no first byte) under one request. The budget for refusals: `budget_ratio` retries
    per dispatched request, plus `budget_per_s` for quiet times (Finagle's form: 20 % and 10/s).
    """

    max_attempts: Annotated[int, msgspec.Meta(ge=1)] = 4
    max_breaks: Annotated[int, msgspec.Meta(ge=1)] = 2
    budget_ratio: Annotated[float, msgspec.Meta(ge=0)] = 0.2
    budget_per_s: Annotated[float, msgspec.Meta(ge=0)] = 10.0


class RetryBudget:
    """A token bucket that requests fill and retries empty; shared by the whole process.

    It holds at most ten seconds' worth of its quiet-time rate plus a hundred from requests, so a
    long calm cannot save up a storm.
    """

    BURST = 100.0

    def __init__(self, config: RetryConfig) -> None:
        self._config = config
        self._cap = self.BURST + 10 * config.budget_per_s
        self._tokens = self._cap
        self._at = 0.0

    def deposit(self) -> None:
        """A request was dispatched for the first time."""
        if self._tokens < self._cap:
            self._tokens = min(self._cap, self._tokens + self._config.budget_ratio)

    def withdraw(self, now: Monotonic) -> bool:
        """Pay for one retry; False if the budget is spent."""
        elapsed = max(0.0, now - self._at)
        self._at = now
        self._tokens = min(self._cap, self._tokens + elapsed * self._config.budget_per_s)
        if self._tokens < 1.0:
            return False
        self._tokens -= 1.0
        return True
