"""Drains: the replica whose cache is worth least goes first, and goes when nothing runs on it.

*Who.* First what costs nothing: replicas that are not there yet, pending or unready without work.
Then whom a person has given the lowest deletion cost, as a ReplicaSet would. Then the one whose
cache saves least: the sum, over the keys that are warm on it, of a key's share of the traffic times
the prompt tokens that a request with it saves, divided by how many hold it. Then the one with the
fewest requests in flight, then the newest. A StatefulSet takes its highest ordinals whatever
anybody wants, so there they are the victims.

*How.* A victim drains: the overlay says so, and gateways give it no new key. When a sample of
requests in flight that is younger than that says zero, or `deadline_s` has passed, it is released:
the scale becomes one less. Its pod carries the lowest deletion cost, so that the ReplicaSet takes
this one. What was asked in the meantime counts: a victim is let off when more are wanted again.

*Not.* Not more at once than a PodDisruptionBudget allows, whichever pools it covers, and never the
last replica that serves unless none is wanted. Not while a Deployment is rolled out: a lower scale
is shared then between the replicas of its old template and its new one, and takes some of each,
marked or not. Who drains goes on draining until that has ended, nobody else begins. A pod that
somebody else ends (a node is drained, a spot machine reclaimed) is not there any more: if fewer are
wanted it is the one that goes, and no second one does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.decision import ReasonCode, ScalingReason
from cardan.scaling.disruptions import Disruptions
from cardan.scaling.replicas import Replica, by_pod, least_worth, moment, ordinal_of, pod_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cardan.scaling.observation import Observation, PoolState
    from cardan.scaling.spec import DrainSpec

# The annotation controller.kubernetes.io/pod-deletion-cost of who drains, and of who is released.
# An int32; far below anything that a person sets.
DRAINING_COST: Final = -1_000_000_000
RELEASED_COST: Final = -2_000_000_000
OUR_COSTS: Final = frozenset({DRAINING_COST, RELEASED_COST})
# A deletion cost is set so long before the scale changes, if another victim could be taken instead:
# the ReplicaSet controller sees pods and scales through different watches.
MARK_S: Final = 2.0
# A released replica is terminating within seconds. One that is still there after this was spared:
# another was taken (it was unready), or the scale was raised again.
SPARED_S: Final = 60.0
# Memory lives in an object of the API: not more of one pool drain at once.
MAX_VICTIMS: Final = 16


class Victim(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A replica that is to go.

    `empty_at` is when it had nothing left to do, or had had its time; `released_at` when the scale
    was lowered for it, to `replicas` (None again once the scale has been seen to be so).
    """

    pod: str
    pool: str
    since: WallTime
    empty_at: WallTime | None = None
    released_at: WallTime | None = None
    replicas: int | None = None
    why: str = ""


class DrainMemory(msgspec.Struct, frozen=True, omit_defaults=True):
    """What outlives a tick: who drains."""

    victims: tuple[Victim, ...] = ()

    def goal(self, pool: str, replicas: int) -> int:
        """The scale that a pool of `replicas` is on its way to by its drains."""
        to_come = (v.replicas is not None or v.released_at is None for v in self.of(pool))
        return max(0, replicas - sum(to_come))

    def of(self, pool: str) -> list[Victim]:
        """The victims of a pool."""
        return [victim for victim in self.victims if victim.pool == pool]


class Target(msgspec.Struct, frozen=True, kw_only=True):
    """What is wanted of a pool, and what its scale target is like.

    `allowed_disruptions` is what its PodDisruptionBudgets allow now; None if it has none. `budgets`
    are their names: pools that share one share what it allows. `by_ordinal`: it removes the highest
    ordinal (StatefulSet, LeaderWorkerSet). `rollout` says how far a rollout of it has come; empty
    if there is none. `costs` are deletion costs that somebody else has given its pods; else 0.
    """

    wanted: int
    allowed_disruptions: int | None = None
    budgets: tuple[str, ...] = ()
    by_ordinal: bool = False
    rollout: str = ""
    costs: dict[str, int] = msgspec.field(default_factory=dict)


