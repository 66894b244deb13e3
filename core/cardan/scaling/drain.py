"""Drains: a replica whose cache is worth least goes first, and goes when nothing runs on it."""

from __future__ import annotations

import msgspec
from cardan.instants import WallTime


class Victim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A replica that is to go; once released, `replicas` is what the scale became with it."""

    pod: str
    pool: str
    since: WallTime
    released_at: WallTime | None = None
    replicas: int = 0
    why: str = ""


class DrainMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What outlives a tick: who drains."""

    victims: tuple[Victim, ...] = ()
