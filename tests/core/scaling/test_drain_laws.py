"""Drains, whatever happens: they end, and take neither the last one nor too many."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec
from cardan.scaling.drain import DrainMemory, DrainPlan
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.scaling.drains import SPEC, Drains
from tests.core.scaling.observed import T0, load, seen

if TYPE_CHECKING:
    from cardan.scaling.observation import KeyMass, Observation


class Pod:
    """A pod of the cluster below."""

    def __init__(self, name: str, born: float, cold_s: float) -> None:
        self.name = name
        self.born = born
        self.ready_at = born + cold_s
        self.in_flight = 0
        self.cost = 0
        self.ends_at: float | None = None


class Cluster:
    """A ReplicaSet as Kubernetes keeps one: who is taken first, and how."""

    def __init__(self, replicas: int) -> None:
        self.now = float(T0)
        self.scale = replicas
        self.pods: list[Pod] = []
        self.born = 0
        self.lost_work = 0
        self.reconcile(cold_s=0.0)

    def reconcile(self, cold_s: float = 60.0) -> None:
        """As many pods as are asked for."""
        live = [pod for pod in self.pods if pod.ends_at is None]
        for _ in range(self.scale - len(live)):
            self.born += 1
            self.pods.append(Pod(f"e{self.born:03}", self.now, cold_s))
        surplus = max(0, len(live) - self.scale)
        live.sort(key=lambda pod: (pod.ready_at <= self.now, pod.cost, -pod.born, pod.name))
        for pod in live[:surplus]:
            pod.ends_at = self.now + 30.0

    def evict(self, number: int) -> None:
        """Somebody else ends a pod."""
        live = [pod for pod in self.pods if pod.ends_at is None]
        if live:
            live[number % len(live)].ends_at = self.now + 30.0

    def pass_(self, seconds: float) -> None:
        """Time goes by."""
        self.now += seconds
        self.pods = [pod for pod in self.pods if pod.ends_at is None or pod.ends_at > self.now]
        self.reconcile()

    def observe(self, keys: tuple[KeyMass, ...] = ()) -> Observation:
        """What the operator sees: pods that terminate are nobody's endpoints."""
        live = [pod for pod in self.pods if pod.ends_at is None]
        loads = [
            load(
                pod.name,
                self.now,
                ready=pod.ready_at <= self.now,
                age_s=self.now - pod.born,
                in_flight=pod.in_flight,
            )
            for pod in live
        ]
        waiting = [pod.name for pod in live if pod.ready_at > self.now]
        return seen(loads, self.now, desired=self.scale, pending=waiting, keys=keys)

    def do(self, plan: DrainPlan) -> None:
        """As the operator would: costs, then scales."""
        for pod in self.pods:
            pod.cost = plan.costs.get(pod.name, 0)
        if plan.scale.get("main", self.scale) != self.scale:
            self.scale = plan.scale["main"]


class Turn(NamedTuple):
    """What happens between two ticks."""

    wanted: int
    seconds: float
    work: tuple[int, ...]
    evict: int | None


turns = st.lists(
    st.builds(
        Turn,
        wanted=st.integers(0, 6),
        seconds=st.sampled_from([5.0, 15.0, 40.0, 120.0]),
        work=st.tuples(*[st.integers(0, 3)] * 3),
        evict=st.none() | st.integers(0, 5),
    ),
    min_size=1,
    max_size=25,
)


@given(st.integers(1, 6), turns, st.none() | st.integers(0, 2))
@settings(max_examples=70, deadline=None)
def test_whatever_happens_drains_end_and_never_take_the_last_or_too_many(
    replicas: int, history: list[Turn], allowed: int | None
) -> None:
    cluster, drains = Cluster(replicas), Drains()
    for turn in history:
        for place, pod in enumerate(cluster.pods):
            pod.in_flight = turn.work[place % 3]
        if turn.evict is not None:
            cluster.evict(turn.evict)
        cluster.pass_(turn.seconds)
        observation = cluster.observe()
        wanted = turn.wanted
        plan = drains.see(wanted, observation, allowed_disruptions=allowed)
        ready = {e.id for e in observation.endpoints if e.ready}
        active = [v for v in drains.memory.victims if v.released_at is None]
        assert plan.scale["main"] >= min(wanted, cluster.scale)
        assert plan.scale["main"] <= max(wanted, cluster.scale)
        assert all(cluster.now - v.since < SPEC.deadline_s or v.empty_at for v in active)
        assert all(v.empty_at is None or cluster.now - v.empty_at <= 0 for v in active)
        assert wanted == 0 or not ready or ready - set(plan.draining) or not active
        assert allowed is None or len(active) <= allowed
        assert drains.memory.goal("main", cluster.scale) >= min(wanted, cluster.scale)
        wire = msgspec.json.decode(msgspec.json.encode(drains.memory), type=DrainMemory)
        assert wire == drains.memory
        cluster.do(plan)


@given(st.integers(1, 6), st.integers(0, 6), st.lists(st.integers(0, 3), min_size=6, max_size=6))
@settings(max_examples=40, deadline=None)
def test_what_is_wanted_is_reached_the_victims_are_taken_and_nothing_else_changes(
    replicas: int, wanted: int, work: list[int]
) -> None:
    cluster, drains = Cluster(replicas), Drains()
    chosen: set[str] = set()
    for _ in range(60):
        cluster.pass_(10.0)
        for pod, number in zip(cluster.pods, work, strict=False):
            pod.in_flight = number
        plan = drains.see(wanted, cluster.observe())
        chosen |= set(plan.draining)
        cluster.do(plan)
    assert cluster.scale == wanted
    assert not drains.memory.victims
    assert len(chosen) == max(0, replicas - wanted)
    left = {pod.name for pod in cluster.pods}
    assert not left & chosen
    assert len(left) == wanted
