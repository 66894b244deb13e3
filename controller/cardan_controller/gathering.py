"""One fleet's part of what the cluster has: pure.

Of everything that is watched: the scale targets of the fleet and what they ask for, their pods, who
else scales them, what disruption budgets allow, what gateways are told now.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.instants import WallTime
from cardan.scaling.decision import PoolDecision, ScalingDecision
from cardan.scaling.observation import PendingReplica, PoolState
from cardan.scaling.orders import Limits

from cardan_controller.cluster.others import same_target
from cardan_controller.cluster.pods import endpoint_of, pool_state
from cardan_controller.cluster.selectors import parse
from cardan_controller.cluster.targets import BY_ORDINAL, TargetRef
from cardan_controller.crds.fleet import Mode
from cardan_controller.observing import Member, Subject
from cardan_controller.planning import Home, Scaling, overlay_name

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

    from cardan.overlay import RoutingOverlay

    from cardan_controller.cluster.others import Autoscaler, DisruptionBudget
    from cardan_controller.cluster.pods import PodFacts, PodIndex
    from cardan_controller.cluster.selectors import Selector
    from cardan_controller.cluster.targets import TargetFacts
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetPool, FleetSpec

# A replica that a controller could not even make has no pod, and so no name.
NOT_MADE: Final = "(not made)"


TargetName = tuple[str, str, str]
"""A target's namespace, kind and name: without the group it is only likely to be the same."""


class Cluster(NamedTuple):
    """What is known of the cluster at one tick; autoscalers and budgets as `by_…` sort them.

    `target` finds a scale target, or says why it cannot be had. `ready_gateways` counts those of a
    namespace, whichever fleet names them. `stale` is why all of it may be too old to shrink by;
    empty while it is not. `kept_elsewhere` names the other operator that keeps a fleet,
    `is_alive` tells whether that one was seen at work.
    """

    pods: PodIndex
    target: Callable[[TargetRef], tuple[Scaling, TargetFacts] | str]
    autoscalers: Mapping[TargetName, Sequence[Autoscaler]]
    budgets: Mapping[str, Sequence[DisruptionBudget]]
    overlay: Callable[[str, str], RoutingOverlay | None]
    ready_gateways: Callable[[str], int]
    claimed: Mapping[TargetRef, str]
    with_namespace: bool
    stale: str = ""
    kept_elsewhere: Callable[[Fleet], str] = lambda _: ""
    is_alive: Callable[[str], bool] = lambda _: True


class Part(NamedTuple):
    """One fleet's part. `shares_with` are the fleets that its model's traffic is shared with."""

    home: Home
    subject: Subject
    pools: dict[str, PoolState]
    scalings: dict[str, Scaling]
    limits: dict[str, Limits]
    pods: tuple[PodFacts, ...]
    overlay: RoutingOverlay | None
    conflict: str
    selector: str
    stale: str = ""
    shares_with: tuple[str, ...] = ()

    def with_hands(self, manual: Mapping[str, str]) -> dict[str, PoolState]:
        """The pools, with who has changed them by hand."""
        return {
            name: msgspec.structs.replace(state, manual=manual[name]) if name in manual else state
            for name, state in self.pools.items()
        }


def gather(
    cluster: Cluster,
    fleet: Home,
    spec: FleetSpec,
    draining: Collection[str],
    now: WallTime,
) -> Part:
    """A fleet's part. `draining` are the pods that we have drain."""
    pools: dict[str, PoolState] = {}
    scalings: dict[str, Scaling] = {}
    limits: dict[str, Limits] = {}
    members: list[Member] = []
    every: list[PodFacts] = []
    selectors: list[str] = []
    for pool in spec.pools:
        found = cluster.target(target_of(fleet.namespace, pool))
        if isinstance(found, str):
            pools[pool.name] = PoolState(desired=0, ready=0, error=found)
            continue
        scaling, facts = found
        selector = _selector(pool, facts)
        pods = cluster.pods.find(fleet.namespace, selector)
        leaving = {
            pod.name: endpoint_of(pod, with_namespace=cluster.with_namespace)
            for pod in pods
            if pod.name in draining
        }
        scalings[pool.name] = scaling
        pools[pool.name] = _with_those_not_made(
            pool_state(scaling.replicas, pods, leaving, now), facts
        )
        limits[pool.name] = _limits(pool, facts, cluster.budgets.get(fleet.namespace, ()), pods)
        members += [_member(pod, pool.name, cluster, now) for pod in pods if not pod.leaving]
        every += pods
        selectors.append(selector.text())
    subject = Subject(
        fleet.gateways,
        spec.model,
        tuple(members),
        cluster.ready_gateways(fleet.gateways),
    )
    return Part(
        home=fleet,
        subject=subject,
        pools=pools,
        scalings=scalings,
        limits=limits,
        pods=tuple(every),
        overlay=cluster.overlay(fleet.gateways, overlay_name(fleet)),
        conflict=_conflict(cluster, fleet, spec),
        selector=",".join(selectors) if len(selectors) == 1 else "",
        stale=cluster.stale,
    )


def standing(cluster: Cluster, fleet: Fleet, spec: FleetSpec) -> ScalingDecision:
    """What a fleet has, as a decision that cannot be acted on: nothing was decided for it yet.

    A target that cannot be had now has what the fleet's status says of it.
    """
    told = {pool.name: pool.current for pool in fleet.status.pools}

    def replicas(pool: FleetPool) -> int:
        found = cluster.target(target_of(fleet.meta.namespace, pool))
        return told.get(pool.name, 0) if isinstance(found, str) else found[0].replicas

    counts = {pool.name: replicas(pool) for pool in spec.pools}
    pools = tuple(
        PoolDecision(pool=name, current=count, desired=count, valid=False)
        for name, count in counts.items()
    )
    return ScalingDecision(at=WallTime(0.0), pools=pools)


