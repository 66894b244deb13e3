"""Of two operators that both lead, one keeps a fleet, and the other takes it when it has gone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cardan_controller.crds.documents import read_fleet
from cardan_controller.crds.status import FleetStatus
from cardan_controller.election import LeaseConfig
from cardan_controller.keeping import Keepers
from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault
from prometheus_client import generate_latest

from tests.controller.scene import Scene, what
from tests.controller.test_ticking import IMPATIENT, KEY, THROUGHPUT

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan_controller.crds.documents import Fleet
    from cardan_kube.api import Request

OURS = "here/cardan-controller"
OTHER = "there/cardan-controller"
LEASE_S = 15.0


class Leases:
    """An API server with the other operator's Lease. `namespaces` are those it looks after."""

    def __init__(self) -> None:
        self.version = 1
        self.holder = "pod-1"
        self.duration_s = LEASE_S
        self.namespaces = ""
        self.fault: Fault | None = None
        self.asked: list[str] = []

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `Api`."""
        assert not query
        self.asked.append(path)
        if self.fault is not None:
            raise ApiError(self.fault, "not now")
        annotations = {"cardan.dev/namespaces": self.namespaces}
        spec = {"holderIdentity": self.holder, "leaseDurationSeconds": int(self.duration_s)}
        meta = {"resourceVersion": str(self.version), "annotations": annotations}
        return json.dumps({"metadata": meta, "spec": spec}).encode()

    async def send(self, request: Request) -> bytes:
        """Nothing is written here."""
        raise AssertionError(request)


def fleet(operator: str) -> Fleet:
    """One that this operator keeps."""
    manifest = {
        "metadata": {"name": "llama", "namespace": "n"},
        "spec": {"model": "m", "pools": []},
        "status": {"operator": operator},
    }
    return read_fleet(json.dumps(manifest).encode())


class World:
    """Our operator, which reads the other's Lease every fifteen seconds."""

    def __init__(self) -> None:
        self.leases = Leases()
        self.now = 0.0
        self.keepers = Keepers(self.leases, OURS, lambda: self.now)

    async def later(self, after_s: float = 15.0, operator: str = OTHER) -> str:
        """Who keeps a fleet, by the next reading."""
        self.now += after_s
        await self.keepers.refresh([fleet(operator)])
        return self.keepers.elsewhere(fleet(operator))


async def test_nobodys_lease_is_asked_for_where_there_is_one_operator() -> None:
    world = World()
    for operator in ("", OURS):
        assert await world.later(operator=operator) == ""
    assert world.leases.asked == []


async def test_an_operator_is_waited_for_while_it_renews_its_lease() -> None:
    world = World()
    assert world.keepers.elsewhere(fleet(OTHER)) == OTHER  # nobody has been asked yet
    for _ in range(10):
        assert await world.later() == OTHER
        world.leases.version += 7
    (path,) = set(world.leases.asked)
    assert path == "/apis/coordination.k8s.io/v1/namespaces/there/leases/cardan-controller"


async def test_one_whose_lease_has_not_changed_for_its_time_is_not() -> None:
    world = World()
    assert await world.later() == OTHER
    assert await world.later(LEASE_S - 0.1) == OTHER
    assert await world.later(0.1) == ""
    world.leases.version += 1  # it is back
    assert await world.later() == OTHER


async def test_an_operator_is_seen_alive_when_its_lease_has_changed() -> None:
    world = World()
    assert not world.keepers.is_alive(OTHER)  # nobody has been asked yet
    await world.later()
    assert not world.keepers.is_alive(OTHER)  # it may have gone long ago
    world.leases.version += 1
    await world.later()
    assert world.keepers.is_alive(OTHER)
    await world.later(LEASE_S - 0.1)
    assert world.keepers.is_alive(OTHER)
    assert not world.keepers.is_alive(OURS)


async def test_one_that_has_let_go_is_waited_for_as_long_as_its_followers_need() -> None:
    world = World()
    assert await world.later() == OTHER
    world.leases.version += 1
    world.leases.holder, world.leases.duration_s = "", 1.0  # what who resigns writes
    assert await world.later() == OTHER
    assert not world.keepers.is_alive(OTHER)
    assert await world.later() == ""


