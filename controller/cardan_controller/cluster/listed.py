"""What every replica keeps of a fleet, whether or not it leads: that it is there, and what was
decided for it, as its status tells. What it asks for is kopf's to tell who leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.scaling.decision import ReasonCode

from cardan_controller.crds.status import ConditionType, Truth

if TYPE_CHECKING:
    from collections.abc import Mapping


class Listed(NamedTuple):
    """A fleet's uid, and how many replicas each of its pools is to have."""

    uid: str
    desired: Mapping[str, int]


class _Meta(msgspec.Struct):
    uid: str = ""


class _Condition(msgspec.Struct):
    type: str
    status: str
    reason: str = ""


class _Pool(msgspec.Struct):
    name: str
    desired: int = 0
    reason: str = ""


class _Status(msgspec.Struct):
    pools: tuple[_Pool, ...] = ()
    conditions: tuple[_Condition, ...] = ()


class _Fleet(msgspec.Struct):
    metadata: _Meta
    status: _Status = msgspec.field(default_factory=_Status)


_decode = msgspec.json.Decoder(_Fleet).decode
_INVALID: Final = _Condition(ConditionType.SPEC_VALID.value, Truth.FALSE.value, "Invalid")
_UNABLE: Final = _Condition(ConditionType.ABLE_TO_SCALE.value, Truth.FALSE.value, "TargetError")


def read_listed(raw: msgspec.Raw) -> Listed:
    """A fleet. Of what cannot be decided by, or not be scaled, nothing is to be had."""
    found = _decode(raw)
    decided = () if _INVALID in found.status.conditions else found.status.pools
    unknown = {ReasonCode.TARGET_ERROR.value}
    if _UNABLE in found.status.conditions:  # that it is paused is told before why it could not
        unknown.add(ReasonCode.PAUSED.value)
    return Listed(
        found.metadata.uid,
        {pool.name: pool.desired for pool in decided if pool.reason not in unknown},
    )
