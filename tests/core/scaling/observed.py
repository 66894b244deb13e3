"""Observations of fleets for tests of moves, drains and failing engines."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.observation import (
    Datum,
    EndpointLoad,
    Freshness,
    KeyMass,
    Observation,
    PendingReplica,
    PoolState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

T0 = WallTime(1_000_000.0)


def fresh(value: float | None, at: float = T0) -> Datum:
    """A number known now; None: the source has no such series."""
    return Datum() if value is None else Datum(value, WallTime(at), Freshness.FRESH)


def load(
    name: str,
    at: float = T0,
    *,
    pool: str = "main",
    ready: bool = True,
    age_s: float = 86_400.0,
    **numbers: float | None,
) -> EndpointLoad:
    """An endpoint with these numbers, all fresh; the others are missing."""
    return EndpointLoad(
        id=EndpointId(name),
        pool=pool,
        ready=ready,
        age_s=age_s,
        **{field: fresh(value, at) for field, value in numbers.items()},
    )


def key(
    number: int,
    share: float,
    *endpoints: str,
    hit_tokens: float = 1000.0,
    warmed: Iterable[str] = (),
) -> KeyMass:
    """A routing key, whose it is, and who has been made warm for it."""
    return KeyMass(
        key=f"{number:016x}",
        share=share,
        blocks=4,
        hit_tokens=hit_tokens,
        endpoints=tuple(EndpointId(name) for name in endpoints),
        warmed=tuple(EndpointId(name) for name in warmed),
    )


def seen(
    endpoints: Iterable[EndpointLoad],
    at: float = T0,
    *,
    keys: Iterable[KeyMass] = (),
    desired: int | None = None,
    pending: Iterable[str] = (),
    ending: Iterable[str] = (),
) -> Observation:
    """A fleet of one pool; as many replicas are asked for as there are, unless said."""
    known = tuple(endpoints)
    waiting = tuple(PendingReplica(name, WallTime(at - 10)) for name in pending)
    ready = sum(endpoint.ready for endpoint in known)
    pool = PoolState(
        desired=ready + len(waiting) if desired is None else desired,
        ready=ready,
        pending=waiting,
        draining=tuple(EndpointId(name) for name in ending),
    )
    return Observation(at=WallTime(at), pools={"main": pool}, endpoints=known, keys=tuple(keys))
