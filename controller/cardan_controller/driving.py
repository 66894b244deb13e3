"""When fleets are looked at: all of them every few seconds, and at once those that cannot wait.

Two loops. One reads the metrics and ticks over all fleets. The other waits for what is pressing: a
gateway that holds a request for a fleet that sleeps, a specification that has changed, a scale that
changed while it was written. It ticks over those fleets alone, by the last metrics, as old as they
are by then, and is never held up by the first: neither by a source of metrics that does not answer,
nor by the writes of five hundred fleets.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final

from cardan_controller.carrying import home_of
from cardan_controller.metrics.answers import Answer, Answers
from cardan_controller.metrics.asks import ASKS
from cardan_controller.metrics.pods import by_pod
from cardan_controller.pulse import Pulse, hung_after_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from cardan.instants import Monotonic, WallTime

    from cardan_controller.fleets import Fleets, Key
    from cardan_controller.gathering import Cluster
    from cardan_controller.metrics.answers import MetricsSource
    from cardan_controller.telemetry import Telemetry
    from cardan_controller.ticking import Ticker
    from cardan_controller.wakes import Wakes

log = logging.getLogger(__name__)

# Measurements that come later than a tick, or than this, say nothing of now.
LONGEST_READ_S: Final = 10.0
# What was written against an old version is seen anew within milliseconds, as a rule.
AGAIN_S: Final = 1.0
# Changes that come together are looked at together.
TOGETHER_S: Final = 0.05


class Driver:
    """Ticks of one leader.

    `look` tells what is known of the cluster, for these fleets or all; `on_tick` is called after
    each tick.
    """

    def __init__(
        self,
        ticker: Ticker,
        fleets: Fleets,
        wakes: Wakes,
        source: MetricsSource,
        look: Callable[[Collection[Key] | None], Awaitable[Cluster]],
        telemetry: Telemetry,
        on_tick: Callable[[], None],
        *,
        tick_s: float,
        monotonic: Callable[[], Monotonic],
        wall: Callable[[], WallTime],
    ) -> None:
        self._ticker = ticker
        self._fleets = fleets
        self._wakes = wakes
        self._source = source
        self._look = look
        self._telemetry = telemetry
        self._on_tick = on_tick
        self._tick_s = tick_s
        self._monotonic = monotonic
        self._wall = wall
        self._of_all = Pulse(monotonic)
        self._of_some = Pulse(monotonic)
        self._pressing: set[Key] = set()
        self._kick = asyncio.Event()
        self._answers: Answers | None = None

    def press(self, key: Key | None = None) -> None:
        """This fleet cannot wait; without one, somebody waits for a model."""
        if key is not None:
            self._pressing.add(key)
        self._kick.set()

    def hangs(self) -> str:
        """Which loop has not got on with its work for long, and for how long; empty if none."""
        limit_s = hung_after_s(self._tick_s)
        for what, pulse in (("all fleets", self._of_all), ("pressing fleets", self._of_some)):
            if pulse.still_s() >= limit_s:
                return f"a tick over {what} has not got on for {pulse.still_s():.0f} s"
        return ""

    async def run(self) -> None:
        """Until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._all(), name="all-fleets")
            group.create_task(self._some(), name="pressing-fleets")

    async def _all(self) -> None:
        while True:
            began = self._monotonic()
            self._of_all.beat()
            self._answers = await self._read()
            await self._tick(None, self._answers, self._of_all)
            self._of_all.rest()
            took_s = self._monotonic() - began
            self._telemetry.tick_seconds.observe(took_s)
            await asyncio.sleep(max(0.0, self._tick_s - took_s))

    async def _some(self) -> None:
        while True:
            await self._kick.wait()
            await asyncio.sleep(TOGETHER_S)
            self._kick.clear()
            woken = self._woken()
            keys = woken if self._answers is None else woken | self._pressing
            self._pressing -= keys
            if keys:
                await self._tick(keys, self._answers or _unread(self._wall()), self._of_some)
                self._of_some.rest()
            if self._woken() or (self._pressing and self._answers is not None):
                self._soon()

    def _woken(self) -> set[Key]:
        """The fleets whose model somebody waits for."""
        now = self._wall()
        return {
            key
            for key, fleet in self._fleets
            if fleet.spec is not None
            and self._wakes.requested_at(home_of(fleet).gateways, fleet.spec.model, now) is not None
        }

    def _soon(self) -> None:
        asyncio.get_running_loop().call_later(AGAIN_S, self._kick.set)

    async def _read(self) -> Answers:
        """What the source knows; that it does not answer is an answer too."""
        now = self._wall()
        limit_s = max(self._tick_s, LONGEST_READ_S)
        try:
            async with asyncio.timeout(limit_s):
                answers = by_pod(await self._source.read(now))
        except TimeoutError:
            answers = _failed(now, f"no answers within {limit_s:g} s")
        except Exception as error:  # a page that nobody foresaw is no reason to end
            log.exception("what the source of metrics says cannot be used")
            answers = _failed(now, f"{type(error).__name__}: {error}")
        failed = [answer.failed for answer in answers.by_name.values() if answer.failed]
        failed += [answer.failed for answer in answers.external.values() if answer.failed]
        self._telemetry.failed_asks.set(len(failed))
        return answers

    async def _tick(self, only: Collection[Key] | None, answers: Answers, pulse: Pulse) -> None:
        """One tick; what it could not do is tried again."""
        pulse.beat()
        try:
            cluster = await self._look(only)
            again = await self._ticker.tick(cluster, answers, self._wall(), only, pulse.beat)
        except Exception:  # a fault of ours must not end the operator: supervised here
            log.exception("a tick failed; the next one is made all the same")
            self._telemetry.ticks.labels("failed").inc()
            return
        self._telemetry.ticks.labels("ok" if only is None else "some").inc()
        self._on_tick()
        if again:
            self._pressing |= again
            self._soon()


def _failed(now: WallTime, words: str) -> Answers:
    return Answers(now, dict.fromkeys(ASKS, Answer({}, words)))


def _unread(now: WallTime) -> Answers:
    return _failed(now, "nothing was asked yet")
