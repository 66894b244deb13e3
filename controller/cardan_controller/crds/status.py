"""What the operator says of a fleet, and what it remembers.

All of it is optional, and nothing in it is asked for: whoever deletes a status loses memory and
explanations, never a replica. Times are RFC 3339, as everywhere in Kubernetes.
"""

from __future__ import annotations

import enum
from typing import Annotated, Any

import msgspec
from cardan.endpoint import Role
from cardan.scaling.hotspots import MoveKind
from cardan.scaling.observation import Freshness
from cardan.spelling import in_yaml
from msgspec import Meta

Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Text = Annotated[str, Meta(max_length=32_768)]


class ConditionType(enum.StrEnum):
    """What is true of a fleet, or not; the first three mean what they mean of an autoscaler."""

    ABLE_TO_SCALE = "AbleToScale"
    SCALING_ACTIVE = "ScalingActive"
    SCALING_LIMITED = "ScalingLimited"
    READY = "Ready"
    METRICS_HEALTHY = "MetricsHealthy"
    CAPACITY_AVAILABLE = "CapacityAvailable"
    CONFLICT = "Conflict"
    DEMAND_SHARED = "DemandShared"
    SPEC_VALID = "SpecValid"


class Truth(enum.StrEnum):
    """The status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class _Told(msgspec.Struct, frozen=True, kw_only=True, rename=in_yaml, omit_defaults=True):
    """Base: what another version wrote and this one does not know is passed over."""


class Condition(_Told, frozen=True, kw_only=True):
    """One thing that is true of a fleet, or not, and why."""

    type: Annotated[str, Meta(max_length=316)]
    status: Truth
    reason: Annotated[str, Meta(max_length=1024)]
    message: Text = ""
    last_transition_time: Time
    observed_generation: int = 0


class PoolStatus(_Told, frozen=True, kw_only=True):
    """How one pool does, and why it is to have as many replicas as it is."""

    name: str
    role: Role = Role.BOTH
    current: int = 0
    desired: int = 0
    ready: int = 0
    pending: int = 0
    draining: int = 0
    manual: str = ""
    reason: str = ""
    message: Text = ""


class RatioStatus(_Told, frozen=True, kw_only=True):
    """Prefill over decode replicas: as it is, and as the measured work wants it."""

    current: float | None = None
    wanted: float | None = None


class MoveStatus(_Told, frozen=True, kw_only=True):
    """A move of a hot prefix that is in force, what it cost, and why."""

    kind: MoveKind
    at: Time
    key: str = ""
    owners: tuple[str, ...] = ()
    warming: tuple[str, ...] = ()
    relieved: str = ""
    factor: float = 1.0
    cost_tokens: float = 0.0
    why: Text = ""


class HotSpotStatus(_Told, frozen=True, kw_only=True):
    """Endpoints that are busier than the rest, and what is done about it."""

    endpoints: tuple[str, ...] = ()
    moves: tuple[MoveStatus, ...] = ()


class InputHealth(_Told, frozen=True, kw_only=True):
    """How well one of the numbers is known that decisions are made of."""

    input: str
    freshness: Freshness
    at: Time = ""
    message: Text = ""


class DecisionStatus(_Told, frozen=True, kw_only=True):
    """One of the last changes that were decided."""

    at: Time
    pool: str = ""
    from_: int = msgspec.field(name="from")
    to: int
    reason: str
    message: Text = ""


class FleetStatus(_Told, frozen=True, kw_only=True):
    """All of it. `memory` is the operator's own: a new leader goes on where the last one was."""

    observed_generation: int = 0
    operator: str = ""
    conditions: tuple[Condition, ...] = ()
    replicas: int = 0
    desired: int = 0
    ready: int = 0
    selector: str = ""
    pools: tuple[PoolStatus, ...] = ()
    ratio: RatioStatus | None = None
    hot_spots: HotSpotStatus | None = None
    metrics: tuple[InputHealth, ...] = ()
    last_decisions: Annotated[tuple[DecisionStatus, ...], Meta(max_length=10)] = ()
    memory: dict[str, Any] = msgspec.field(default_factory=dict)
