"""The gateway, not the engine, holds each endpoint's queue.

A prompt that was sent cannot be called back; one that waits here can still go elsewhere
(`cardan.migration`), be put in a better order, or be forgotten when its client leaves. So where
queues are held, the policy's decision *assigns* a request to an endpoint, and it is *sent* when it
is its turn there and the endpoint's window has room (`cardan.window`).

Who is assigned waits in the scheduler's queue like everybody who waits, so its bounds, deadlines,
clients that leave and a gateway that ends are that queue's matter. It holds a `Turn`, and no lease:
nothing of it is at the engine. Its work counts for those who are decided after it
(`Load.assigned_tokens`), and nowhere else.

Order. By arrival, but what finds much in the endpoint's cache goes before what came little sooner:

    order = arrival - min(saved_weight * saved, 0.3 SLO)

where `saved` is the time that the cache saves there, since it is gone when the cache is. The bound
keeps it from starving the others, as the order of the paper's code does, which is by what is cached
alone. What the order is worth could not be told from noise (docs/explanation/routing.md).

Laws: a request has one turn or none; an endpoint's assigned work is the sum of its turns', and zero
when it has none; nobody is overtaken by who came more than 0.3 SLO later.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from typing import TYPE_CHECKING, Annotated

import msgspec
from cardan.decision import Candidate, QueuedDecision, Reason
from cardan.estimate import estimate
from cardan.speed import work_tokens

if TYPE_CHECKING:
    from cardan.decision import Decision
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange

# What came so much later, as a share of its promise, overtakes nobody. A choice: what
# a person waits longer for another's sake stays well inside the promise.
MAX_LEAD_OF_SLO = 0.3


class QueuesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Queues that the gateway holds for endpoints, instead of the engines.

    An endpoint is sent a prompt when fewer than `window` of this gateway's are there without a
    first token, and their work with it is at most `window_tokens`; one is always sent. 0 is no such
    limit, and 0 for both holds no queues: everything is sent at once. One prompt is enough for
    engines that compute prompts one after the other without a pause; two, or twice the tokens of a
    step, hide the way to the engine and back. Answers that are not streamed tell nothing of their
    prompts, so theirs count until the learned rate says that they are done. `saved_weight` is how
    much what is cached counts against arrival (0: first come, first served). `migrate` moves who
    waits for a hot endpoint to another of its candidates; hot is one with more than `theta` of the
    SLO to do. Who has waited for `max_wait_s` is turned away.
    """

    window: Annotated[int, msgspec.Meta(ge=0)] = 0
    window_tokens: Annotated[int, msgspec.Meta(ge=0)] = 0
    saved_weight: Annotated[float, msgspec.Meta(ge=0)] = 1.0
    migrate: bool = True
    theta: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.5
    max_wait_s: Annotated[float, msgspec.Meta(ge=0)] = 600.0

    @property
    def held(self) -> bool:
        """Are queues held at all?"""
        return bool(self.window or self.window_tokens)


class Turn:
    """A request's place in the queue of one endpoint.

    `work_tokens` is its predicted work there; `order` and `serial` are where it stands; `hops` is
    how often it was moved.
    """

    __slots__ = (
        "assigned_at",
        "decision",
        "exchange",
        "hops",
        "order",
        "serial",
        "state",
        "work_tokens",
    )

    def __init__(self, exchange: Exchange, decision: Decision, serial: int, now: Monotonic) -> None:
        self.exchange = exchange
        self.decision = decision
        self.serial = serial
        self.assigned_at = now
        self.hops = 0
        self.state = decision.chosen.endpoint
        self.order = self.work_tokens = 0.0

    def __repr__(self) -> str:
        return f"<Turn {self.exchange.request.request_id} at {self.state.id} hops={self.hops}>"

    def stand(self, candidate: Candidate, saved_weight: float) -> None:
        """It waits there from now on, with what was predicted for it."""
        request = self.exchange.request
        self.state = candidate.endpoint
        self.work_tokens = work_tokens(candidate.uncached_tokens, request.prompt.tokens)
        self.order = order_of(self.exchange, candidate, saved_weight)

    def sent(self, now: Monotonic) -> QueuedDecision:
        """The decision that sends it now, with what is predicted now."""
        first, chosen = self.decision, as_sent(self.state, self.exchange, now)
        others = [one for one in first.candidates if one.endpoint is not self.state]
        return QueuedDecision(
            chosen,
            (chosen, *others),
            Reason.MIGRATED if self.hops else first.reason,
            first.key,
            first.depth,
            first=first,
            assigned_at=self.assigned_at,
            sent_at=now,
            migrations=self.hops,
        )


