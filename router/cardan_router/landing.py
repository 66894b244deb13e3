"""How a flight lands: every end of a request that is not the whole answer of an engine.

Whatever ends it, its connection is closed, its exchange has an outcome (and so its lease is closed,
once), and the gateway is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.ledger import Outcome
from cardan.lifecycle import Reject

from cardan_router.record import FlightRecord
from cardan_router.rejections import INTERNAL, of_reject

if TYPE_CHECKING:
    from cardan.instants import Monotonic

    from cardan_router.gateway import Gateway
    from cardan_router.rejections import Told
    from cardan_router.sink import Sink
    from cardan_router.upstream.connection import EngineConnection


class Landing(FlightRecord):
    """The ends of a flight, which has a place in the queue or a connection, and a `Sink`."""

    __slots__ = ("_connection", "_gateway", "_sink", "_wait_until")

    _connection: EngineConnection | None
    _gateway: Gateway
    _sink: Sink
    _wait_until: Monotonic | None

    def client_left(self) -> None:
        """The client is gone: the engine's connection is closed at once, so it stops computing."""
        if self.ended_at is None:
            now = self._gateway.clock()
            self.exchange.client_left(now)
            self._leave_engine()
            self._finish(now)

    def abandon(self, reject: Reject) -> None:
        """End it for a reason of the gateway's own: turned away, or cut if the client has bytes."""
        if self.ended_at is None:
            now = self._gateway.clock()
            self._leave_engine()
            if self.exchange.first_byte_at is None:
                self._reject(self.exchange.abandon(reject, now))
            else:
                self.exchange.abandon(Reject(reject.reason, reject.message, Outcome.CUT), now)
                self._cut(of_reject(reject), reject.message, now)

    def drop(self) -> None:
        """End it where `abandon` failed too: the client sees a cut, and the lease is closed."""
        if self.ended_at is None:
            now = self._gateway.clock()
            try:
                self._sink.cut(INTERNAL, "the gateway failed")
            finally:
                self.exchange.client_left(now)  # if it has no outcome yet
                self._finish(now)

    def _reject(self, reject: Reject) -> None:
        self.status = of_reject(reject).status
        self._sink.reject(reject)
        self._finish(self._gateway.clock())

    def _cut(self, told: Told, message: str, now: Monotonic) -> None:
        self._sink.cut(told, message)
        self._finish(now)

    def _leave_engine(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.abandon()

    def _stop_waiting(self) -> None:
        self._wait_until = None
        self._gateway.waiting.pop(self.exchange, None)

    def _finish(self, now: Monotonic) -> None:
        """It has its outcome."""
        raise NotImplementedError
