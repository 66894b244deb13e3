"""Equal engines that start cold: what the first ones teach holds for those that have not answered.

Each engine here does two and a half times what a speed begins with. Were every endpoint to learn
that alone, an idle one that has not answered yet would be predicted slower than a busy one that
has, and the busy one would get the next request too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from cardan.policies import DualMap
from cardan.speed import work_tokens

from tests.core.policies.queueing import Play, strangers

if TYPE_CHECKING:
    from cardan.instants import Monotonic

    from tests.core.policies.queueing import Arrival

RATE = 25_000.0
ENGINES = 8
PER_S = 33.0  # about nine tenths of what eight such engines can do
COLD_S = 2.0
# A prompt takes 0.3 s in the mean, and whoever is behind by one has not been piled on.
PILED_ON_S = 0.3


class Watched(Play):
    """A play that compares, at each decision, the work that truly lies at its candidates."""

    def __init__(self, seed: int) -> None:
        super().__init__(DualMap(), [RATE] * ENGINES, slo_s=5.0, seed=seed)
        self.excess_s: list[float] = []

    def _arrive(self, arrival: Arrival, now: Monotonic) -> None:
        waiting_s = {id_: self.waiting_s(id_) for id_ in self.engines}
        lengths = {id_: len(engine.queue) for id_, engine in self.engines.items()}
        super()._arrive(arrival, now)
        (chosen,) = [id_ for id_, n in lengths.items() if len(self.engines[id_].queue) > n]
        decision = self.engines[chosen].queue[-1].decision
        assert decision is not None
        least_s = min(waiting_s[candidate.endpoint.id] for candidate in decision.candidates)
        self.excess_s.append(waiting_s[chosen] - least_s)

    def waiting_s(self, id_: str) -> float:
        """What the prompts in an engine's queue take; the one it computes counts in full."""
        prompts = [exchange.request.prompt for exchange in self.engines[id_].queue]
        return sum(work_tokens(prompt.tokens, prompt.tokens) for prompt in prompts) / RATE


@pytest.mark.parametrize("seed", range(5))
def test_a_cold_start_does_not_pile_on_those_that_answered_first(seed: int) -> None:
    play = Watched(seed)
    play.run(strangers(int(PER_S * COLD_S), PER_S, seed=seed))
    assert sum(excess_s > PILED_ON_S for excess_s in play.excess_s) <= 1
