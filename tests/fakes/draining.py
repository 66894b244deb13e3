"""An endpoint that gets no new key, as one does that leaves."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cardan.endpoint import EndpointId
    from cardan.fleet import Fleet


def drain(fleet: Fleet, id_: EndpointId, *, draining: bool = True) -> None:
    """Begin to drain one endpoint, or let it be as it was."""
    fleet.endpoints[id_].leaving = draining
    fleet.touch()
