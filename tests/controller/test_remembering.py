"""Ticks that end in the middle: what was written is remembered, what was not has not happened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import pytest
from cardan.instants import WallTime
from cardan.scaling.drain import DrainMemory, Victim
from cardan.scaling.failing import Failing, FailingMemory, Fault
from cardan.scaling.memory import Memory
from cardan.scaling.orders import Limits
from cardan_controller.cluster.others import DisruptionBudget
from cardan_controller.cluster.selectors import Selector
from cardan_controller.disruptions import SharedDisruptions
from cardan_controller.planning import Scaling, Write
from cardan_controller.remembering import remembered
from cardan_kube import reflector
from cardan_kube.writing import Collection, delete

from tests.controller.scene import Scene
from tests.controller.test_ticking import KEY, THROUGHPUT

if TYPE_CHECKING:
    from cardan_controller.cluster.targets import TargetFacts, TargetRef

NOW = WallTime(1_800_000_000.0)
NOTHING = delete(Collection("", "v1", "pods", "n").object("x"))
AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}
TWO: dict[str, Any] = {
    "policies": THROUGHPUT,
    "behavior": IMPATIENT,
    "drain": {"deadlineSeconds": 30},
    "pools": [
        {"name": name, "scaleTargetRef": {"kind": "Deployment", "name": name}, "maxReplicas": 8}
        for name in ("a", "b")
    ],
}


def victim(pod: str, pool: str, *, released: bool) -> Victim:
    """One that is to go, or goes now."""
    at = NOW if released else None
    return Victim(
        pod=pod,
        pool=pool,
        since=WallTime(NOW - 60),
        empty_at=NOW,
        released_at=at,
        replicas=1 if released else None,
    )


def scale(pool: str) -> Write:
    """A scale to be written."""
    return Write("scale", NOTHING, pool, 1)


class TestMemory:
    """The parts of a memory."""

    BEFORE = Memory(drains=DrainMemory((victim("a", "p", released=False),)))
    AFTER = Memory(
        drains=DrainMemory((victim("a", "p", released=True), victim("b", "q", released=True)))
    )

    def test_all_that_was_written_is_remembered(self) -> None:
        assert remembered(self.BEFORE, self.AFTER, []) == self.AFTER

    def test_nothing_is_where_gateways_were_not_told(self) -> None:
        undone = [Write("overlay", NOTHING), scale("p")]
        assert remembered(self.BEFORE, self.AFTER, undone) is self.BEFORE

    def test_who_is_released_by_a_scale_that_was_not_written_drains_still(self) -> None:
        first, second = remembered(self.BEFORE, self.AFTER, [scale("q")]).drains.victims
        assert (first.released_at, first.replicas) == (NOW, 1)
        assert (second.released_at, second.replicas, second.empty_at) == (None, None, NOW)

    def test_who_was_released_before_stays_so(self) -> None:
        known = remembered(self.AFTER, self.AFTER, [scale("p"), scale("q")])
        assert known == self.AFTER

    def test_a_restart_that_was_not_made_counts_for_nothing(self) -> None:
        silent = Failing(pod="a", fault=Fault.SILENT, since=NOW, cordoned_at=NOW)
        other = Failing(pod="b", fault=Fault.SILENT, since=NOW, cordoned_at=NOW, restarted_at=NOW)
        earlier = WallTime(NOW - 600)
        before = Memory(failing=FailingMemory((silent,), (earlier,)))
        restarted = Failing(
            pod="a", fault=Fault.SILENT, since=NOW, cordoned_at=NOW, restarted_at=NOW
        )
        after = Memory(failing=FailingMemory((restarted, other), (earlier, NOW, NOW)))
        known = remembered(before, after, [Write("restart", NOTHING, pod="a")]).failing
        assert known == FailingMemory((silent, other), (earlier, NOW))


async def shrinking(scene: Scene) -> None:
    """Two pools of which victims drain, and will have had their time at the next tick."""
    scene.replicas = {"a": 3, "b": 3}
    scene.writers = {"a": (), "b": ()}
    fleet = {**TWO, "pools": [{**pool, "minReplicas": 3} for pool in TWO["pools"]]}
    scene.fleet(**fleet)
    scene.load(5.0, 6000.0)
    await scene.tick()
    fleet = {**TWO, "pools": [{**pool, "minReplicas": 2} for pool in TWO["pools"]]}
    scene.fleet(**fleet)
    scene.load(5.0, 100.0)
    for _ in range(10):
        await scene.tick(5.0)
        if {victim.pool for victim in scene.ticker._known[KEY].memory.drains.victims} == {"a", "b"}:
            return
    raise AssertionError("nobody drains")


@pytest.mark.parametrize("fault", [reflector.Fault.OVERLOADED, reflector.Fault.TIMEOUT])
async def test_a_scale_that_was_written_stands_when_the_next_one_fails(
    fault: reflector.Fault,
) -> None:
    scene = Scene()
    await shrinking(scene)
    whole = scene.api.send

    async def send(request: Any) -> bytes:
        scene.api.refuse = {"scale": fault} if "/b/" in request.path else {}
        return await whole(request)

    scene.api.send = send  # type: ignore[method-assign]  # the second pool's scale fails
    await scene.tick(30.0)
    assert scene.replicas == {"a": 2, "b": 3}
    drains = scene.ticker._known[KEY].memory.drains
    (first,), (second,) = drains.of("a"), drains.of("b")
    assert first.released_at is not None
    assert (second.released_at is None) is (fault is reflector.Fault.OVERLOADED)
    told: Any = scene.api.written("status")[-1].body
    able = next(c for c in told["status"]["conditions"] if c["type"] == "AbleToScale")
    assert able["reason"] == "WriteFailed"
    scene.api.send = whole  # type: ignore[method-assign]  # it is well again
    scene.api.refuse = {}
    await scene.tick(1.0)
    assert scene.replicas == {"a": 2, "b": 2}
    assert not scene.ticker._known[KEY].manual


async def test_a_scale_that_tells_no_writer_is_not_changed_by_hand_by_us() -> None:
    """Who led before wrote a step of the way, and ended before it could tell."""
    scene = Scene(replicas=5)
    fleet = scene.fleet(policies=THROUGHPUT)
    status = {"pools": [{"name": "main", "current": 5, "desired": 2}]}
    fleet = scene.fleet(policies=THROUGHPUT, status=status)
    scene.ticker = scene.operator()
    scene.replicas["llama"], scene.writers["llama"] = 4, ()
    scene.load(5.0, 1500.0)
    await scene.tick()
    assert fleet.status.pools[0].manual == ""
    assert not scene.ticker._known[KEY].manual
    scene.replicas["llama"] = 7
    await scene.tick()
    assert scene.ticker._known[KEY].manual == {"main": "somebody"}


class TestSharedBudgets:
    """A PodDisruptionBudget that covers the pools of two fleets."""

    def test_what_one_fleet_takes_the_other_has_not(self) -> None:
        shared = SharedDisruptions()
        limits = {"p": Limits(allowed_disruptions=1, budgets=("both",))}
        assert shared.left_for(("n", "x"), limits) == limits
        shared.note(("n", "x"), limits, DrainMemory((victim("a", "p", released=False),)))
        assert shared.left_for(("n", "x"), limits) == limits
        assert shared.left_for(("n", "y"), limits)["p"].allowed_disruptions == 0
        assert shared.left_for(("m", "y"), limits) == limits
        none = {"p": Limits()}
        assert shared.left_for(("n", "y"), none) == none
        shared.forget(("n", "x"))
        assert shared.left_for(("n", "y"), limits) == limits

    async def test_two_fleets_drain_no_more_together_than_it_allows(self) -> None:
        scene = Scene()
        scene.replicas, scene.writers = {"a": 3, "b": 3}, {"a": (), "b": ()}
        budget = DisruptionBudget("all", "n", Selector((), everything=True), 1)
        whole = scene.cluster
        scene.cluster = lambda: whole()._replace(budgets={"n": [budget]})  # type: ignore[method-assign]
        for name in ("a", "b"):
            target = {"scaleTargetRef": {"kind": "Deployment", "name": name}}
            down = {"scaleDown": {"stabilizationWindowSeconds": 0}}
            scene.fleet(name, replicas=1, pool=target, behavior=down)
        scene.load(5.0, 500.0)
        for _ in range(3):
            await scene.tick(1.0)
            victims = [
                v for known in scene.ticker._known.values() for v in known.memory.drains.victims
            ]
            assert len(victims) == 1


async def test_a_rollout_holds_who_would_go() -> None:
    scene = Scene(replicas=3)
    whole = scene.target

    def target(ref: TargetRef) -> tuple[Scaling, TargetFacts] | str:
        found = whole(ref)
        assert not isinstance(found, str)
        facts = msgspec.structs.replace(found[1], rollout="2 of 4 are new")
        return found[0], facts

    scene.target = target  # type: ignore[method-assign]  # it is rolled out
    scene.fleet(replicas=1)
    scene.load(5.0, 500.0)
    await scene.tick()
    await scene.tick()
    assert scene.replicas["llama"] == 3
    assert not scene.overlays
    told: Any = scene.api.written("status")[-1].body
    limited = next(c for c in told["status"]["conditions"] if c["type"] == "ScalingLimited")
    assert (limited["status"], limited["reason"]) == ("True", "RolloutUnderWay")
    assert "2 of 4 are new" in limited["message"]
