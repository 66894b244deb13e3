"""New owners of a prefix are made warm before they take its traffic.

    wanted --prewarm_s > 0--> warming --gateways say so, or prewarm_s are over--> active --> undone
       '--------------------------------------------------------------------------^

While a new owner warms, gateways are told to make it so (`ModelOverlay.warm`) and go on asking
those who own the key already. All that looks at moves counts on it as if it were there, so nothing
is decided twice. Whoever is warm takes its part at once: of two that an addition brings the first
need not wait for the second. Nobody is waited for longer than `prewarm_s`: an engine that refuses,
or gateways that do not do it, cost a delay and never a move.

It costs nothing beyond what a move does: the prefix is prefilled at its new owner once, only by a
request that nobody waits for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.instants import WallTime
from cardan.scaling.moves import Move, MoveKind
from cardan.scaling.replicas import moment

if TYPE_CHECKING:
    from collections.abc import Collection

    from cardan.endpoint import EndpointId
    from cardan.scaling.spec import HotSpotSpec


def begun(move: Move, new: tuple[EndpointId, ...], spec: HotSpotSpec, now: WallTime) -> Move:
    """A move that is to be made: `new` owners warm first, if they are given time for it.

    Those that join others which warm already share their time.
    """
    if spec.prewarm_s <= 0:
        return move
    warming = tuple(dict.fromkeys((*move.warming, *new)))
    by = move.warm_by or moment(WallTime(now + spec.prewarm_s))
    return msgspec.structs.replace(move, warming=warming, warm_by=by)


def gone_on(move: Move, warmed: Collection[EndpointId], spec: HotSpotSpec, now: WallTime) -> Move:
    """The move as it stands now: who is warm owns it, and so does everybody when time is up."""
    left = tuple(id_ for id_ in move.warming if id_ in move.owners and id_ not in warmed)
    if spec.prewarm_s <= 0 or move.warm_by is None or now >= move.warm_by:
        left = ()
    if left == move.warming:
        return move
    return msgspec.structs.replace(move, warming=left, warm_by=move.warm_by if left else None)


def progress(before: Move, after: Move, warmed: Collection[EndpointId]) -> str:
    """Which owners a move has got by going on, and how, in words."""
    done = [id_ for id_ in before.warming if id_ not in after.warming]
    how = "made warm" if warmed and set(done) <= set(warmed) else "given its time to get warm"
    return f"{', '.join(done)} has been {how}, and is an owner now"


def owning(move: Move) -> tuple[EndpointId, ...]:
    """Whom gateways may be told as owners: all of a prefix that goes elsewhere, or nobody."""
    if move.kind is MoveKind.REHOME:
        return () if move.owners[0] in move.warming else move.owners
    return tuple(id_ for id_ in move.owners if id_ not in move.warming)
