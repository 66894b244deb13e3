"""Law: whatever comes, a policy's memory is bounded.

A gateway runs for months and sees prompts that nobody has sent before. So after some thousand new
ones, with every bound set small, a chooser holds no more than after half as many. What endpoints
hold themselves (shadows, loads) is bounded elsewhere.
"""

from __future__ import annotations

from collections import deque
from random import Random
from typing import TYPE_CHECKING, get_args

import msgspec
import pytest
from cardan.candidates import rendezvous, rings
from cardan.depth import DepthConfig
from cardan.fleet import EndpointState
from cardan.instants import Monotonic
from cardan.ledger import Ledger, Outcome
from cardan.policies import AnyPolicy, PolicyBase, preble

from tests.core.policies.build import NOW, endpoint, fleet_of, pool_of, prompt_of, request_of

if TYPE_CHECKING:
    from cardan.policies import Chooser

SMALL = {
    "depth": DepthConfig(min_window=50, window_per_endpoint=0, max_age_s=1e9),
    "max_blocks": 64,
}


def small(kind: type[PolicyBase]) -> PolicyBase:
    """A policy with the bounds that its configuration knows set small."""
    fields = [field.name for field in msgspec.structs.fields(kind)]
    return kind(**{name: value for name, value in SMALL.items() if name in fields})


def entries(thing: object, seen: set[int]) -> int:
    """Entries of all containers that can be reached, but not through an endpoint."""
    if id(thing) in seen or isinstance(thing, str | EndpointState | PolicyBase):
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(entries(part, seen) for pair in thing.items() for part in pair)
    if isinstance(thing, list | tuple | set | deque):
        return len(thing) + sum(entries(part, seen) for part in thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    return sum(entries(getattr(thing, name, None), seen) for name in slots)


class Play:
    """New prompts, half of them with a known beginning, on two endpoints and one that changes."""

    def __init__(self, chooser: Chooser) -> None:
        self.chooser = chooser
        self.fleet, self.ledger = fleet_of(0, cache_tokens=32 * 512), Ledger()

    def step(self, step: int) -> None:
        now = Monotonic(NOW + step * 0.5)
        if step % 50 == 0:
            numbers = (0, 1, 2 + step // 50 % 5)
            self.fleet.update([endpoint(number) for number in numbers], now)
        blocks = [step % 2 * step, *range(10**6 + 8 * step, 10**6 + 8 * step + 6)]
        request = request_of(prompt_of(*blocks), session=f"s{step}", arrived_at=now)
        pool = pool_of(self.fleet, now)
        decision = self.chooser.choose(request, pool, pool.routable, now, Random(step))
        lease = self.ledger.open(request, decision, now)
        lease.first_token(now)
        lease.close(Outcome.OK, now)

    def peak(self, steps: range) -> int:
        """The most entries that the chooser held."""
        most = 0
        for step in steps:
            self.step(step)
            if step % 50 == 49:
                most = max(most, entries(self.chooser, set()))
        return most


@pytest.mark.parametrize("kind", get_args(AnyPolicy))
def test_a_policy_forgets_as_fast_as_it_learns(
    kind: type[PolicyBase], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (rendezvous, rings):
        monkeypatch.setattr(module, "MEMO_KEYS", 64)
    monkeypatch.setattr(preble, "MAX_COUNTED", 64)
    play = Play(small(kind).bind())
    before, after = play.peak(range(600)), play.peak(range(600, 1200))
    assert after <= 1.1 * before + 10, (before, after)
