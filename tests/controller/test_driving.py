"""What is pressing waits for nothing: no tick, no metrics, no other fleet."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from cardan.instants import Monotonic
from cardan_controller.driving import Driver
from cardan_controller.metrics.answers import Answer, Answers, ExternalAnswer
from cardan_controller.metrics.asks import ASKS
from cardan_controller.pulse import LEAST_HUNG_S, Pulse, hung_after_s
from cardan_controller.wakes import WakeRequest

from tests.controller.scene import Scene
from tests.fakes.waiting import settle, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection

    from cardan.instants import WallTime
    from cardan_controller.fleets import Key
    from cardan_controller.gathering import Cluster

ASLEEP: dict[str, Any] = {
    "policies": [{"type": "throughput", "throughput": {"tokensPerSecond": 1000}}],
    "scaleToZero": {"idleSeconds": 60},
    "pool": {"minReplicas": 0},
}
SELDOM_S = 3600.0


class Source:
    """Answers once it may."""

    def __init__(self, scene: Scene) -> None:
        self.scene = scene
        self.may = asyncio.Event()
        self.reads = 0
        self.fault: Exception | None = None
        self.external: dict[str, ExternalAnswer] = {}

    async def read(self, now: WallTime) -> Answers:
        """See `MetricsSource`."""
        self.reads += 1
        await self.may.wait()
        if self.fault is not None:
            raise self.fault
        told = {name: Answer(self.scene.values.get(name, {})) for name in ASKS}
        return Answers(now, told, self.external)

    async def close(self) -> None:
        """See `MetricsSource`."""


class Stage:
    """A driver that runs."""

    def __init__(self, tick_s: float) -> None:
        self.scene = Scene(replicas=0)
        self.scene.load(0.0, 0.0)
        self.source = Source(self.scene)
        self.looks: list[Collection[Key] | None] = []
        self.clock = Monotonic(0.0)
        self.may_look = asyncio.Event()
        self.may_look.set()
        self.ticks = 0
        self.driver = Driver(
            self.scene.ticker,
            self.scene.fleets,
            self.scene.wakes,
            self.source,
            self._look,
            self.scene.telemetry,
            self._ticked,
            tick_s=tick_s,
            monotonic=lambda: self.clock,
            wall=lambda: self.scene.now,
        )
        self.scene.fleets._on_change = self.driver.press

    async def _look(self, only: Collection[Key] | None) -> Cluster:
        self.looks.append(only)
        await self.may_look.wait()
        return self.scene.cluster()

    def _ticked(self) -> None:
        self.ticks += 1

    def push(self) -> None:
        """A gateway holds a request."""
        self.scene.wakes.note(WakeRequest("n", "m"), self.scene.now)
        self.driver.press()


@contextlib.asynccontextmanager
async def staged(tick_s: float = SELDOM_S) -> AsyncIterator[Stage]:
    """Run one."""
    stage = Stage(tick_s)
    task = asyncio.create_task(stage.driver.run())
    try:
        yield stage
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_push_is_acted_on_while_the_metrics_are_still_read() -> None:
    async with staged() as stage:
        stage.scene.fleet(**ASLEEP)
        stage.push()
        await until(lambda: stage.scene.replicas["llama"] == 1)
        assert stage.looks == [{("n", "llama")}]


async def test_a_push_during_a_tick_is_not_forgotten() -> None:
    async with staged() as stage:
        stage.source.may.set()
        stage.scene.fleet(**ASLEEP)
        stage.scene.api.hold = asyncio.Event()
        await until(lambda: stage.scene.ticker.decisions)
        stage.scene.now = stage.scene.now + 1  # type: ignore[assignment]  # a clock
        stage.push()
        await settle()
        stage.scene.api.hold.set()
        await until(lambda: stage.scene.replicas["llama"] == 1)


async def test_a_push_for_nobodys_model_makes_no_tick() -> None:
    async with staged() as stage:
        stage.source.may.set()
        await until(lambda: stage.ticks == 1)
        stage.push()
        await asyncio.sleep(0.2)
        assert stage.ticks == 1


async def test_a_fleet_that_is_new_is_looked_at_at_once_by_the_last_metrics() -> None:
    async with staged() as stage:
        stage.source.may.set()
        await until(lambda: stage.ticks == 1)
        stage.scene.fleet(**ASLEEP)
        await until(lambda: stage.ticks == 2)
        assert stage.looks == [None, {("n", "llama")}]
        assert stage.source.reads == 1


async def test_a_new_fleet_waits_for_the_first_metrics() -> None:
    async with staged() as stage:
        stage.scene.fleet(**ASLEEP)
        await settle(200)
        assert stage.looks == []
        stage.source.may.set()
        await until(lambda: stage.scene.api.written("status"))


async def test_a_tick_that_fails_is_counted_and_followed_by_others() -> None:
    async with staged() as stage:
        stage.source.may.set()
        await until(lambda: stage.ticks == 1)
        stage.scene.cluster = None  # type: ignore[assignment,method-assign]  # it raises
        stage.scene.fleet(**ASLEEP)
        await until(lambda: len(stage.looks) == 2)
        del stage.scene.cluster
        stage.scene.fleet(**ASLEEP, paused=True)
        await until(lambda: stage.ticks == 2)


async def test_metrics_that_nobody_foresaw_are_metrics_that_failed() -> None:
    async with staged() as stage:
        stage.source.fault = ValueError("could not convert string to float: 'abc'")
        stage.source.may.set()
        stage.scene.fleet(**ASLEEP)
        await until(lambda: stage.ticks)
        status: Any = stage.scene.api.written("status")[-1].body
        healthy = next(c for c in status["status"]["conditions"] if c["type"] == "MetricsHealthy")
        assert (healthy["reason"], "'abc'" in healthy["message"]) == ("MetricsFailed", True)


async def test_queries_that_are_not_answered_are_counted_those_of_the_configuration_too() -> None:
    async with staged() as stage:
        stage.source.external = {"jobs": ExternalAnswer(failed="parse error")}
        stage.source.may.set()
        await until(lambda: stage.ticks)
        registry = stage.scene.telemetry.registry
        assert registry.get_sample_value("cardan_controller_failed_queries") == 1


async def test_a_tick_that_waits_for_ever_is_told() -> None:
    async with staged(tick_s=1.0) as stage:
        stage.may_look.clear()
        stage.source.may.set()
        await until(lambda: stage.looks)
        assert stage.driver.hangs() == ""
        stage.clock = Monotonic(LEAST_HUNG_S)
        assert stage.driver.hangs() == "a tick over all fleets has not got on for 120 s"


async def test_who_waits_for_nothing_does_not_hang() -> None:
    async with staged() as stage:
        stage.source.may.set()
        await until(lambda: stage.ticks == 1)
        stage.scene.fleet(**ASLEEP)
        await until(lambda: stage.ticks == 2)
        stage.clock = Monotonic(SELDOM_S * 100)
        assert stage.driver.hangs() == ""


async def test_a_tick_that_is_slow_gets_on_with_each_write() -> None:
    clock = Monotonic(0.0)
    pulse = Pulse(lambda: clock)
    scene = Scene(replicas=1)
    scene.fleet(policies=ASLEEP["policies"])
    scene.load(5.0, 2500.0)
    written = scene.api.send

    async def send(request: Any) -> bytes:
        nonlocal clock
        clock = Monotonic(clock + 100.0)
        stills.append(pulse.still_s())
        return await written(request)

    stills: list[float] = []
    scene.api.send = send  # type: ignore[method-assign]  # a slow server
    cluster, answers = scene.cluster(), Answers(scene.now, {name: Answer({}) for name in ASKS})
    pulse.beat()
    await scene.ticker.tick(cluster, answers, scene.now, None, pulse.beat)
    assert len(stills) > 1
    assert stills == [100.0] * len(stills)


def test_how_long_is_too_long() -> None:
    assert (hung_after_s(1.0), hung_after_s(15.0)) == (120.0, 300.0)
