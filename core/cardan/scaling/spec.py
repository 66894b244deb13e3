"""What a fleet is asked to hold: the part of its specification that decisions read.

The operator's custom resource carries these structs as they are, so that what a user writes is what
is decided by (`cardan.spelling` has the names in YAML); the simulator builds the same ones.
Durations are seconds, and end in `_s`.
"""

from __future__ import annotations

import enum
from typing import Annotated

import msgspec
from cardan.endpoint import Role
from cardan.scaling.policies import AnyScalingPolicy, Slo
from cardan.spelling import in_yaml

Positive = Annotated[float, msgspec.Meta(gt=0)]
NonNegative = Annotated[float, msgspec.Meta(ge=0)]
Count = Annotated[int, msgspec.Meta(ge=0)]
Share = Annotated[float, msgspec.Meta(gt=0, le=1)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True, rename=in_yaml):
    """Base of every part: strict, frozen."""


class SloSpec(_Part, frozen=True):
    """What is promised: `attainment` of the requests see their first token within `ttft_s`.

    `itl_s` is the promised mean time between tokens; None promises nothing of it. `window_s` is how
    much traffic `attainment` is a share of: what is saved in it may be spent in it.
    """

    ttft_s: Positive = 2.0
    itl_s: Positive | None = None
    attainment: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.95
    window_s: Positive = 21_600.0


class PoolSpec(_Part, frozen=True):
    """One scale target: bounds, and what a replica costs.

    `cost` is in whatever unit the user counts (dollars an hour, GPUs); pools of one role are
    compared by it. `gpus` and `power_w` of a replica count against a budget. `speed` is a replica's
    throughput relative to the others of its role until it has been learned.
    """

    name: str
    role: Role = Role.BOTH
    min_replicas: Count = 1
    max_replicas: Annotated[int, msgspec.Meta(ge=1)] = 10
    cost: Positive = 1.0
    gpus: NonNegative = 1.0
    power_w: NonNegative = 0.0
    speed: Positive = 1.0


class RateLimit(_Part, frozen=True):
    """At most so many replicas, or so much of what there is, in a period."""

    replicas: Count | None = None
    percent: Count | None = None
    period_s: Positive = 60.0


class Select(enum.StrEnum):
    """Which of several rate limits counts, as Kubernetes' HorizontalPodAutoscaler names them."""

    MAX = "Max"
    MIN = "Min"
    DISABLED = "Disabled"


class Direction(_Part, frozen=True):
    """How fast a pool may change one way (HorizontalPodAutoscaler v2 `behavior` semantics)."""

    stabilization_s: NonNegative = 0.0
    tolerance: NonNegative = 0.1
    limits: tuple[RateLimit, ...] = ()
    select: Select = Select.MAX


# Up at once, doubling or four replicas in 15 s, as Kubernetes does by default.
DEFAULT_UP = Direction(
    limits=(RateLimit(percent=100, period_s=15.0), RateLimit(replicas=4, period_s=15.0))
)
# Down after one quiet minute, then by half or by one a minute. Kubernetes waits for five, since its
# metrics are noisy and nothing else holds it back; here rates are steadied, and the veto asks for
# each step whether it would be undone. On simulated days the four minutes more cost 3 to 5 % of the
# GPU-hours and kept nobody in time.
DEFAULT_DOWN = Direction(
    stabilization_s=60.0,
    limits=(RateLimit(percent=50, period_s=60.0), RateLimit(replicas=1, period_s=60.0)),
)


class Behavior(_Part, frozen=True):
    """Both directions."""

    up: Direction = DEFAULT_UP
    down: Direction = DEFAULT_DOWN


class ZeroSpec(_Part, frozen=True):
    """Scale to zero after `idle_s` without a request (None: never), and what gateways hold then."""

    idle_s: Positive | None = None
    hold_requests: Count = 256
    hold_bytes: Count = 67_108_864
    hold_s: Positive = 300.0


class DrainSpec(_Part, frozen=True):
    """How long a victim may finish what it runs before it is taken all the same."""

    deadline_s: NonNegative = 300.0


class ForecastSpec(_Part, frozen=True):
    """Whether demand is foreseen. `season_s` are the periods it repeats in (a day, a week)."""

    enabled: bool = True
    season_s: tuple[Positive, ...] = (86_400.0, 604_800.0)
    burst_z: NonNegative = 1.0


class HotSpotSpec(_Part, frozen=True):
    """When a hot prefix gets more owners, and how much that may cost.

    `imbalance` is an endpoint's load over the mean at which it counts as hot, `hold_s` how long it
    must stay so, `cool_s` how long it must be calm before a move is undone. `budget_tokens` is what
    may be prefilled again for moves in `interval_s`. A new owner of a prefix is given `prewarm_s`
    to be made warm before it is sent anything; 0: it owns it at once.
    """

    enabled: bool = True
    imbalance: Annotated[float, msgspec.Meta(gt=1)] = 1.5
    hold_s: NonNegative = 60.0
    cool_s: NonNegative = 600.0
    budget_tokens: NonNegative = 2_000_000.0
    interval_s: Positive = 600.0
    max_owners: Annotated[int, msgspec.Meta(ge=2, le=16)] = 8
    prewarm_s: Annotated[float, msgspec.Meta(ge=0, le=300)] = 0.0


class FailureSpec(_Part, frozen=True):
    """When an engine that is up counts as wrong, and how often it may be restarted for it."""

    enabled: bool = True
    after_s: NonNegative = 60.0
    error_share: Share = 0.5
    max_restarts: Count = 3
    interval_s: Positive = 3600.0


class RatioSpec(_Part, frozen=True):
    """Bounds on prefill over decode replicas, for fleets that have both."""

    min: Positive = 0.1
    max: Positive = 10.0


class ScalingSpec(_Part, frozen=True):
    """All of it. `cold_start_s` is assumed until starts have been seen."""

    pools: tuple[PoolSpec, ...]
    slo: SloSpec = SloSpec()
    policies: tuple[AnyScalingPolicy, ...] = (Slo(),)
    behavior: Behavior = Behavior()
    forecast: ForecastSpec = ForecastSpec()
    zero: ZeroSpec = ZeroSpec()
    drain: DrainSpec = DrainSpec()
    hot_spots: HotSpotSpec = HotSpotSpec()
    failures: FailureSpec = FailureSpec()
    ratio: RatioSpec | None = None
    cold_start_s: Positive = 150.0
    pending_deadline_s: Positive = 900.0
    priority: int = 0
