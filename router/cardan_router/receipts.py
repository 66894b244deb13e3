"""Route receipts: why a request went where it went, in a form that may leave the house.

An endpoint without a name is known by its URL, and no answer may carry an engine's address; so in
receipts it is called by its hash, which every replica of the gateway computes alike.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from cardan.decision import QueuedDecision

if TYPE_CHECKING:
    from cardan.fleet import EndpointState
    from cardan.instants import Monotonic
    from cardan.lifecycle import Exchange

    from cardan_router.flight import Flight


def public_name(state: EndpointState) -> str:
    """What an endpoint is called in answers: its name, or `endpoint-` and eight digits."""
    return state.endpoint.name or f"endpoint-{state.hash64 >> 32:08x}"


def receipt(flight: Flight) -> dict[str, object]:
    """The flight's decision and attempts, as `x-cardan-explain` answers."""
    return receipt_of(flight.exchange, flight.dispatched_at)


def explained(flight: Flight) -> str:
    """The receipt as a header's value: ASCII, whatever endpoints and models are called."""
    return json.dumps(receipt(flight), separators=(",", ":")).replace("\x7f", "\\u007f")


def receipt_of(exchange: Exchange, dispatched_at: Monotonic | None) -> dict[str, object]:
    """The same of an exchange that no flight carries."""
    view = exchange.request
    decision = exchange.decision
    told: dict[str, object] = {"request_id": view.request_id}
    if decision is not None:
        told |= decision.receipt()
        told["endpoint"] = public_name(decision.endpoint)
        told["candidates"] = [
            {**shown, "endpoint": public_name(candidate.endpoint)}
            for shown, candidate in zip(
                _candidates(decision.receipt()), decision.candidates, strict=True
            )
        ]
        if isinstance(decision, QueuedDecision):
            told["assigned"] = decision.assigned() | {
                "endpoint": public_name(decision.first.endpoint)
            }
    begun = view.arrived_at if dispatched_at is None else dispatched_at
    told["attempts"] = exchange.attempts
    told["queued_s"] = round(begun - view.arrived_at, 4)
    return told


def _candidates(shown: dict[str, object]) -> list[dict[str, object]]:
    candidates = shown["candidates"]
    return candidates if isinstance(candidates, list) else []
