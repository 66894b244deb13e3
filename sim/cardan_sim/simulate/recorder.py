"""What became of each request, in columns: a million rows are tens of megabytes."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

from cardan.decision import Reason
from cardan.ledger import Outcome

from cardan_sim.engine.stats import Histogram

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.lifecycle import Exchange

# Requests at the beginning of a run that only fill the caches, unless somebody says otherwise.
WARM_UP: Final = 500

REASONS: Final = tuple(Reason)
OUTCOMES: Final = tuple(Outcome)
_REASON: Final = {reason: index for index, reason in enumerate(REASONS)}
_OUTCOME: Final = {outcome: index for index, outcome in enumerate(OUTCOMES)}
NAN: Final = float("nan")
# Times between tokens are too many to be kept. Bins of 2 % from 0.1 ms to 105 s: nobody tells such
# figures apart by less, and the model of an engine is not as exact.
GAP_BIN: Final = 1.02
_GAP_EDGES: Final = tuple(1e-4 * GAP_BIN**number for number in range(701))


class Recorder:
    """One row a request, in order of arrival. Times in seconds, lengths in tokens.

    `ttft_s` and `e2e_s` count from the client's sending, NaN where there was no such moment;
    `cached` is the engine's word (-1 where there is none), `believed` the router's (or NaN).
    `endpoint` is the index of the engine that was last asked, -1 for none. `outcome` is -1 until
    there is one. `kept` is 1 if one of the endpoints considered was considered for the same key the
    time before, 0 if none was, -1 if there was no such time or no key.

    `gaps` counts the times between the tokens of all answers, from the arrival of the first request
    after `warm_up` of them on.
    """

    def __init__(self, warm_up: int = WARM_UP) -> None:
        self.warm_up = warm_up
        self.gaps = Histogram(_GAP_EDGES)
        self.arrived_s = array("d")
        self.ttft_s = array("d")
        self.e2e_s = array("d")
        self.tokens = array("l")
        self.output = array("l")
        self.cached = array("l")
        self.believed = array("d")
        self.depth = array("h")
        self.reason = array("b")
        self.outcome = array("b")
        self.endpoint = array("h")
        self.attempts = array("h")
        self.kept = array("b")
        self._candidates: dict[int, frozenset[str]] = {}
        self.tenants: list[str] = []
        self._tenant_ids: dict[str, int] = {}
        self.tenant = array("l")
        self.pending_cv: list[float] = []
        self.pending_at: list[float] = []

    def __len__(self) -> int:
        return len(self.arrived_s)

    def arrived(self, now: float, tokens: int, tenant: str) -> int:
        """A new row; returns its number."""
        number = len(self.arrived_s)
        if number == self.warm_up:
            self.gaps.clear()
        self.arrived_s.append(now)
        for column in (self.ttft_s, self.e2e_s, self.believed):
            column.append(NAN)
        self.tokens.append(tokens)
        self.output.append(0)
        self.cached.append(-1)
        for short in (self.reason, self.outcome, self.endpoint, self.kept):
            short.append(-1)
        self.depth.append(0)
        self.attempts.append(0)
        known = self._tenant_ids.get(tenant)
        if known is None:
            known = self._tenant_ids[tenant] = len(self.tenants)
            self.tenants.append(tenant)
        self.tenant.append(known)
        return number

    def sent(self, number: int, decision: Decision | None) -> None:
        """A request goes to an endpoint, by a decision."""
        if decision is None or not decision.depth or self.kept[number] >= 0:
            return
        considered = frozenset(candidate.endpoint.id for candidate in decision.candidates)
        before = self._candidates.get(decision.key)
        if before is not None:
            self.kept[number] = not considered.isdisjoint(before)
        self._candidates[decision.key] = considered

    def ended(self, number: int, exchange: Exchange, now: float, endpoint: int) -> None:
        """A request has its one outcome. RuntimeError for a second one."""
        if self.outcome[number] >= 0 or exchange.outcome is None:
            raise RuntimeError(f"request {number} does not end exactly once")
        self.outcome[number] = _OUTCOME[exchange.outcome]
        self.attempts[number] = exchange.attempts
        self.endpoint[number] = endpoint
        if exchange.outcome is Outcome.OK:
            self.e2e_s[number] = now - self.arrived_s[number]
        if exchange.first_byte_at is not None:
            self.ttft_s[number] = exchange.first_byte_at - self.arrived_s[number]
        decision = exchange.decision
        if decision is not None:
            self.reason[number] = _REASON[decision.reason]
            self.depth[number] = decision.depth
            self.believed[number] = decision.chosen.cached_real_tokens

    def answered(self, number: int, cached: int, output: int) -> None:
        """What the engine says of its answer."""
        self.cached[number] = cached
        self.output[number] = output