async def test_a_time_without_answers_says_nothing_of_the_other() -> None:
    world = World()
    assert await world.later() == OTHER
    world.leases.fault = Fault.TIMEOUT
    for _ in range(10):
        assert await world.later() == OTHER
    world.leases.fault = None
    world.leases.version += 1
    assert await world.later() == OTHER


async def test_a_lease_that_is_gone_keeps_nobody_back() -> None:
    world = World()
    assert await world.later() == OTHER
    world.leases.fault = Fault.NOT_FOUND
    assert await world.later() == ""
    assert await world.later(operator="no lease") == ""


async def test_a_lease_that_may_not_be_read_keeps_nobody_back_and_is_told_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    world = World()
    world.leases.fault = Fault.FORBIDDEN
    for _ in range(3):
        assert await world.later() == ""
    assert len([line for line in caplog.messages if OTHER in line]) == 1


@pytest.mark.parametrize(("places", "kept"), [("", True), ("m,n", True), ("m", False)])
async def test_an_operator_that_looks_elsewhere_keeps_no_fleet_here(
    places: str, kept: bool
) -> None:
    world = World()
    world.leases.namespaces = places
    assert bool(await world.later()) is kept


# What a tick does about it


def led() -> Scene:
    """A fleet that wants to grow."""
    scene = Scene(replicas=1, lease=LeaseConfig(namespace="here"))
    scene.others = {OTHER}
    return scene


def appears(scene: Scene, operator: str) -> None:
    """The fleet, as that operator keeps it."""
    status: dict[str, Any] = {"operator": operator} if operator else {}
    scene.fleet(policies=THROUGHPUT, behavior=IMPATIENT, status=status)


def said(scene: Scene) -> list[str]:
    """Reasons of the events that were written."""
    bodies: list[Any] = [request.body for request in scene.api.written("events")]
    return [body["reason"] for body in bodies]


async def test_a_status_names_the_operator_that_keeps_the_fleet() -> None:
    scene = led()
    appears(scene, "")
    scene.load(5.0, 2500.0)
    await scene.tick()
    told: Any = scene.api.written("status")[-1].body
    assert told["status"]["operator"] == OURS
    assert scene.replicas["llama"] == 3


async def test_who_finds_another_keeper_writes_nothing_but_an_event_and_that_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = led()
    appears(scene, OTHER)
    told: list[str] = []
    whole = scene.ticker._carrier.stand_back

    async def stand_back(fleet: Fleet, keeper: str, *rest: Any) -> None:
        told.append(keeper)
        await whole(fleet, keeper, *rest)

    monkeypatch.setattr(scene.ticker._carrier, "stand_back", stand_back)
    for _ in range(3):
        scene.load(5.0, 2500.0)
        await scene.tick()
    assert told == [OTHER]
    assert [what(request) for request in scene.api.writes] == ["events"]
    assert said(scene) == ["KeptElsewhere"]
    assert scene.ticker.decisions == {}
    assert scene.telemetry.elsewhere._value.get() == 1


async def test_it_stands_back_silently_from_one_that_may_have_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    scene = led()
    scene.unsure = {OTHER}
    appears(scene, OTHER)
    scene.load(5.0, 2500.0)
    await scene.tick()
    assert scene.api.writes == []
    assert scene.ticker.decisions == {}
    assert "stands back" not in caplog.text
    scene.unsure.clear()  # its Lease was renewed
    await scene.tick()
    await scene.tick()
    assert said(scene) == ["KeptElsewhere"]
    assert caplog.text.count("stands back") == 1


async def test_it_takes_the_fleet_over_when_the_other_is_silent() -> None:
    scene = led()
    appears(scene, OTHER)
    scene.load(5.0, 2500.0)
    await scene.tick()
    scene.others.clear()
    await scene.tick()
    assert scene.replicas["llama"] == 3
    told: Any = scene.api.written("status")[-1].body
    assert told["status"]["operator"] == OURS
    assert scene.telemetry.elsewhere._value.get() == 0


