"""Who waits for a hot endpoint moves to another of its own candidates.

DualMap's rebalancing: as in a cuckoo hash, who stands in the way moves to its other place, but in
one round, and nobody is pushed on by who was moved. An endpoint is *hot* when it has more than the
budget (`theta` SLO) to do, or its next one has waited for three seconds. Then each who waits there
is asked what it would gain elsewhere,

    gain = time to its first token here - the same there, each from its place in the queue

and who gains most moves first, until this endpoint is within the budget. It moves only for a gain
of more than 50 ms and a twentieth, only to where everything that waits there, and it, still fits
the budget and nobody waits for three seconds, and twice at most. Everybody's gain is looked at
again when its turn to move has come, since those who moved before have changed both queues.

O(q (log q + candidates)) for q waiting. Pure: a plan is a list of values, which `cardan.queues`
carries out.
"""

from __future__ import annotations

from bisect import bisect_left
from itertools import accumulate
from typing import TYPE_CHECKING, NamedTuple

from cardan.estimate import STALL_AGE_S, backlog_tokens, estimate, stalled_s
from cardan.queues import order_of
from cardan.speed import work_tokens
from cardan.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan.decision import Candidate
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.queues import EndpointQueue, Queues, QueuesConfig, Turn

# A queue is looked at no more often than this (algorithms §5.4): about one step of a busy engine.
PASS_EVERY_S = 0.1
MAX_HOPS = 2
# A gain below these is within the error of any prediction.
MIN_GAIN_S = 0.05
MIN_GAIN_RATIO = 0.05


class Move(Value):
    """A turn that moves: what is predicted for it there, and what it gains, in seconds."""

    turn: Turn
    candidate: Candidate
    gain_s: float


def is_hot(queue: EndpointQueue, config: QueuesConfig, now: Monotonic) -> bool:
    """Whether those who wait there should be looked at."""
    if not queue.turns:
        return False
    if queue.oldest_s(now) > STALL_AGE_S:
        return True
    return _to_do_s(queue.state, now) > config.theta * queue.turns[-1].exchange.request.slo_ttft_s


def plan(
    queue: EndpointQueue,
    queues: Queues,
    elsewhere: Callable[[Turn], Iterable[EndpointState]],
    now: Monotonic,
) -> list[Move]:
    """Who moves from a hot endpoint, in order; `elsewhere` tells where a turn may go."""
    source, theta = _Source(queue, now), queues.config.theta
    places: dict[EndpointState, _Place] = {}
    options = sorted(
        _options(source, queues, elsewhere, places, now), key=lambda option: -option.gain_s
    )
    moves: list[Move] = []
    left: set[int] = set()
    for option in options:
        turn = source.turns[option.at]
        over = source.to_do_s() > theta * turn.exchange.request.slo_ttft_s
        late = now - turn.exchange.request.arrived_at > STALL_AGE_S
        if option.at in left or not (over or late):
            continue
        gain_s = source.ttft_s(option.at) - option.place.ttft_s(option)
        if _is_worth(gain_s, source.ttft_s(option.at)) and option.place.fits(option, theta):
            left.add(option.at)
            source.gives(option.at)
            option.place.takes(option.candidate, turn)
            moves.append(Move(turn, option.candidate, gain_s))
    return moves


class _Option(NamedTuple):
    """A turn (`at` tells where it stands), a place for it, and what it would gain at first."""

    at: int
    place: _Place
    candidate: Candidate
    ahead_tokens: float
    slo_s: float
    gain_s: float


