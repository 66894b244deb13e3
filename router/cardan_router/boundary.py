"""The request boundary: a fault of the gateway's own ends one request, and not the process.

Whoever calls a flight on behalf of a socket, a dial or the sweep guards the call with one
`except Exception` and hands the flight to `give_up`. Its lease is closed, its client is told, and
the next flight never knows.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from cardan.ledger import Outcome
from cardan.lifecycle import Reject, RejectReason

if TYPE_CHECKING:
    from cardan_router.flight import Flight

log = logging.getLogger(__name__)


def internal() -> Reject:
    """The answer to a request that the gateway failed at; nothing of how it did."""
    return Reject(RejectReason.INTERNAL, "the gateway failed", Outcome.INTERNAL)


def give_up(flight: Flight, error: Exception) -> None:
    """End a flight at which something of ours failed."""
    request_id = flight.call.view.request_id
    log.error("request %s failed", request_id, exc_info=error)
    try:
        flight.abandon(internal())
    except Exception:  # what failed may be the telling itself
        log.exception("request %s could not be told so", request_id)
        flight.drop()
