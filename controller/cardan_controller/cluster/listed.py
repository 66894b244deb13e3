"""What every replica keeps of a fleet, whether or not it leads: that it is there, and what was
decided for it, as its status tells. What it asks for is kopf's to tell who leads.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan_kube.objects import Meta

from cardan_controller.crds.status import Condition, PoolStatus
from cardan_controller.recommending import recommended

if TYPE_CHECKING:
    from collections.abc import Mapping


class Listed(NamedTuple):
    """A fleet's uid, and how many replicas each of its pools is to have."""

    uid: str
    desired: Mapping[str, int]


class _Status(msgspec.Struct):
    pools: tuple[PoolStatus, ...] = ()
    conditions: tuple[Condition, ...] = ()


class _Object(msgspec.Struct):
    metadata: Meta
    status: msgspec.Raw = msgspec.Raw(b"{}")


_decode = msgspec.json.Decoder(_Object).decode
_decode_status = msgspec.json.Decoder(_Status).decode


def read_listed(raw: msgspec.Raw) -> Listed:
    """A fleet; without its decisions, if another version wrote the status."""
    found = _decode(raw)
    try:
        status = _decode_status(found.status)
    except msgspec.DecodeError:
        status = _Status()
    return Listed(found.metadata.uid, recommended(status.pools, status.conditions))