class _Source:
    """The hot endpoint: how long each in its queue has to wait, as those before it leave."""

    def __init__(self, queue: EndpointQueue, now: Monotonic) -> None:
        state = queue.state
        self.turns = list(queue.turns)
        self._rate = state.speed.rate_tokens_per_s()
        self._sent = max(0.0, backlog_tokens(state, now) - state.load.assigned_tokens)
        self._until = list(accumulate(turn.work_tokens for turn in self.turns))
        self._total = self._until[-1]
        self._gone = [0.0] * (len(self.turns) + 1)
        self._fixed_s = state.speed.overhead_s + stalled_s(state, now)

    def to_do_s(self) -> float:
        """All that is left to compute there."""
        return (self._sent + self._total) / self._rate

    def ttft_s(self, index: int) -> float:
        """When the first token of this one would come."""
        tokens = self._sent + self._until[index] - self._gone_before(index)
        return self._fixed_s + tokens / self._rate

    def gives(self, index: int) -> None:
        """This one leaves. (A Fenwick tree: sums of what has left before an index.)"""
        work = self.turns[index].work_tokens
        self._total -= work
        node = index + 1
        while node < len(self._gone):
            self._gone[node] += work
            node += node & -node

    def _gone_before(self, index: int) -> float:
        gone = 0.0
        while index > 0:
            gone += self._gone[index]
            index -= index & -index
        return gone


class _Place:
    """Another endpoint. Who is moved there in this pass is counted before all who follow."""

    def __init__(self, state: EndpointState, queue: EndpointQueue | None, now: Monotonic) -> None:
        turns = queue.turns if queue is not None else []
        self._late = queue is not None and queue.oldest_s(now) > STALL_AGE_S
        self._rate = state.speed.rate_tokens_per_s()
        self._to_do_s = _to_do_s(state, now)
        self._assigned = state.load.assigned_tokens
        self._orders = [turn.order for turn in turns]
        self._before = [0.0, *accumulate(turn.work_tokens for turn in turns)]
        self._taken = 0.0

    def ahead_tokens(self, order: float) -> float:
        """The work of those who wait there and would go before it."""
        return self._before[bisect_left(self._orders, order)]

    def ttft_s(self, option: _Option) -> float:
        """When its first token would come from there, from its place in that queue."""
        behind = max(0.0, self._assigned - option.ahead_tokens)
        return option.candidate.ttft_s + (self._taken - behind) / self._rate

    def is_open(self, budget_s: float) -> bool:
        """Whether there is any sense in asking what this one would meet there."""
        return not self._late and self._to_do_s < budget_s

    def fits(self, option: _Option, theta: float) -> bool:
        """Would everything there, this one last, still be within the budget?"""
        return option.candidate.ttft_s + self._taken / self._rate <= theta * option.slo_s

    def takes(self, candidate: Candidate, turn: Turn) -> None:
        """That one comes here."""
        tokens = turn.exchange.request.prompt.tokens
        self._taken += work_tokens(candidate.uncached_tokens, tokens)


def _options(
    source: _Source,
    queues: Queues,
    elsewhere: Callable[[Turn], Iterable[EndpointState]],
    places: dict[EndpointState, _Place],
    now: Monotonic,
) -> Iterable[_Option]:
    """Every move that would be worth it if it were the only one."""
    theta, weight = queues.config.theta, queues.config.saved_weight
    for index, turn in enumerate(source.turns):
        if turn.hops >= MAX_HOPS:
            continue
        here_s, request = source.ttft_s(index), turn.exchange.request
        for state in elsewhere(turn):
            place = places.get(state)
            if place is None:
                place = places[state] = _Place(state, queues.at(state), now)
            if not place.is_open(theta * request.slo_ttft_s):
                continue
            candidate = estimate(state, request, now)
            ahead = place.ahead_tokens(order_of(turn.exchange, candidate, weight))
            option = _Option(index, place, candidate, ahead, request.slo_ttft_s, 0.0)
            gain_s = here_s - place.ttft_s(option)
            if _is_worth(gain_s, here_s) and place.fits(option, theta):
                yield option._replace(gain_s=gain_s)


def _is_worth(gain_s: float, here_s: float) -> bool:
    return gain_s > max(MIN_GAIN_S, MIN_GAIN_RATIO * here_s)


def _to_do_s(state: EndpointState, now: Monotonic) -> float:
    return backlog_tokens(state, now) / state.speed.rate_tokens_per_s() + stalled_s(state, now)
