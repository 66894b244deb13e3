"""A routing decision is a value that carries its reasons."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

from cardan.value import Value

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic


class Reason(enum.StrEnum):
    """Why an endpoint was chosen. Metrics and receipts use these words."""

    WARM = "warm"  # the candidate with the longest cached prefix fits the budget
    TIE = "tie"  # candidates hold equally much of the prefix: the least loaded
    SWITCH = "switch"  # the warm candidate would miss the SLO, this one will not
    SPILL = "spill"  # no candidate fits the budget, an endpoint outside does
    HOPELESS = "hopeless"  # nothing fits: stay warm, which wastes the least work
    ORDERED = "ordered"  # the first candidate in hash order that fits
    LEAST_TTFT = "least-ttft"  # over budget, the candidate with the least predicted TTFT
    DRAINING_WARM = "draining-warm"  # a draining endpoint still holds this prefix
    POLICY = "policy"  # a baseline policy's only rule
    AFFINITY = "affinity"  # a baseline found a cached prefix or a session's owner
    BALANCE = "balance"  # a baseline gave up affinity for balance
    ONLY = "only"  # there was just one
    FIRST_TURN = "first-turn"  # nobody holds it: sooner here than at its candidates
    LATE = "late"  # late wherever it goes: it waits where it is late already
    MIGRATED = "migrated"  # it waited for a hot endpoint and was moved to another candidate


class Candidate(Value):
    """An endpoint that was considered, with what was predicted for it.

    `hit_tokens` and `uncached_tokens` are estimated tokens, which is what speeds are learned in.
    Beside what an engine reports belong `cached_real_tokens` and `uncached_real_tokens`: the same
    in its own tokens, by the ratio that was known when this was predicted. `ttft_s` includes
    `backlog_s`, the wait for work already there.
    """

    endpoint: EndpointState
    hit_tokens: float
    uncached_tokens: float
    backlog_s: float
    ttft_s: float
    token_ratio: float

    @property
    def cached_real_tokens(self) -> float:
        """Prompt tokens predicted to be cached, as the engine counts them."""
        return self.hit_tokens * self.token_ratio

    @property
    def uncached_real_tokens(self) -> float:
        """Prompt tokens that must be computed, as the engine counts them."""
        return self.uncached_tokens * self.token_ratio


class Decision(Value):
    """Where a request goes and why.

    `chosen` is one of `candidates` or, after a spill, on a first turn or when late, an endpoint
    outside of them. `key` is the routing key (a block hash) and `depth` how many prefix blocks it
    stands for; 0 where a policy does not look at the prompt.
    """

    chosen: Candidate
    candidates: tuple[Candidate, ...]
    reason: Reason
    key: int = 0
    depth: int = 0

    @property
    def moved(self) -> bool:
        """Has the controller given the key other owners than hashing would?"""
        return False

    @property
    def endpoint(self) -> EndpointState:
        """The chosen endpoint."""
        return self.chosen.endpoint

    def receipt(self) -> dict[str, object]:
        """The decision in plain words and numbers: what `x-cardan-explain` answers with.

        Tokens are the engine's, as nearly as its reports have taught.
        """
        return {
            "endpoint": self.endpoint.id,
            "reason": self.reason.value,
            "key": f"{self.key:016x}",
            "depth": self.depth,
            "moved": self.moved,
            "predicted_ttft_s": round(self.chosen.ttft_s, 4),
            "predicted_cached_tokens": round(self.chosen.cached_real_tokens),
            "candidates": [
                {
                    "endpoint": candidate.endpoint.id,
                    "ttft_s": round(candidate.ttft_s, 4),
                    "backlog_s": round(candidate.backlog_s, 4),
                    "cached_tokens": round(candidate.cached_real_tokens),
                    "uncached_tokens": round(candidate.uncached_real_tokens),
                }
                for candidate in self.candidates
            ],
        }


class MovedDecision(Decision):
    """A decision among the owners that the controller has given the key."""

    @property
    def moved(self) -> bool:
        """See `Decision`."""
        return True


class QueuedDecision(Decision, kw_only=True):
    """A decision about a request that waited its turn at an endpoint (`cardan.queues`).

    `first` is the decision that assigned it, at `assigned_at`; it was sent at `sent_at`, after
    `migrations` moves between its candidates. `chosen` is what was predicted then, and the other
    candidates are as they were at first.
    """

    first: Decision
    assigned_at: Monotonic
    sent_at: Monotonic
    migrations: int

    @property
    def moved(self) -> bool:
        """See `Decision`."""
        return self.first.moved

    def assigned(self) -> dict[str, object]:
        """Where it was assigned at first and why, and how long it waited."""
        return {
            "endpoint": self.first.endpoint.id,
            "reason": self.first.reason.value,
            "predicted_ttft_s": round(self.first.chosen.ttft_s, 4),
            "waited_s": round(self.sent_at - self.assigned_at, 4),
            "migrations": self.migrations,
        }

    def receipt(self) -> dict[str, object]:
        """See `Decision`."""
        return super().receipt() | {"assigned": self.assigned()}
