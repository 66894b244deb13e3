"""Where a prompt may go beyond its candidates, and where one waits that is late anyway.

Candidates by hash keep what is cached findable by everybody. Three kinds of prompts gain by more:

- *Held elsewhere.* An endpoint outside holds this prompt's own part and no candidate does: it began
  there, or the membership was another. This process knows it by its shadows, and it counts as a
  candidate.
- *A first turn.* Nobody is known to hold any of the prompt's own part, so there is nothing to find:
  the least predicted time among its candidates and some others, which balances far better than
  a pair does. A gain within the error of predictions does not count, for what other gateways have
  had cached, unknown to this one, is at the candidates.
- *A late one.* Every endpoint that was looked at has so much to do that the first token misses the
  SLO. Wherever it goes it makes others late, too, but where it is late already. So a first turn
  joins the longest wait, up to a bound, and those who come after it find the rest of the fleet on
  time. Past saturation somebody is late; so it is the fewest, and they are later.

A warm prompt that does not fit may *switch* to a candidate that does, or that keeps the SLO where
the warm one misses it. What it recomputes there is work that the fleet had done already and that
everybody behind it waits for, so it must gain several times as much.

All follow from what this gateway believes now; nothing is remembered.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.decision import Reason
from cardan.estimate import estimate, stalled_s
from cardan.soonest import fits, predicted_s, soonest

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.request import RequestView

# A gain below these is within the error of any prediction (as in `cardan.migration`).
MIN_GAIN_S = 0.05
MIN_GAIN_RATIO = 0.05
# Of the endpoints that hold a key, so many are looked at: a key has few unless it was moved about.
MAX_HOLDERS = 4


def holders(key: int, eligible: Sequence[EndpointState], rng: Random) -> list[EndpointState]:
    """Those who hold the block that a key names, and so all before it; of many, some. O(n)."""
    block = (key,)
    found = [state for state in eligible if state.shadow.match(block)]
    return found if len(found) <= MAX_HOLDERS else rng.sample(found, MAX_HOLDERS)


class FreeChoice:
    """One prompt, its candidates with their predictions, and what each holds of its own part.

    `own` are blocks, from the key's last on. Each method returns where to go and why.
    """

    __slots__ = ("_candidates", "_now", "_own", "_request", "_rng", "_slo_s")

    def __init__(
        self,
        request: RequestView,
        candidates: Sequence[Candidate],
        own: Sequence[int],
        now: Monotonic,
        rng: Random,
    ) -> None:
        self._request = request
        self._candidates = candidates
        self._own = own
        self._now = now
        self._rng = rng
        self._slo_s = request.slo_ttft_s - (now - request.arrived_at)

    def warm(self, budget_s: float, switch_gain: float) -> tuple[Candidate, Reason]:
        """Somebody holds its own part: stay there, unless leaving is worth what it recomputes."""
        most = max(self._own)
        holding = [
            one for one, held in zip(self._candidates, self._own, strict=True) if held == most
        ]
        warm = soonest(holding, self._rng)
        if len(holding) == len(self._candidates):
            return warm, Reason.TIE
        if fits(warm, budget_s):
            return warm, Reason.WARM
        other = soonest([one for one in self._candidates if one is not warm], self._rng)
        if fits(other, budget_s) or other.ttft_s <= self._slo_s < warm.ttft_s:
            lost_tokens = max(0.0, warm.hit_tokens - other.hit_tokens)
            lost_s = lost_tokens / other.endpoint.speed.rate_tokens_per_s()
            if warm.ttft_s - other.ttft_s > switch_gain * lost_s:
                return other, Reason.SWITCH
        return warm, Reason.HOPELESS

    def first_turn(
        self, eligible: Sequence[EndpointState], sample: int, late_slos: float
    ) -> tuple[Candidate, Reason]:
        """Nobody holds its own part: the soonest of its candidates and `sample` others.

        All are compared as if they held its hot blocks. Who lacks them computes them once, for all
        that come after; who were left out for it would lack them for ever, and stand idle.
        """
        candidates = self._candidates
        taken = [one.endpoint for one in candidates]
        others = [
            estimate(state, self._request, self._now)
            for state in _drawn(eligible, sample, self._rng)
            if state not in taken
        ]
        looked_at = [*candidates, *others]
        hot_tokens = max([one.hit_tokens for one in looked_at])

        def time_s(one: Candidate) -> float:
            lacking_tokens = hot_tokens - one.hit_tokens
            return one.ttft_s - lacking_tokens / one.endpoint.speed.rate_tokens_per_s()

        chosen, reason = soonest(candidates, self._rng, time_s), Reason.TIE
        if others:
            best, own_s = soonest(others, self._rng, time_s), time_s(chosen)
            if own_s - time_s(best) > max(MIN_GAIN_S, MIN_GAIN_RATIO * own_s):
                chosen, reason = best, Reason.FIRST_TURN
        if late_slos and self._is_late(min(looked_at, key=predicted_s)):
            longest = self._longest(looked_at, late_slos)
            if longest is not None:
                return longest, Reason.LATE
        return chosen, reason

    def _is_late(self, best: Candidate) -> bool:
        """Whether even the soonest misses the SLO, and for the work that others have there.

        What would be late on an idle endpoint has no SLO that could be kept.
        """
        idle_s = best.ttft_s - best.backlog_s
        return best.ttft_s > self._slo_s and idle_s <= self._request.slo_ttft_s

    def _longest(self, looked_at: list[Candidate], late_slos: float) -> Candidate | None:
        """Who has most to do, of those whose first token comes within the bound and who progress.

        An endpoint that stalls has a long wait, too, and would never be rid of it.
        """
        bound_s = late_slos * self._request.slo_ttft_s
        within = [
            one
            for one in looked_at
            if one.ttft_s <= bound_s and not stalled_s(one.endpoint, self._now)
        ]
        return max(within, key=lambda one: one.backlog_s) if within else None


def _drawn(eligible: Sequence[EndpointState], count: int, rng: Random) -> Sequence[EndpointState]:
    """So many random endpoints, or all if there are no more.

    A few do: the idlest of sixteen is among the idlest tenth four times in five, and gateways that
    see the same old metrics do not all run to one endpoint.
    """
    return eligible if len(eligible) <= count else rng.sample(eligible, count)