class EndpointQueue:
    """Who waits for one endpoint, in order. `passed_at` is when migration last looked at it."""

    __slots__ = ("passed_at", "state", "turns")

    def __init__(self, state: EndpointState) -> None:
        self.state = state
        self.turns: list[Turn] = []
        self.passed_at = float("-inf")

    def add(self, turn: Turn) -> None:
        """Put a turn where it belongs."""
        insort(self.turns, turn, key=_standing)
        self.state.load.assigned_tokens += turn.work_tokens

    def remove(self, turn: Turn) -> None:
        """Take a turn out."""
        del self.turns[bisect_left(self.turns, _standing(turn), key=_standing)]
        load = self.state.load
        load.assigned_tokens -= turn.work_tokens
        if not self.turns:
            load.assigned_tokens = 0.0  # float dust must not outlive the work

    def oldest_s(self, now: Monotonic) -> float:
        """How long its head has waited since it came, in seconds; 0 if nobody waits."""
        return now - self.turns[0].exchange.request.arrived_at if self.turns else 0.0


class Queues:
    """The queues of all endpoints that somebody waits for."""

    def __init__(self, config: QueuesConfig) -> None:
        self.config = config
        self._queues: dict[EndpointState, EndpointQueue] = {}
        self._turns: dict[Exchange, Turn] = {}
        self._serial = 0

    def __len__(self) -> int:
        return len(self._turns)

    def __contains__(self, exchange: object) -> bool:
        return exchange in self._turns

    def __repr__(self) -> str:
        return f"<Queues {len(self._turns)} at {len(self._queues)} endpoints>"

    def turn(self, exchange: Exchange) -> Turn | None:
        """The turn of a request; None if it is not assigned."""
        return self._turns.get(exchange)

    def turns(self) -> list[Turn]:
        """All turns, in the order in which they were assigned."""
        return list(self._turns.values())

    def at(self, state: EndpointState) -> EndpointQueue | None:
        """The queue of an endpoint; None if nobody waits for it."""
        return self._queues.get(state)

    def all(self) -> list[EndpointQueue]:
        """Every queue that somebody stands in."""
        return list(self._queues.values())

    def enter(self, exchange: Exchange, decision: Decision, now: Monotonic) -> Turn:
        """Assign a request to the endpoint that was chosen for it."""
        self._serial += 1
        turn = self._turns[exchange] = Turn(exchange, decision, self._serial, now)
        self._stand(turn, decision.chosen)
        return turn

    def leave(self, exchange: Exchange) -> bool:
        """A request is sent, gone or late; False if it was not assigned."""
        turn = self._turns.pop(exchange, None)
        if turn is not None:
            self._quit(turn)
        return turn is not None

    def move(self, turn: Turn, candidate: Candidate) -> None:
        """It waits elsewhere from now on."""
        self._quit(turn)
        turn.hops += 1
        self._stand(turn, candidate)

    def _stand(self, turn: Turn, candidate: Candidate) -> None:
        turn.stand(candidate, self.config.saved_weight)
        queue = self._queues.get(turn.state)
        if queue is None:
            queue = self._queues[turn.state] = EndpointQueue(turn.state)
        queue.add(turn)

    def _quit(self, turn: Turn) -> None:
        queue = self._queues[turn.state]
        queue.remove(turn)
        if not queue.turns:
            del self._queues[turn.state]


def order_of(exchange: Exchange, candidate: Candidate, saved_weight: float) -> float:
    """Where a request stands in that endpoint's queue: the least is the first."""
    request = exchange.request
    tokens = candidate.hit_tokens + candidate.uncached_tokens
    saved = work_tokens(tokens, tokens) - work_tokens(candidate.uncached_tokens, tokens)
    saved_s = saved / candidate.endpoint.speed.rate_tokens_per_s()
    lead_s = min(saved_weight * saved_s, MAX_LEAD_OF_SLO * request.slo_ttft_s)
    return request.arrived_at - lead_s


def as_sent(state: EndpointState, exchange: Exchange, now: Monotonic) -> Candidate:
    """What is predicted for a request that is sent now: before all who wait for their turn."""
    behind = estimate(state, exchange.request, now)
    held_s = state.load.assigned_tokens / state.speed.rate_tokens_per_s()
    return Candidate(
        state,
        behind.hit_tokens,
        behind.uncached_tokens,
        max(0.0, behind.backlog_s - held_s),
        max(0.0, behind.ttft_s - held_s),
        behind.token_ratio,
    )


def _standing(turn: Turn) -> tuple[float, int]:
    return turn.order, turn.serial
