"""The queues that are held here, over the fleet as it is: whose turn it is, and who has to move.

`cardan.queues` keeps who waits where. Here is what that needs of the fleet: whether an endpoint has
room, whether one may still be asked at all, and where else its waiting requests may go. The
scheduler asks; nothing here sends or turns away.
"""

from __future__ import annotations

from heapq import nsmallest
from typing import TYPE_CHECKING

from cardan.decision import Reason
from cardan.migration import PASS_EVERY_S, is_hot, plan
from cardan.queues import Queues
from cardan.window import has_room

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from cardan.fleet import EndpointState, Fleet
    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange
    from cardan.queues import EndpointQueue, QueuesConfig, Turn

    Owners = Callable[[str, int, Monotonic], Sequence[EndpointState]]

# A policy without keys may have considered hundreds: the best of them are as good as any.
MAX_ELSEWHERE = 8


class HeldQueues(Queues):
    """The queues of a scheduler. `owners` tells whom a model's key belongs to now.

    `max_in_flight` bounds what an endpoint has at all (0: no such bound), beside its window.
    `migrations` counts moves.
    """

    def __init__(
        self, config: QueuesConfig, max_in_flight: int, fleet: Fleet, owners: Owners
    ) -> None:
        super().__init__(config)
        self.max_in_flight = max_in_flight
        self.migrations = 0
        self._fleet = fleet
        self._owners = owners
        self._version = -1  # of the fleet in which nobody who waits was stranded

    def has_room(self, state: EndpointState, work_tokens: float, now: Monotonic) -> bool:
        """Whether an endpoint may be sent a prompt of that much work now."""
        if self.max_in_flight and state.load.in_flight >= self.max_in_flight:
            return False
        return has_room(self.config, state, work_tokens, now)

    def may_go(self, turn: Turn, now: Monotonic) -> bool:
        """Whether it is this one's turn, and there is room."""
        queue = self.at(turn.state)
        is_next = queue is not None and queue.turns[0] is turn
        return is_next and self.has_room(turn.state, turn.work_tokens, now)

    def needs_look(self, state: EndpointState, now: Monotonic) -> bool:
        """Whether it is somebody's turn there, or time to see who should rather wait elsewhere."""
        queue = self.at(state)
        if queue is None:
            return False
        return self.has_room(state, queue.turns[0].work_tokens, now) or self._is_due(queue, now)

    def is_stranded(self, turn: Turn, now: Monotonic) -> bool:
        """Its endpoint has left, drains, or may not be asked for another reason."""
        pool = self._fleet.pool(turn.exchange.request.model, now)
        if pool is None:
            return True
        if turn.decision.reason is Reason.DRAINING_WARM and turn.state in pool.draining:
            return False
        return turn.state not in pool.routable

    def stranded(self, now: Monotonic) -> Iterator[Exchange]:
        """All whose endpoint may not be asked any more; looked for when the fleet has changed."""
        version = self._fleet.version(now)
        if version == self._version:
            return
        self._version = version
        for turn in self.turns():
            if turn.exchange in self and self.is_stranded(turn, now):
                yield turn.exchange

    def next_up(self, now: Monotonic) -> Iterator[Exchange]:
        """The first of each queue, while its endpoint has room."""
        for queue in self.all():
            while queue.turns:
                turn = queue.turns[0]
                if not self.has_room(queue.state, turn.work_tokens, now):
                    break
                yield turn.exchange
                if queue.turns and queue.turns[0].exchange is turn.exchange:  # it did not go
                    break

    def migrate(self, now: Monotonic) -> None:
        """One round: who waits for a hot endpoint, and would gain elsewhere, waits there."""
        for queue in self.all():
            if self._is_due(queue, now):
                queue.passed_at = now
                for move in plan(queue, self, lambda turn: self._elsewhere(turn, now), now):
                    self.move(move.turn, move.candidate)
                    self.migrations += 1

    def _is_due(self, queue: EndpointQueue, now: Monotonic) -> bool:
        if not self.config.migrate or now - queue.passed_at < PASS_EVERY_S:
            return False
        return is_hot(queue, self.config, now)

    def _elsewhere(self, turn: Turn, now: Monotonic) -> list[EndpointState]:
        """Where else it may wait: its key's owners as of now, or who was considered for it."""
        model, decision = turn.exchange.request.model, turn.decision
        pool = self._fleet.pool(model, now)
        if pool is None:
            return []
        states = list(self._owners(model, decision.key, now)) if decision.depth else []
        if not states:
            ranked = nsmallest(MAX_ELSEWHERE, decision.candidates, key=lambda one: one.ttft_s)
            states = [one.endpoint for one in ranked if one.endpoint in pool.routable]
        spoiled = turn.exchange.spoiled
        return [one for one in states if one is not turn.state and one.id not in spoiled]
