"""What a fleet's moves, drains and cordons amount to: the overlay that its gateways are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.overlay import Dormant, ModelOverlay
from cardan.scaling.moves import MoveKind
from cardan.scaling.warming import owning

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan.endpoint import EndpointId
    from cardan.scaling.moves import Move


def overlay_of(
    moves: Iterable[Move],
    *,
    draining: Iterable[EndpointId] = (),
    cordoned: Iterable[EndpointId] = (),
    dormant: Dormant | None = None,
) -> ModelOverlay:
    """One model's overlay. Equal decisions make equal overlays, in whatever order they came."""
    owners: dict[str, tuple[EndpointId, ...]] = {}
    add: dict[str, tuple[EndpointId, ...]] = {}
    warm: dict[str, tuple[EndpointId, ...]] = {}
    weights: dict[EndpointId, float] = {}
    for move in sorted(moves, key=lambda move: (move.key, move.relieved, move.at)):
        if move.warming:
            warm[move.key] = tuple(dict.fromkeys((*warm.get(move.key, ()), *move.warming)))
        now = owning(move)
        match move.kind:
            case MoveKind.REHOME if now:
                owners[move.key] = now
            case MoveKind.ADD if now:
                add[move.key] = tuple(dict.fromkeys((*add.get(move.key, ()), *now)))
            case MoveKind.REWEIGHT:
                weights[move.relieved] = move.factor
    return ModelOverlay(
        owners=owners,
        add=add,
        warm=warm,
        weights=weights,
        draining=tuple(sorted(set(draining))),
        cordoned=tuple(sorted(set(cordoned))),
        dormant=dormant,
    )
