"""Load-aware as vLLM's production-stack does it: cached share of the prompt, less relative load.

The router's `loadaware` logic (vllm-project/production-stack, pull request 1035, 2026):

    score_i = matched_i / L - beta * (load_i - mean load) / max(1, mean load)

matched_i are the prompt's L tokens that endpoint i holds, load_i its requests in flight; the
greatest score wins. Both terms are shares, of this prompt and of this fleet's load, so beta needs
no unit: at the published 1.0 an endpoint with twice the mean load gives up as much as a whole
prompt's hit is worth.

What differs. The original asks LMCache's controller what each engine holds; here it is the
endpoint's shadow (`cardan.shadow`). Ties are random.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Decision, Reason
from cardan.estimate import estimate
from cardan.policies.base import Chooser, Needs, PolicyBase
from cardan.scoring import least

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState, Pool
    from cardan.instants import Monotonic
    from cardan.request import RequestView


class LoadAware(PolicyBase, tag="load-aware", frozen=True):
    """The greatest cached share, less `beta` times the load relative to the mean."""

    beta: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 1.0

    def needs(self) -> Needs:
        """The prompt, to match it."""
        return Needs.PROMPT

    def bind(self) -> Chooser:
        """A chooser without memory."""
        return _Chooser(self.beta)


class _Chooser:
    __slots__ = ("_beta",)

    def __init__(self, beta: float) -> None:
        self._beta = beta

    def choose(
        self,
        request: RequestView,
        pool: Pool,
        eligible: Sequence[EndpointState],
        now: Monotonic,
        rng: Random,
    ) -> Decision:
        mean = sum([state.load.in_flight for state in eligible]) / len(eligible)
        candidates = [estimate(state, request, now) for state in eligible]
        chosen = least(candidates, lambda candidate: -self._score(candidate, mean), rng)
        return Decision(chosen, (chosen,), Reason.POLICY)

    def _score(self, candidate: Candidate, mean: float) -> float:
        tokens = candidate.hit_tokens + candidate.uncached_tokens
        matched = candidate.hit_tokens / tokens if tokens > 0 else 0.0
        relative = (candidate.endpoint.load.in_flight - mean) / max(1.0, mean)
        return matched - self._beta * relative
