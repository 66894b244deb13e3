"""What the operator writes of an overlay is what gateways read, whatever it said before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cardan.overlay import ModelOverlay, RoutingOverlay
from cardan_controller import planning
from cardan_controller.planning import Home

if TYPE_CHECKING:
    from e2e.crds.conftest import Server

pytestmark = pytest.mark.cluster

KEY = "0123456789abcdef"
FULL: dict[str, Any] = {
    "owners": {KEY: ["a"]},
    "add": {KEY: ["b"]},
    "warm": {KEY: ["c"]},
    "weights": {"a": 0.5},
    "draining": ["d"],
    "cordoned": ["e"],
    "dormant": {"holdRequests": 8},
}


def overlay(parts: dict[str, Any]) -> ModelOverlay:
    return msgspec.convert(parts, ModelOverlay)


def told(server: Server, name: str, *parts: ModelOverlay) -> ModelOverlay:
    """What is stored when the operator has said these, one after the other."""
    home = Home("fleets", name, "", "elsewhere")  # so it has no owner: there is no such fleet
    present: RoutingOverlay | None = None
    for part in parts:
        (write,) = planning.overlays(home, "m", part, present)
        body: Any = write.request.body
        body["metadata"] = {"name": name}
        words = ("--server-side", "--force-conflicts", "--field-manager=cardan-controller")
        server.kubectl("apply", *words, "-f", "-", document=body)
        stored = server.get("overlay", name)
        present = msgspec.json.decode(json.dumps(stored["spec"]), type=RoutingOverlay)
    assert present is not None
    return present.models["m"]


@pytest.mark.parametrize("field", FULL)
def test_what_is_taken_back_is_gone(server: Server, field: str) -> None:
    rest = overlay({name: value for name, value in FULL.items() if name != field})
    full, alone = overlay(FULL), overlay({field: FULL[field]})
    assert told(server, f"full-{field}", full, rest, full) == full
    assert told(server, f"less-{field}", full, rest) == rest
    assert told(server, f"alone-{field}", full, alone) == alone