def in_use(decision: ScalingDecision) -> ScalingDecision:
    """What a fleet has, or was given: nobody takes it back while it is not looked at."""
    pools = tuple(
        msgspec.structs.replace(pool, current=max(pool.current, pool.desired), valid=False)
        for pool in decision.pools
    )
    return msgspec.structs.replace(decision, pools=pools)


def pods_of(cluster: Cluster, fleet: Home, spec: FleetSpec) -> list[PodFacts]:
    """The pods of a fleet that is deleted, but for those that another fleet scales."""
    pods: list[PodFacts] = []
    for pool in spec.pools:
        target = target_of(fleet.namespace, pool)
        found = cluster.target(target)
        if not isinstance(found, str) and target not in cluster.claimed:
            pods += cluster.pods.find(fleet.namespace, _selector(pool, found[1]))
    return pods


def pods_in(cluster: Cluster, fleet: Home, spec: FleetSpec) -> list[PodFacts]:
    """The pods of a fleet's pools, as far as their targets can be had."""
    pods: list[PodFacts] = []
    for pool in spec.pools:
        found = cluster.target(target_of(fleet.namespace, pool))
        if not isinstance(found, str):
            pods += cluster.pods.find(fleet.namespace, _selector(pool, found[1]))
    return pods


def target_of(namespace: str, pool: FleetPool) -> TargetRef:
    """A pool's target by its full name."""
    ref = pool.scale_target_ref
    return TargetRef(namespace, ref.api_version, ref.kind, ref.name)


def _selector(pool: FleetPool, facts: TargetFacts) -> Selector:
    """Which pods are a pool's."""
    return parse(pool.selector.text()) if pool.selector else facts.selector


def _with_those_not_made(state: PoolState, facts: TargetFacts) -> PoolState:
    """Replicas that a quota keeps from being made are pending like those that find no node."""
    missing = state.desired - state.ready - len(state.pending)
    if not facts.refused or missing <= 0:
        return state
    stuck = (PendingReplica(NOT_MADE, facts.refused_at, facts.refused),) * missing
    return msgspec.structs.replace(state, pending=state.pending + stuck)


def _member(pod: PodFacts, pool: str, cluster: Cluster, now: WallTime) -> Member:
    id_ = endpoint_of(pod, with_namespace=cluster.with_namespace)
    return Member(id_, pool, pod.ready_at is not None, max(0.0, now - pod.created_at))


def _limits(
    pool: FleetPool,
    facts: TargetFacts,
    budgets: Sequence[DisruptionBudget],
    pods: Sequence[PodFacts],
) -> Limits:
    """What a pool's target is like, with every disruption budget that covers any of its pods."""
    covering = [
        budget for budget in budgets if any(budget.selector.matches(pod.labels) for pod in pods)
    ]
    return Limits(
        allowed_disruptions=min((budget.allowed for budget in covering), default=None),
        budgets=tuple(sorted(budget.name for budget in covering)),
        by_ordinal=pool.scale_target_ref.kind in BY_ORDINAL,
        rollout=facts.rollout,
        costs={pod.name: pod.own_cost for pod in pods if pod.own_cost},
    )


def _conflict(cluster: Cluster, fleet: Home, spec: FleetSpec) -> str:
    """Who else scales one of the fleet's targets; empty if nobody does, or is meant to."""
    if spec.mode is Mode.RECOMMEND:
        return ""
    name = f"{fleet.namespace}/{fleet.name}"
    for pool in spec.pools:
        target = target_of(fleet.namespace, pool)
        for autoscaler in cluster.autoscalers.get(_name(target), ()):
            if same_target(autoscaler.target, target):
                return (
                    f"the HorizontalPodAutoscaler {autoscaler.name} scales {target.kind}"
                    f" {target.name} too: remove it, or let the fleet only recommend"
                )
        owner = cluster.claimed.get(target, name)
        if owner != name:
            return f"{target.kind} {target.name} belongs to the fleet {owner} already"
    return ""


def by_target(autoscalers: Iterable[Autoscaler]) -> dict[TargetName, list[Autoscaler]]:
    """Autoscalers by what they scale."""
    found: dict[TargetName, list[Autoscaler]] = {}
    for autoscaler in autoscalers:
        found.setdefault(_name(autoscaler.target), []).append(autoscaler)
    return found


def by_namespace(budgets: Iterable[DisruptionBudget]) -> dict[str, list[DisruptionBudget]]:
    """Disruption budgets by their namespace."""
    found: dict[str, list[DisruptionBudget]] = {}
    for budget in budgets:
        found.setdefault(budget.namespace, []).append(budget)
    return found


def _name(target: TargetRef) -> TargetName:
    return target.namespace, target.kind, target.name


def claims(fleets: Iterable[Fleet]) -> dict[TargetRef, str]:
    """Whose each target is: of several fleets that would scale it, the one that was there first.

    Creations have whole seconds: of those of one second it is the first by name.
    """
    claimed: dict[TargetRef, str] = {}
    for fleet in sorted(fleets, key=_seniority):
        if fleet.spec is None or fleet.spec.mode is not Mode.APPLY:
            continue
        namespace, name = fleet.meta.namespace, fleet.meta.name
        for pool in fleet.spec.pools:
            claimed.setdefault(target_of(namespace, pool), f"{namespace}/{name}")
    return claimed


def _seniority(fleet: Fleet) -> tuple[str, str, str]:
    return fleet.meta.creation_timestamp, fleet.meta.namespace, fleet.meta.name
