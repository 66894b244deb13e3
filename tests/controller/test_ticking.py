"""Ticks over fakes: a fleet at rest costs nothing, and a fault stays where it is."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest
from cardan.instants import WallTime
from cardan.scaling.budget import Budget
from cardan_controller.carrying import home_of
from cardan_controller.cluster.others import Autoscaler
from cardan_controller.cluster.targets import TargetRef
from cardan_controller.gathering import by_target, claims, gather
from cardan_controller.wakes import WakeRequest
from cardan_kube.reflector import Fault

from tests.controller.scene import Scene, what
from tests.fakes.waiting import settle, until

KEY = ("n", "llama")
THROUGHPUT = [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}]
AT_ONCE = {"stabilizationWindowSeconds": 0, "limits": [{"replicas": 100, "periodSeconds": 1}]}
IMPATIENT = {"scaleUp": AT_ONCE, "scaleDown": AT_ONCE}


async def ticks(scene: Scene, count: int, noise: random.Random | None = None) -> None:
    """So many, under the load of five requests and 1500 tokens a second."""
    for _ in range(count):
        scene.load(5.0, 1500.0, noise=noise)
        await scene.tick()


@pytest.mark.parametrize("policies", [THROUGHPUT, [{"type": "slo"}]])
async def test_a_steady_fleet_is_written_nothing_in_an_hour(policies: Any) -> None:
    scene = Scene()
    scene.fleet(policies=policies)
    noise = random.Random(7)
    await ticks(scene, 2 * 240, noise)  # what is learned settles within two hours
    scene.api.writes.clear()
    await ticks(scene, 240, noise)
    assert [what(request) for request in scene.api.writes] == []


async def test_a_new_leader_of_a_steady_fleet_writes_nothing() -> None:
    scene = Scene()
    scene.fleet(policies=THROUGHPUT)
    await ticks(scene, 2 * 240)
    told: Any = scene.api.written("status")[-1].body
    scene.fleet(policies=THROUGHPUT, status=told["status"])
    scene.ticker = scene.operator()
    scene.api.writes.clear()
    await ticks(scene, 20)
    assert [what(request) for request in scene.api.writes] == []


async def test_a_fault_with_one_fleet_leaves_the_others_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(replicas=1)
    scene.fleet("a", policies=THROUGHPUT)
    scene.fleet("llama", policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    whole = scene.target

    def target(ref: Any) -> Any:
        if len(calls) == 0:
            calls.append(ref)
            raise ZeroDivisionError
        return whole(ref)

    calls: list[Any] = []
    monkeypatch.setattr(scene, "target", target)
    await scene.tick()
    assert scene.replicas["llama"] == 3
    assert scene.telemetry.failures._value.get() == 1
    await scene.tick()
    assert scene.telemetry.failures._value.get() == 1


async def test_nothing_is_written_once_the_lease_is_lost() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.hold = asyncio.Event()
    tick = asyncio.create_task(scene.tick())
    await until(lambda: scene.ticker.decisions)
    scene.leads = False
    scene.api.hold.set()
    await tick
    assert [what(request) for request in scene.api.writes] == ["scale"]  # it was under way
    await scene.tick()
    assert [what(request) for request in scene.api.writes] == ["scale"]


async def test_a_race_is_looked_at_again_and_a_refusal_is_told() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.refuse = {"scale": Fault.CONFLICT}
    assert await scene.tick() == {KEY}
    scene.api.refuse = {"scale": Fault.FORBIDDEN}
    assert await scene.tick() == set()
    told: Any = scene.api.written("status")[-1].body
    able = next(c for c in told["status"]["conditions"] if c["type"] == "AbleToScale")
    assert (able["status"], able["reason"]) == ("False", "WriteFailed")
    assert "scale is refused" in able["message"]
    scene.api.refuse = {}
    await scene.tick()
    assert scene.replicas["llama"] == 3


async def test_a_status_that_was_not_written_is_written_by_the_next_tick() -> None:
    scene = Scene()
    scene.fleet(policies=THROUGHPUT)
    scene.api.refuse = {"status": Fault.UNREACHABLE}
    await ticks(scene, 1)
    assert not scene.api.written("status")
    scene.api.refuse = {}
    await ticks(scene, 1)
    assert scene.api.written("status")


async def test_ticks_over_one_fleet_do_not_meet() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.hold = asyncio.Event()
    tick = asyncio.create_task(scene.tick())
    await until(lambda: scene.ticker.decisions)
    assert await scene.tick(0.1, only={KEY}) == {KEY}
    scene.api.hold.set()
    await tick
    assert len(scene.api.written("scale")) == 1
    assert await scene.tick(0.1, only={KEY}) == set()


async def test_a_push_for_a_fleet_that_sleeps_is_done_when_it_is_scaled() -> None:
    scene = Scene(replicas=0)
    scene.fleet(policies=THROUGHPUT, scaleToZero={"idleSeconds": 60}, pool={"minReplicas": 0})
    scene.load(0.0, 0.0)
    await scene.tick()
    assert scene.overlays["n/llama"].models["m"].dormant is not None
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.1))
    scene.api.refuse = {"scale": Fault.OVERLOADED}
    await scene.tick(0.5, only={KEY})
    assert scene.wakes.requested_at("n", "m", scene.now) is not None
    scene.api.refuse = {}
    await scene.tick(0.5, only={KEY})
    assert scene.replicas["llama"] == 1
    assert scene.wakes.requested_at("n", "m", scene.now) is None


async def test_a_fleet_deleted_in_mid_tick_leaves_no_overlay() -> None:
    scene = Scene(replicas=2)
    fleet = scene.fleet(replicas=1)
    scene.load(5.0, 500.0)
    scene.api.hold = asyncio.Event()
    tick = asyncio.create_task(scene.tick())
    await until(lambda: scene.ticker.decisions)
    forgotten = asyncio.create_task(scene.forget(fleet))
    await settle()
    scene.api.hold.set()
    await tick
    await forgotten
    assert scene.overlays == {}
    await scene.tick()
    assert scene.overlays == {}


async def test_a_fleet_made_anew_under_a_name_remembers_nothing() -> None:
    scene = Scene()
    fleet = scene.fleet(policies=THROUGHPUT)
    await ticks(scene, 3)
    scene.fleets.changed(fleet, deleted=True)
    scene.fleet(policies=THROUGHPUT, uid="another")
    scene.api.writes.clear()
    await ticks(scene, 1)
    assert scene.api.written("status")


async def test_a_scale_changed_by_hand_is_ours_again_when_we_change_it() -> None:
    scene = Scene(replicas=2)
    scene.fleet(replicas=2)
    await ticks(scene, 2)
    scene.replicas["llama"], scene.writers["llama"] = 1, ("kubectl",)
    await ticks(scene, 1)
    told: Any = scene.api.written("status")[-1].body
    assert told["status"]["pools"][0]["manual"] == "kubectl"
    assert scene.replicas["llama"] == 2
    await ticks(scene, 1)
    told = scene.api.written("status")[-1].body
    assert "manual" not in told["status"]["pools"][0]


async def test_a_refused_specification_is_told_once() -> None:
    scene = Scene()
    scene.fleet(policies=[{"type": "slo", "slo": {"nonsense": 1}}])
    await ticks(scene, 3)
    assert [what(request) for request in scene.api.writes] == ["status", "events"]


async def test_who_shares_a_budget_is_counted_though_only_another_is_looked_at() -> None:
    scene = Scene(replicas=1, budgets={"gpus": _budget(4)})
    scene.replicas |= {"other": 1}
    scene.writers |= {"other": ()}
    ref: dict[str, Any] = {
        "budgetRef": {"name": "gpus"},
        "policies": THROUGHPUT,
        "behavior": IMPATIENT,
    }
    other = {"scaleTargetRef": {"kind": "Deployment", "name": "other"}}
    scene.fleet("llama", **ref)
    scene.fleet("other", pool=other, **ref)
    scene.load(5.0, 4500.0)
    await scene.tick()
    assert sum(scene.replicas.values()) == 4
    await scene.tick(1.0, only={KEY})
    assert sum(scene.replicas.values()) == 4


async def test_a_new_leader_counts_what_others_have_though_it_has_looked_at_none_of_them() -> None:
    scene = Scene(replicas=0, budgets={"gpus": _budget(3)})
    scene.replicas |= {"other": 3}
    scene.writers |= {"other": ()}
    ref: dict[str, Any] = {"budgetRef": {"name": "gpus"}, "policies": THROUGHPUT}
    other = {"scaleTargetRef": {"kind": "Deployment", "name": "other"}}
    gone = {"scaleTargetRef": {"kind": "LeaderWorkerSet", "name": "far"}}
    scene.fleet(scaleToZero={"idleSeconds": 60}, pool={"minReplicas": 0}, **ref)
    scene.fleet("other", pool=other, **ref)
    scene.load(0.0, 0.0)
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.1))
    await scene.tick(0.5, only={KEY})
    assert scene.replicas["llama"] == 0
    status = {"pools": [{"name": "main", "current": 2, "desired": 2}]}
    scene.fleet("other", pool=gone, status=status, **ref)  # its scale cannot be read now
    scene.wakes.note(WakeRequest("n", "m"), WallTime(scene.now + 0.1))
    await scene.tick(0.5, only={KEY})
    assert scene.replicas["llama"] == 1


async def test_a_fault_while_budgets_are_shared_leaves_no_fleet_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = Scene(replicas=1, budgets={"gpus": _budget(4)})
    scene.fleet(budgetRef={"name": "gpus"}, policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    with monkeypatch.context() as patched:
        patched.setattr("cardan.scaling.budget.share", _broken)
        with pytest.raises(ExceptionGroup):
            await scene.tick()
    assert await scene.tick() == set()  # nobody is busy
    assert scene.replicas["llama"] > 1


def _broken(*_: Any, **__: Any) -> Any:
    raise ZeroDivisionError


def _budget(gpus: float) -> Budget:
    """Of GPUs alone."""
    return Budget(name="gpus", gpus=gpus)


def test_fleets_tell_of_changes_that_their_owner_made() -> None:
    scene = Scene()
    scene.fleet()
    scene.fleet(status={"observedGeneration": 1})
    assert scene.pressed == [KEY]
    fleet = scene.fleet(paused=True)
    scene.fleet(paused=True, annotations={"cardan.dev/manual-scale-wins": "true"})
    assert scene.pressed == [KEY] * 3
    scene.fleets.changed(fleet, deleted=True)
    assert scene.fleets.departed() == [KEY]
    assert scene.fleets.departed() == []


async def test_a_former_home_without_an_overlay_holds_nothing_up() -> None:
    scene = Scene(replicas=1)
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT, gateways={"namespace": "other"})
    scene.load(5.0, 500.0)
    await scene.tick()
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT)
    scene.load(5.0, 2500.0)
    scene.api.refuse = {"routingoverlays": Fault.NOT_FOUND}  # there never was one
    await scene.tick()
    assert scene.replicas["llama"] == 3


async def test_a_fleet_that_only_recommends_is_in_nobodys_way() -> None:
    scene = Scene(replicas=1)
    target = TargetRef("n", "apps/v1", "Deployment", "llama")
    first = scene.fleet("a-first", mode="Recommend")
    second = scene.fleet("b-second")
    homes = [(home_of(fleet), fleet.spec) for fleet in (first, second) if fleet.spec is not None]
    claimed = claims([first, second])
    assert claimed == {target: "n/b-second"}
    scaler = by_target([Autoscaler("keda-hpa", target)])
    cluster = scene.cluster()._replace(autoscalers=scaler, claimed=claimed)
    conflicts = [gather(cluster, home, spec, (), scene.now).conflict for home, spec in homes]
    assert conflicts[0] == ""
    assert "keda-hpa" in conflicts[1]


async def test_a_target_stays_with_the_fleet_that_was_there_first() -> None:
    scene = Scene()
    target = TargetRef("n", "apps/v1", "Deployment", "llama")
    newer = scene.fleet("a-newer", created="2026-11-21T10:00:01Z")
    older = scene.fleet("b-older", created="2026-11-21T10:00:00Z")
    same = scene.fleet("c-same", created="2026-11-21T10:00:00Z")
    assert claims([newer, same, older]) == {target: "n/b-older"}


async def test_a_budget_that_the_configuration_has_not_is_told() -> None:
    scene = Scene(replicas=1, budgets={"gpus": _budget(4)})
    scene.fleet(policies=THROUGHPUT, budgetRef={"name": "watts"})
    await ticks(scene, 1)
    assert _condition(scene, "ScalingLimited")[:2] == ("Unknown", "UnknownBudget")
    assert "'watts'" in _condition(scene, "ScalingLimited")[2]
    scene.fleet(policies=THROUGHPUT, budgetRef={"name": "gpus"})
    await ticks(scene, 1)
    assert _condition(scene, "ScalingLimited")[0] != "Unknown"


async def test_a_number_that_is_given_is_the_reason_that_is_told() -> None:
    scene = Scene(replicas=2)
    scene.fleet(policies=THROUGHPUT, replicas=3)
    await ticks(scene, 2)
    told: Any = scene.api.written("status")[0].body
    (decision,) = told["status"]["lastDecisions"]
    assert (decision["to"], decision["reason"]) == (3, "SpecReplicas")
    assert decision["message"] == "spec.replicas: 3"
    assert _condition(scene, "ScalingLimited")[:2] == ("False", "DesiredWithinRange")


def _condition(scene: Scene, type_: str) -> tuple[str, str, str]:
    """Status, reason and message, as they were told last."""
    told: Any = scene.api.written("status")[-1].body
    found = next(one for one in told["status"]["conditions"] if one["type"] == type_)
    return found["status"], found["reason"], found.get("message", "")


async def test_who_acts_no_more_lets_its_drains_go() -> None:
    scene = Scene(replicas=3)
    down = {"scaleDown": {"stabilizationWindowSeconds": 0}}
    scene.fleet(policies=THROUGHPUT, behavior=down)
    scene.load(5.0, 2500.0)
    await scene.tick()
    scene.load(5.0, 100.0)
    for _ in range(20):
        await scene.tick()
        if scene.api.written("pods"):
            break
    assert scene.overlays["n/llama"].models["m"].draining
    marked = len(scene.api.written("pods"))
    scene.fleet(policies=THROUGHPUT, behavior=down, mode="Recommend")
    await scene.tick()
    assert not scene.overlays
    known = scene.ticker._known[KEY]
    assert not known.memory.drains.victims
    assert marked