async def test_who_comes_back_after_that_stands_back_and_nobody_undoes_anything() -> None:
    scene = led()
    appears(scene, "")
    scene.load(5.0, 2500.0)
    await scene.tick()
    assert KEY in scene.ticker.decisions
    appears(scene, OTHER)
    scene.api.writes.clear()
    for _ in range(3):
        scene.load(5.0, 100.0)
        await scene.tick()
    assert [what(request) for request in scene.api.writes] == ["events"]
    assert scene.ticker.decisions == {}
    assert b"cardan_fleet_replicas{" not in generate_latest(scene.telemetry.registry)


async def test_fleets_are_counted_by_who_looks_after_them_also_when_they_go() -> None:
    scene = led()
    appears(scene, "")
    theirs = scene.fleet("theirs", status={"operator": OTHER})

    def counted() -> tuple[float, float]:
        return scene.telemetry.fleets._value.get(), scene.telemetry.elsewhere._value.get()

    await scene.tick()
    assert counted() == (1, 1)
    await scene.tick(1.0, only={KEY})
    assert counted() == (1, 1)
    scene.fleets.changed(theirs, deleted=True)
    await scene.tick()
    assert counted() == (1, 0)


async def test_a_specification_that_is_wrong_is_its_keepers_to_refuse() -> None:
    scene = led()
    scene.fleet(policies=[{"type": "nonsense"}], status={"operator": OTHER})
    await scene.tick()
    assert [what(request) for request in scene.api.writes] == ["events"]


async def test_a_refusal_claims_no_fleet_that_another_operator_could_look_after() -> None:
    scene = led()
    wrong = scene.fleet(policies=[{"type": "nonsense"}], version="7")
    await scene.tick()
    told: Any = scene.api.written("status")[-1].body
    assert told["status"]["conditions"]
    assert "operator" not in told["status"]
    assert told["metadata"]["resourceVersion"] == "7"  # it undoes no claim that was made meanwhile
    scene.fleets.changed(wrong._replace(status=FleetStatus(operator=OURS)))
    scene.ticker = scene.operator()
    await scene.tick()
    told = scene.api.written("status")[-1].body
    assert told["status"]["operator"] == OURS  # what was ours stays it


async def test_a_refusal_that_comes_too_late_is_made_again_unless_another_has_claimed_it() -> None:
    scene = led()
    wrong = scene.fleet(policies=[{"type": "nonsense"}])
    scene.api.refuse["status"] = Fault.CONFLICT
    await scene.tick()
    scene.api.refuse.clear()
    scene.fleets.changed(wrong._replace(status=FleetStatus(operator=OTHER)))
    await scene.tick()
    assert scene.api.written("status") == []
    scene.others.clear()
    await scene.tick()
    assert len(scene.api.written("status")) == 1


async def test_a_fault_as_it_stands_back_from_one_fleet_costs_no_other_anything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = led()
    scene.fleet("a", status={"operator": OTHER})
    appears(scene, "")
    scene.load(5.0, 2500.0)

    async def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(scene.ticker._carrier, "stand_back", broken)
    assert await scene.tick() == set()
    assert scene.replicas["llama"] == 3
    assert scene.telemetry.failures._value.get() == 1


class _EndError(BaseException):
    """Ends a whole tick."""


async def test_a_tick_that_ends_before_a_task_of_it_has_begun_holds_no_fleet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    scene = led()
    scene.fleet("a", status={"operator": OTHER})
    appears(scene, "")
    scene.fleet("wrong", policies=[{"type": "nonsense"}])  # its task is made as the first one ends
    scene.load(5.0, 2500.0)

    async def ends(*_: object) -> None:
        raise _EndError

    monkeypatch.setattr(scene.ticker._carrier, "stand_back", ends)
    with pytest.raises(BaseExceptionGroup):
        await scene.tick()
    assert scene.api.writes == []
    assert await scene.tick() == set()  # nobody is busy
    assert scene.replicas["llama"] == 3
    assert len(scene.api.written("status")) == 2
