"""A scaling decision is a value that carries its reasons.

Words of `ReasonCode` are what conditions, events, metrics and the status say; they follow
Kubernetes' own (HorizontalPodAutoscaler) where it has one.
"""

from __future__ import annotations

import enum

import msgspec
from cardan.instants import WallTime


class ReasonCode(enum.StrEnum):
    """Why a pool is to have as many replicas as it is."""

    # what was asked for
    SLO_PREFILL = "SloPrefill"  # so many hold the TTFT promise
    SLO_DECODE = "SloDecode"  # so many hold the ITL promise or the KV cache
    FORECAST = "Forecast"  # demand foreseen when a replica started now would be ready
    BURST = "Burst"  # room for the bursts of one cold start
    GUARD = "LatencyGuard"  # measured latency is over, or far under, what is promised
    THROUGHPUT = "Throughput"
    CONCURRENCY = "Concurrency"
    PANIC = "Panic"  # the short window asks for twice what there is: grows only
    UTILISATION = "Utilisation"
    SCHEDULE = "Schedule"
    EXTERNAL = "External"
    WAKE = "Wake"  # somebody waits for an empty fleet
    IDLE = "Idle"  # nobody has asked for long enough: zero
    RATIO = "Ratio"  # the deficient role is raised first
    MIX = "CheapestMix"
    GIVEN = "SpecReplicas"  # somebody else says the number
    # what held it back
    WITHIN_TOLERANCE = "DesiredWithinRange"
    TOO_FEW = "TooFewReplicas"  # raised to the minimum
    TOO_MANY = "TooManyReplicas"  # cut to the maximum
    UP_STABILIZED = "ScaleUpStabilized"
    DOWN_STABILIZED = "ScaleDownStabilized"
    UP_LIMITED = "ScaleUpLimit"
    DOWN_LIMITED = "ScaleDownLimit"
    PENDING_COVERS = "PendingReplicas"  # what is under way covers the demand
    PENDING_OVERDUE = "PendingOverdue"  # what is under way is late and no longer counts
    PENDING_RECALLED = "PendingRecalled"  # what is under way is far too much by now
    CAPACITY_SHORTAGE = "InsufficientCapacity"  # the scheduler finds no node
    CONSOLIDATION_VETO = "WouldScaleUpAgain"  # without one, this would be undone
    SHEDDING = "RequestsShed"  # somebody is turned away: nothing shrinks
    METRICS_MISSING = "MetricsMissing"
    METRICS_STALE = "MetricsStale"
    METRICS_FAILED = "MetricsFailed"
    BUDGET = "OverBudget"
    MANUAL = "ChangedByHand"
    PAUSED = "Paused"
    TARGET_ERROR = "TargetError"
    CLUSTER_STALE = "ClusterStale"  # the cluster has not been heard for a while: nothing shrinks
    # hot spots
    HOT_PREFIX = "HotPrefix"  # a key is more than two endpoints can carry: it gets more owners
    HOT_ENDPOINT = "HotEndpoint"  # an endpoint is busier than the others: it owns less
    MOVE_WARMED = "MoveWarmed"  # new owners have been made warm, or had their time: they own it now
    COOLED = "HotSpotCooled"  # a move is undone, its reason has gone
    MOVE_DROPPED = "MoveDropped"  # a move has lost the endpoints it named
    MOVES_LIMITED = "MovesLimited"  # moves wait for the budget of tokens
    # drains
    DRAINING = "Draining"
    DRAINED = "Drained"  # nothing runs on it any more
    DRAIN_DEADLINE = "DrainDeadline"  # it has had its time
    DRAIN_CANCELLED = "DrainCancelled"  # it is wanted again
    ROLLOUT = "RolloutUnderWay"  # who would go in it is not ours to say: nobody goes
    DRAIN_LIMITED = "DisruptionBudget"  # a PodDisruptionBudget, or the last one, holds it
    # engines that are up but wrong
    CORDONED = "EngineCordoned"
    RESTARTED = "EngineRestarted"
    HEALED = "EngineHealed"
    RESTARTS_LIMITED = "RestartBudget"  # it stays cordoned: enough have been restarted lately
    ALL_FAILING = "EnginesFailTogether"  # too many at once for it to be the engines' fault
    LAST_SERVING = "LastServing"  # it is wrong, and nobody else serves


class ScalingReason(msgspec.Struct, frozen=True):
    """A step that mattered: what it was, in words with the numbers that motivated it."""

    code: ReasonCode
    message: str


class Recommendation(msgspec.Struct, frozen=True):
    """What one policy asks of one role: `replicas` (not rounded up yet), or None: it cannot tell.

    In units of replicas of the role's reference pool (speed 1). `lacking` names inputs that were
    not fresh; then the answer may raise a pool, never lower it. `at_most` caps what all policies
    together ask for (a schedule's window has a maximum).
    """

    replicas: float | None
    reason: ScalingReason
    lacking: tuple[str, ...] = ()
    at_most: float | None = None


class PoolDecision(msgspec.Struct, frozen=True, kw_only=True):
    """How many replicas a pool is to have. `valid` False: do not act, say why."""

    pool: str
    current: int
    desired: int
    valid: bool = True
    reasons: tuple[ScalingReason, ...] = ()


class ScalingDecision(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done with a fleet. Nothing in it is done yet."""

    at: WallTime
    pools: tuple[PoolDecision, ...] = ()
    notes: tuple[ScalingReason, ...] = ()
