"""Engines that are up but wrong: ready, with work, and without a token."""

from __future__ import annotations

import enum

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime


class Fault(enum.StrEnum):
    """What is wrong with an engine that says it is well."""

    SILENT = "no-tokens"  # it has work, and makes no tokens
    ERRORS = "errors"  # too many of its answers are errors


class Failing(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An engine under suspicion, then cordoned, then restarted."""

    id: EndpointId
    fault: Fault
    since: WallTime
    cordoned_at: WallTime | None = None
    restarted_at: WallTime | None = None


class FailingMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What outlives a tick: who is under suspicion, and when engines were restarted."""

    engines: tuple[Failing, ...] = ()
    restarts: tuple[WallTime, ...] = ()
