"""What is known of one request when it is over: the facts a recorder reads off a flight."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.ledger import Usage
    from cardan.lifecycle import Exchange

    from cardan_router.calls import Call


class FlightRecord:
    """The facts of one admitted request.

    `exchange` has the outcome, the decision, the attempts and the instant of the first byte;
    `endpoint` is the last one asked; `status` what the client was told (0: nothing); `usage` what
    the engine reported. The instants are monotonic seconds, None where it did not come to that.
    `decision_s` is the time it took to route; `reads` and `bytes_out` are of the answer's body.
    """

    __slots__ = (
        "arrived_at",
        "bytes_out",
        "call",
        "decision_s",
        "dispatched_at",
        "ended_at",
        "endpoint",
        "exchange",
        "is_stream",
        "reads",
        "status",
        "usage",
    )

    arrived_at: Monotonic
    bytes_out: int
    call: Call
    decision_s: float
    dispatched_at: Monotonic | None
    ended_at: Monotonic | None
    endpoint: EndpointState | None
    exchange: Exchange
    is_stream: bool
    reads: int
    status: int
    usage: Usage | None