class DrainPlan(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be so now: scales, endpoints that drain, deletion costs of pods.

    A pod that is not in `costs` is to have none of `OUR_COSTS`.
    """

    scale: dict[str, int] = msgspec.field(default_factory=dict)
    draining: tuple[EndpointId, ...] = ()
    costs: dict[str, int] = msgspec.field(default_factory=dict)


def step(
    spec: DrainSpec,
    targets: Mapping[str, Target],
    observation: Observation,
    memory: DrainMemory,
    now: WallTime,
    *,
    cordoned: Collection[str] = (),
) -> tuple[DrainPlan, DrainMemory, tuple[ScalingReason, ...]]:
    """The next step towards what is wanted of each pool, by its name.

    `cordoned` are pods that are asked nothing (`cardan.scaling.failing`): they go first.
    In a pool of which nothing is wanted now (it is paused), or that cannot be read, all stays as it
    is: who drains still does.
    """
    scale: dict[str, int] = {}
    victims: list[Victim] = []
    notes: list[ScalingReason] = []
    disruptions = Disruptions(
        {name: target.budgets for name, target in targets.items()},
        {name: len(memory.of(name)) for name in targets},
    )
    for name, state in sorted(observation.pools.items()):
        begun, target = memory.of(name), targets.get(name)
        if target is None or state.error:
            victims += begun
            continue
        if state.desired <= target.wanted and not begun:
            scale[name] = target.wanted
            continue
        allowed = disruptions.left_for(name, target.allowed_disruptions)
        target = msgspec.structs.replace(target, allowed_disruptions=allowed)
        pool = _Pool(name, target, state, observation, begun, cordoned, now)
        scale[name] = pool.advance(spec)
        victims += pool.victims
        disruptions.taken[name] = len(pool.victims)
        notes += pool.notes
    kept = DrainMemory(tuple(sorted(victims, key=lambda v: (v.pool, v.since, v.pod))))
    return _plan(scale, kept, observation), kept, tuple(notes)


def _plan(scale: dict[str, int], memory: DrainMemory, observation: Observation) -> DrainPlan:
    costs = {
        victim.pod: DRAINING_COST if victim.empty_at is None else RELEASED_COST
        for victim in memory.victims
    }
    draining = [
        e.id for pod, es in by_pod(observation.endpoints).items() if pod in costs for e in es
    ]
    return DrainPlan(scale=scale, draining=tuple(sorted(draining)), costs=costs)


class _Pool:
    """One pool's tick: victims that are forgotten, let off, chosen, emptied, released, in order."""

    def __init__(
        self,
        name: str,
        target: Target,
        state: PoolState,
        observation: Observation,
        victims: list[Victim],
        cordoned: Collection[str],
        now: WallTime,
    ) -> None:
        self.name = name
        self.target = target
        self.now = now
        self.current = state.desired
        self.victims = victims
        self.notes: list[ScalingReason] = []
        pods = dict(by_pod(e for e in observation.endpoints if e.pool == name))
        for pending in state.pending:
            pods.setdefault(pending.name, [])
        self.replicas = {
            pod: Replica(
                pod,
                endpoints,
                observation.keys,
                cordoned=pod in cordoned,
                deletion_cost=target.costs.get(pod, 0),
            )
            for pod, endpoints in pods.items()
        }
        self._told = state.ready + len(state.pending)
        mine = {victim.pod for victim in victims}
        for ending in {pod_of(id_) for id_ in state.draining} - mine:
            self.replicas.pop(ending, None)

    def advance(self, spec: DrainSpec) -> int:
        """One step; returns what the scale is to be now."""
        self.victims = [kept for victim in self.victims if (kept := self._kept(victim)) is not None]
        excess = self.current - self.target.wanted
        if excess <= 0:
            if excess == 0:
                self._take_leave()
            self._let_off(self._undone())
            return self.target.wanted
        owed = sum(victim.replicas is not None for victim in self.victims)
        if self.target.rollout and self.target.wanted:
            self._wait(spec, excess - owed)
            return self.current - owed
        line = self._line(excess - owed)
        free = min(excess - owed, self._missing() + sum(map(self._is_free, line)))
        self._settle_on(self._chosen(line, excess - owed - free))
        self._empty(spec)
        leaving, released = self._going(line, free)
        scale = self.current - owed - leaving - len(released)
        if self.target.rollout and scale:  # of all at once none is the wrong one
            self._say_of_rollout(excess - owed)
            return self.current - owed
        self._release(released, scale)
        return scale

    def _kept(self, victim: Victim) -> Victim | None:
        """What is left of a victim after what has been seen since."""
        if victim.pod not in self.replicas:
            return None
        if victim.released_at is None:
            return victim
        if self.now - victim.released_at >= SPARED_S:
            self._say(ReasonCode.DRAIN_CANCELLED, f"{victim.pod} was spared, another has gone")
            return None
        is_seen = victim.replicas is not None and self.current <= victim.replicas
        return msgspec.structs.replace(victim, replicas=None) if is_seen else victim

    def _take_leave(self) -> None:
        """Who drains goes, if the scale is lower already and one too many is there still.

        Who led before ended between its write and its memory of it, or a person was at the scale. A
        lower scale takes those that are marked; let off now, they would be taken with work to do.
        """
        gone = sum(v.released_at is not None and v.replicas is None for v in self.victims)
        unready = sum(replica.costs_nothing() for replica in self.replicas.values())
        surplus = len(self.replicas) - self.current - gone - unready
        if self.target.rollout or surplus <= 0:
            return
        active = sorted(self._active(), key=lambda v: (v.empty_at is None, v.since, v.pod))
        for victim in active[:surplus]:
            self.victims[self.victims.index(victim)] = msgspec.structs.replace(
                victim, released_at=moment(self.now), empty_at=victim.empty_at or moment(self.now)
            )

    def _wait(self, spec: DrainSpec, wanted: int) -> None:
        """For the end of a rollout: who drains still does, as far as it is still wanted."""
        begun = sorted(self._active(), key=lambda v: (v.empty_at is None, v.since, v.pod))
        self._settle_on([victim.pod for victim in begun[: max(0, wanted)]])
        self._empty(spec)
        self._say_of_rollout(wanted)

    def _say_of_rollout(self, wanted: int) -> None:
        if wanted > 0:
            words = f"{self.name}: {wanted} are to go when its rollout has ended"
            self._say(ReasonCode.ROLLOUT, f"{words}: {self.target.rollout}")

    def _undone(self) -> list[Victim]:
        """The victims that can still be let off."""
        return [v for v in self.victims if v.released_at is None or v.replicas is not None]

    def _active(self) -> list[Victim]:
        return [victim for victim in self.victims if victim.released_at is None]

    def _staying(self) -> list[Replica]:
        """Those that have not been released."""
        out = {victim.pod for victim in self.victims if victim.released_at is not None}
        return [replica for replica in self.replicas.values() if replica.name not in out]

    def _is_free(self, replica: Replica) -> bool:
        """It can go at once."""
        return replica.costs_nothing() and all(v.pod != replica.name for v in self.victims)

    def _missing(self) -> int:
        """Replicas that are asked for and not created: they need not be."""
        gone = sum(v.released_at is not None and v.replicas is None for v in self.victims)
        return max(0, self.current - max(len(self.replicas), self._told) + gone)

    def _line(self, excess: int) -> list[Replica]:
        """Those among whom the victims are: all, or the highest ordinals."""
        staying = self._staying()
        if not self.target.by_ordinal:
            return least_worth(staying)
        staying.sort(key=lambda replica: ordinal_of(replica.name), reverse=True)
        return staying[: max(0, excess - self._missing())]

    def _chosen(self, line: Sequence[Replica], wanted: int) -> list[str]:
        """The pods that are to drain: who does already, then who is first in line.

        One that serves stays if any is wanted, and the disruption budget is kept.
        """
        serving = sum(replica.serves for replica in self._staying())
        spare = serving - 1 if self.target.wanted else serving
        allowed = self.target.allowed_disruptions
        released = len(self.victims) - len(self._active())
        most = MAX_VICTIMS if allowed is None else min(MAX_VICTIMS, allowed - released)
        chosen: list[str] = []
        for replica in self._able(line):
            if len(chosen) >= min(wanted, most):
                break
            if not replica.serves or spare:
                spare -= replica.serves
                chosen.append(replica.name)
        if len(chosen) < wanted:
            told = "" if allowed is None else f"; its disruption budget allows {allowed}"
            self._say(
                ReasonCode.DRAIN_LIMITED,
                f"{self.name}: {wanted} more are to go, {len(chosen)} of {serving} that serve"
                f" may drain now{told}",
            )
        return chosen

    def _able(self, line: Sequence[Replica]) -> list[Replica]:
        """Whoever may drain, in order."""
        able = [replica for replica in line if not self._is_free(replica)]
        if self.target.by_ordinal:
            return able
        begun = {v.pod: (v.empty_at is None, v.since, v.pod) for v in self._active()}
        never = (True, float("inf"), "")
        return sorted(able, key=lambda replica: begun.get(replica.name, never))

    def _settle_on(self, pods: Sequence[str]) -> None:
        """Exactly these drain."""
        self._let_off([victim for victim in self._active() if victim.pod not in pods])
        known = {victim.pod for victim in self.victims}
        for pod in pods:
            if pod not in known:
                why = self._why(self.replicas[pod])
                self.victims.append(
                    Victim(pod=pod, pool=self.name, since=moment(self.now), why=why)
                )
                self._say(ReasonCode.DRAINING, f"{pod} drains: {why}")

    def _why(self, replica: Replica) -> str:
        if self.target.by_ordinal:
            return f"{replica.losses(with_cost=False)}, it has the highest ordinal"
        return f"{replica.losses()}, the least of {len(self._staying())}"

    def _let_off(self, victims: Sequence[Victim]) -> None:
        for victim in victims:
            self.victims.remove(victim)
            self._say(ReasonCode.DRAIN_CANCELLED, f"{victim.pod} stays: it is wanted again")

    def _empty(self, spec: DrainSpec) -> None:
        """Victims on which nothing runs, or whose time is over."""
        for place, victim in enumerate(self.victims):
            lasted_s = self.now - victim.since
            if victim.empty_at is not None:
                continue
            if self.replicas[victim.pod].is_empty(victim.since):
                self._say(ReasonCode.DRAINED, f"{victim.pod} is empty after {lasted_s:.0f} s")
            elif lasted_s >= spec.deadline_s:
                had = f"{victim.pod} has had its {spec.deadline_s:.0f} s"
                left = self.replicas[victim.pod].running()
                self._say(ReasonCode.DRAIN_DEADLINE, f"{had}: {left} may still run on it")
            else:
                continue
            self.victims[place] = msgspec.structs.replace(victim, empty_at=moment(self.now))

    def _going(self, line: Sequence[Replica], free: int) -> tuple[int, list[Victim]]:
        """How many go that cost nothing, and which victims go, now."""
        active = {victim.pod: victim for victim in self._active()}
        if not self.target.by_ordinal:
            return free, [v for v in active.values() if self._is_next(v, list(active.values()))]
        count, released = min(free, self._missing()), []
        for replica in line:  # from the highest ordinal down, as far as they can go
            victim = active.get(replica.name)
            if victim is not None and victim.empty_at is not None:
                released.append(victim)
            elif self._is_free(replica):
                count += 1
            else:
                break
        return count, released

    def _is_next(self, victim: Victim, active: Sequence[Victim]) -> bool:
        """It is empty, and it is the one that a lower scale will take."""
        if victim.empty_at is None:
            return False
        return self.now - victim.empty_at >= MARK_S or all(v.empty_at is not None for v in active)

    def _release(self, victims: Sequence[Victim], scale: int) -> None:
        for victim in victims:
            self.victims[self.victims.index(victim)] = msgspec.structs.replace(
                victim, released_at=moment(self.now), replicas=scale
            )

    def _say(self, code: ReasonCode, message: str) -> None:
        self.notes.append(ScalingReason(code, message))
