"""The operator's port: pushes reach the leader, wherever they were sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import pytest
from aiohttp.test_utils import TestClient, TestServer
from cardan.instants import WallTime
from cardan_controller.serving import Port
from cardan_controller.wakes import (
    KEPT_S,
    MAX_UNKNOWN,
    MAX_UNKNOWN_OF_ONE,
    Noted,
    WakeRequest,
    Wakes,
)
from prometheus_client import CollectorRegistry, Counter

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

NOW = WallTime(1_800_000_000.0)
PUSH = {"namespace": "serving", "model": "m"}


class Standing:
    """A replica's standing, as the test wants it."""

    def __init__(self) -> None:
        self.leading, self.url, self.is_ready, self.trouble = True, "", True, ""

    def leads(self) -> bool:
        return self.leading

    def leader_url(self) -> str:
        return self.url

    def ready(self) -> bool:
        return self.is_ready

    def hangs(self) -> str:
        return self.trouble


Client = TestClient[Any, Any]
Start = Callable[[Standing, Wakes], Awaitable[Client]]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Serves a port; closed at the end."""
    clients: list[Client] = []
    registry = CollectorRegistry()
    Counter("ticks", "Ticks.", registry=registry).inc(3)

    async def serve(standing: Standing, wakes: Wakes) -> Client:
        port = Port(standing, wakes, registry, lambda: NOW)
        clients.append(TestClient(TestServer(port.application())))
        await clients[-1].start_server()
        return clients[-1]

    yield serve
    for client in clients:
        await client.close()


async def test_the_leader_notes_a_push_once(start: Start) -> None:
    kicks: list[int] = []
    wakes = Wakes(lambda: kicks.append(1))
    client = await start(Standing(), wakes)
    for _ in range(3):
        assert (await client.post("/v1/wake", json=PUSH)).status == 202
    assert kicks == [1]
    assert wakes.requested_at("serving", "m", NOW) == NOW
    wakes.done("serving", "m")
    await client.post("/v1/wake", json=PUSH)
    assert kicks == [1, 1]


async def test_a_replica_that_waits_sends_the_push_on(start: Start) -> None:
    kicks: list[int] = []
    leader = await start(Standing(), Wakes(lambda: kicks.append(1)))
    other = Standing()
    other.leading, other.url = False, str(leader.make_url("")).rstrip("/")
    client = await start(other, Wakes(lambda: kicks.append(2)))
    assert (await client.post("/v1/wake", json=PUSH)).status == 202
    assert kicks == [1]


async def test_without_a_leader_a_push_is_refused_for_now(start: Start) -> None:
    standing = Standing()
    standing.leading = False
    client = await start(standing, Wakes(lambda: None))
    assert (await client.post("/v1/wake", json=PUSH)).status == 503


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        (b"{}", 400, "namespace"),
        (b"nonsense", 400, "malformed"),
        (b'{"namespace":"a","model":"b","x":1}', 400, "unknown field `x`"),
        (b" " * 5000, 413, ""),
    ],
)
async def test_what_is_no_push_is_refused(
    start: Start, body: bytes, status: int, words: str
) -> None:
    client = await start(Standing(), Wakes(lambda: None))
    answer = await client.post("/v1/wake", data=body)
    assert answer.status == status
    assert words in await answer.text()


async def test_a_replica_that_waits_is_ready(start: Start) -> None:
    standing = Standing()
    standing.leading = False
    client = await start(standing, Wakes(lambda: None))
    assert (await client.get("/livez")).status == 200
    assert (await client.get("/readyz")).status == 200
    standing.is_ready = False
    assert (await client.get("/readyz")).status == 503


async def test_metrics_are_served(start: Start) -> None:
    client = await start(Standing(), Wakes(lambda: None))
    answer = await client.get("/metrics")
    assert "ticks_total 3.0" in await answer.text()
    assert answer.headers["content-type"].startswith("text/plain")


NAMES = [WakeRequest("ns", f"m{i}") for i in range(MAX_UNKNOWN_OF_ONE + 5)]


def test_pushes_that_concern_nobody_are_forgotten_and_bounded_by_sender() -> None:
    dropped: list[int] = []
    wakes = Wakes(lambda: None, lambda *_: False, lambda: dropped.append(1))
    noted = [wakes.note(name, NOW, "a") for name in NAMES]
    assert noted.count(Noted.NEWS) == MAX_UNKNOWN_OF_ONE
    assert noted.count(Noted.DROPPED) == len(dropped) == 5
    assert wakes.note(WakeRequest("ns", "other"), NOW, "b") is Noted.NEWS
    later = WallTime(NOW + KEPT_S + 1)
    assert wakes.requested_at("ns", "m0", later) is None
    assert wakes.note(WakeRequest("ns", "m0"), later, "a") is Noted.NEWS


def test_made_up_names_take_no_fleets_place() -> None:
    wakes = Wakes(lambda: None, lambda _, model: model.startswith("real"))
    for number in range(2 * MAX_UNKNOWN):
        wakes.note(WakeRequest("ns", f"m{number}"), NOW, f"sender-{number}")
    assert wakes.note(WakeRequest("ns", "more"), NOW, "gateway") is Noted.DROPPED
    real = [WakeRequest("ns", f"real-{number}") for number in range(MAX_UNKNOWN)]
    assert {wakes.note(push, NOW, "gateway") for push in real} == {Noted.NEWS}
    assert all(wakes.requested_at("ns", push.model, NOW) == NOW for push in real)


def test_a_push_for_a_fleet_that_is_not_known_yet_waits_for_it() -> None:
    fleets: set[str] = set()
    wakes = Wakes(lambda: None, lambda _, model: model in fleets)
    assert wakes.note(WakeRequest("ns", "m"), NOW) is Noted.NEWS
    fleets.add("m")
    assert wakes.requested_at("ns", "m", NOW) == NOW
    assert wakes.note(WakeRequest("ns", "m"), NOW) is Noted.KNOWN
    wakes.done("ns", "m")
    assert wakes.note(WakeRequest("ns", "m"), NOW) is Noted.NEWS


async def test_a_push_that_finds_no_place_is_refused(start: Start) -> None:
    wakes = Wakes(lambda: None, lambda *_: False)
    client = await start(Standing(), wakes)
    bodies = [{"namespace": push.namespace, "model": push.model} for push in NAMES]
    answers = [(await client.post("/v1/wake", json=body)).status for body in bodies]
    assert answers == [202] * MAX_UNKNOWN_OF_ONE + [429] * 5


async def test_a_tick_that_hangs_ends_the_process(start: Start) -> None:
    standing = Standing()
    client = await start(standing, Wakes(lambda: None))
    assert (await client.get("/livez")).status == 200
    standing.trouble = "a tick over all fleets has not got on for 312 s"
    reply = await client.get("/livez")
    assert (reply.status, await reply.text()) == (503, f"{standing.trouble}\n")
