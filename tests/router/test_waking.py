"""Pushes to the operator: one at a time for each model, again while somebody waits, never in the
way. The other side is the operator's own port.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from typing import TYPE_CHECKING

import pytest
from cardan.fleet import Fleet
from cardan.instants import Monotonic
from cardan.lifecycle import Exchange, Wait
from cardan.overlay import Dormant, ModelOverlay, RoutingOverlay
from cardan.policies import LeastRequest
from cardan.prompt import EMPTY
from cardan.request import Api, RequestView
from cardan.scheduler import Scheduler
from cardan_router import waking
from cardan_router.fetch import Answer, Fetcher
from cardan_router.waking import Wakes

from tests.fakes.operator import Replica, replicas
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

T0 = Monotonic(0.0)


class Bench:
    """A scheduler for which models sleep, and whatever tells the operator."""

    def __init__(self) -> None:
        self.now = 0.0
        self.fleet = Fleet()
        self.scheduler = Scheduler(self.fleet, LeastRequest(), random.Random(1))
        self.told: list[str] = []
        self.fetcher = Fetcher()
        self.wakes = Wakes(
            self.scheduler, self.fetcher, lambda: "ns", lambda: self.now, self.told.append
        )

    def sleep(self, url: str, *models: str) -> None:
        """These models sleep; the operator is at `url`."""
        part = ModelOverlay(dormant=Dormant(wake_url=url))
        self.fleet.apply(RoutingOverlay(models=dict.fromkeys(models, part)), T0)

    def ask(self, model: str) -> Exchange:
        """A request that is held."""
        view = RequestView("r", Api.CHAT, model, EMPTY, True, T0, 5.0, 100)
        exchange = Exchange(self.scheduler, view)
        assert isinstance(exchange.arrive(T0), Wait)
        return exchange

    async def later(self, seconds: float) -> None:
        """Time passes, and the gateway looks."""
        self.now += seconds
        self.wakes.look(Monotonic(self.now))
        await settle()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    """A bench that ends with its test."""
    one = Bench()
    task = asyncio.ensure_future(one.wakes.run())
    yield one
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    one.fetcher.close()


@pytest.fixture
async def operator() -> AsyncIterator[Replica]:
    """An operator of one replica."""
    async with replicas() as (one,):
        yield one


async def test_the_first_who_waits_is_told_at_once_and_the_others_are_not(
    bench: Bench, operator: Replica
) -> None:
    bench.sleep(operator.url + "/", "m")
    for _ in range(5):
        bench.ask("m")
    await until(lambda: bench.told, "a push, without any look")
    assert operator.note("ns", "m")
    await bench.later(0.2)
    assert (operator.asked, bench.told) == (1, ["ok"])


async def test_each_model_is_told_for_itself(bench: Bench, operator: Replica) -> None:
    bench.sleep(operator.url, "m", "n")
    bench.ask("m")
    bench.ask("n")
    await until(lambda: operator.note("ns", "m") and operator.note("ns", "n"), "both")


async def test_a_replica_that_does_not_lead_sends_on_to_the_one_that_does(bench: Bench) -> None:
    async with replicas(2) as (one, leader):
        one.leading, one.leader = False, leader.url
        bench.sleep(one.url, "m")
        bench.ask("m")
        await until(lambda: leader.note("ns", "m"), "the leader to know")
        assert (one.asked, leader.asked) == (1, 1)


async def test_two_replicas_that_send_on_to_each_other_are_not_followed_for_ever(
    bench: Bench,
) -> None:
    async with replicas(2) as (one, other):
        one.leading = other.leading = False
        one.leader, other.leader = other.url, one.url
        bench.sleep(one.url, "m")
        bench.ask("m")
        await until(lambda: bench.told == ["failed"], "it to be given up")
        assert (one.asked, other.asked) == (1, 1)


async def test_what_could_not_be_told_is_told_again_ever_less_often(
    bench: Bench, operator: Replica, caplog: pytest.LogCaptureFixture
) -> None:
    operator.leading = False  # and knows of no leader: 503
    bench.sleep(operator.url, "m")
    bench.ask("m")
    await until(lambda: len(bench.told) == 1, "the first try")
    pauses = []
    for tries in range(2, 9):
        begun = bench.now
        while len(bench.told) < tries:
            await bench.later(0.05)
            await until(lambda: not bench.wakes._pushes["m"].in_the_air, "its end")
        pauses.append(bench.now - begun)
    assert pauses == pytest.approx([0.25, 0.5, 1.0, 2.0, 4.0, 5.0, 5.0], abs=0.06)
    assert len([r for r in caplog.records if "could not be told" in r.message]) == 1
    operator.leading = True
    await bench.later(5.0)
    await until(lambda: operator.note("ns", "m"), "it to get through")


async def test_who_still_waits_is_told_of_again_for_the_operator_may_be_another_by_now(
    bench: Bench, operator: Replica
) -> None:
    bench.sleep(operator.url, "m")
    bench.ask("m")
    await until(lambda: bench.told == ["ok"], "the first")
    await bench.later(waking.AGAIN_S - 1)
    assert operator.asked == 1
    await bench.later(1)
    await until(lambda: bench.told == ["ok", "ok"], "the second")


async def test_when_nobody_waits_nothing_is_told_and_the_next_one_is_the_first_again(
    bench: Bench, operator: Replica
) -> None:
    bench.sleep(operator.url, "m")
    one = bench.ask("m")
    await until(lambda: bench.told == ["ok"], "the first")
    one.client_left(T0)
    await bench.later(10 * waking.AGAIN_S)
    assert operator.asked == 1
    bench.ask("m")
    await until(lambda: bench.told == ["ok", "ok"], "the next one's")


async def test_without_an_address_the_operator_looks_by_itself(bench: Bench) -> None:
    bench.sleep("", "m")
    bench.ask("m")
    await bench.later(1.0)
    assert bench.told == []
    bench.sleep("ftp://operator", "m")
    await bench.later(1.0)
    await until(lambda: bench.told == ["failed"], "an address that is none to be noticed")


async def test_one_that_does_not_answer_is_given_up_and_asked_once_at_a_time(
    bench: Bench, operator: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(waking, "TIMEOUT_S", 0.05)
    silent = await asyncio.start_server(_say_nothing, "127.0.0.1", 0)
    async with silent:
        port = silent.sockets[0].getsockname()[1]
        bench.sleep(f"http://127.0.0.1:{port}", "m")
        bench.ask("m")
        for _ in range(5):
            await bench.later(0.0)
        await until(lambda: bench.told == ["failed"], "the time to be over")
    bench.sleep(operator.url, "m")
    await bench.later(1.0)
    await until(lambda: operator.note("ns", "m"), "the next one to get through")


@pytest.mark.parametrize(
    "bad",
    [
        "http://a..b:80",
        "http://x/\u0142",
        "http://[::1",
        "http://h:99999",
        "http://" + "a" * 64 + ".x",
    ],
)
async def test_an_address_that_is_none_keeps_nobody_else_from_being_told(
    bench: Bench, operator: Replica, bad: str
) -> None:
    awry = ModelOverlay(dormant=Dormant(wake_url=bad))
    well = ModelOverlay(dormant=Dormant(wake_url=operator.url))
    bench.fleet.apply(RoutingOverlay(models={"awry": awry, "well": well}), T0)
    bench.ask("awry")
    bench.ask("well")
    await until(lambda: sorted(bench.told) == ["failed", "ok"], f"both, not {bench.told}")
    assert operator.note("ns", "well")
    await bench.later(waking.FIRST_RETRY_S / 2)
    assert len(bench.told) == 2, "it is not tried without pause"


async def test_a_bug_that_one_push_meets_is_its_own(
    bench: Bench, operator: Replica, monkeypatch: pytest.MonkeyPatch
) -> None:
    post = bench.fetcher.post

    async def buggy(url: str, body: bytes, timeout_s: float) -> Answer:
        if b"awry" in body:
            raise RuntimeError("a bug")
        return await post(url, body, timeout_s)

    monkeypatch.setattr(bench.fetcher, "post", buggy)
    bench.sleep(operator.url, "awry", "well")
    bench.ask("awry")
    bench.ask("well")
    await until(lambda: sorted(bench.told) == ["failed", "ok"], f"both, not {bench.told}")
    await bench.later(waking.FIRST_RETRY_S)
    await until(lambda: bench.told.count("failed") == 2, "it to be tried again")


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()
    writer.close()
