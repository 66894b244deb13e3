"""What is remembered of a tick that was carried out in part: pure.

What was not written has not happened: a victim whose scale was not lowered drains still, a pod that
was not deleted has not been restarted, and nothing of it counts against what may be done in an
hour. What was not answered may have happened. It counts as written, for the orders of the next tick
ask for the same again: they say what is to be so.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from cardan.scaling.drain import DrainMemory, Victim
    from cardan.scaling.failing import FailingMemory
    from cardan.scaling.memory import Memory

    from cardan_controller.planning import Write


def remembered(before: Memory, after: Memory, undone: Sequence[Write]) -> Memory:
    """The memory after a tick of which these writes were not made.

    Without the overlay nothing but a growing scale was written, and gateways know of nothing.
    """
    if any(write.what == "overlay" for write in undone):
        return before
    pools = {write.pool for write in undone if write.what == "scale"}
    pods = {write.pod for write in undone if write.what == "restart"}
    return msgspec.structs.replace(
        after,
        drains=_without_releases(before.drains, after.drains, pools),
        failing=_without_restarts(before.failing, after.failing, pods),
    )


def _without_releases(
    before: DrainMemory, after: DrainMemory, pools: Collection[str]
) -> DrainMemory:
    """Victims of these pools have not been released now."""
    released = {(v.pool, v.pod) for v in before.victims if v.released_at is not None}

    def as_it_is(victim: Victim) -> Victim:
        if victim.pool not in pools or (victim.pool, victim.pod) in released:
            return victim
        return msgspec.structs.replace(victim, released_at=None, replicas=None)

    return msgspec.structs.replace(after, victims=tuple(map(as_it_is, after.victims)))


def _without_restarts(
    before: FailingMemory, after: FailingMemory, pods: Collection[str]
) -> FailingMemory:
    """These pods have not been deleted now."""
    known = {engine.pod: engine for engine in before.engines}
    engines = tuple(
        known.get(engine.pod, engine) if engine.pod in pods else engine for engine in after.engines
    )
    kept = after.restarts[: len(after.restarts) - len(pods)]  # those of this tick are the last
    return msgspec.structs.replace(after, engines=engines, restarts=kept)
