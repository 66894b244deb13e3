"""One gateway process, put together: the only place where its parts meet.

`App` builds everything from one `Config`, spawns every long-lived task under a supervisor, and
ends in order: not ready at once, what runs may finish, then the rest. What a reload changes of it
is `reload`'s.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import random
import signal
import sys
from functools import partial
from typing import TYPE_CHECKING

import uvloop
from cardan.errors import CardanError
from cardan.fleet import Fleet

from cardan_router import logs
from cardan_router.access_log import FLUSH_EVERY_S
from cardan_router.admin import Admin
from cardan_router.beat import beat
from cardan_router.clock import monotonic
from cardan_router.discovery import Membership
from cardan_router.discovery.kubernetes.discovery import KubernetesDiscovery
from cardan_router.fetch import Fetcher
from cardan_router.front import FrontDoors
from cardan_router.gateway import Gateway
from cardan_router.overlays import Overlays
from cardan_router.prewarm import Prewarms
from cardan_router.probe import Prober
from cardan_router.readiness import Readiness
from cardan_router.reload import Reloader
from cardan_router.scrape import Scraper
from cardan_router.standing import Herald
from cardan_router.supervise import Supervisor
from cardan_router.telemetry import (
    LoopBusy,
    ObservedScheduler,
    Present,
    Registry,
    RequestRecorder,
    metrics,
    moving,
)
from cardan_router.telemetry.masses import KeyMasses
from cardan_router.waking import Wakes
from cardan_router.wiring import (
    fetcher_of,
    file_source_of,
    keys_of,
    open_access_log,
    rounds,
    wants_scrape,
    with_secrets,
)
from cardan_router.workers import Board
from cardan_router.workers.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import Callable

    from cardan.fleet import EndpointState

    from cardan_router.config import Config
    from cardan_router.flags import Invocation
    from cardan_router.telemetry.registry import Spec
    from cardan_router.workers import WorkerSlot

log = logging.getLogger(__name__)

# Ramps rise in steps of three seconds, models come and go with probes: once a second is plenty.
TICK_S = 1.0
# Requests make garbage but no cycles worth the name; looking for some every 700 objects is a few
# per cent of the CPU. What is alive after the start never dies and is taken out of the search.
GC_THRESHOLD = (20_000, 20, 50)
# What a shell says of a process that SIGTERM ended.
SECOND_SIGNAL_STATUS = 128 + signal.SIGTERM


class App:
    """A gateway from its configuration to its end."""

    def __init__(self, invocation: Invocation, config: Config, slot: WorkerSlot | None) -> None:
        self.reloader = Reloader(self, invocation, config)
        self.config = with_secrets(config)
        self.slot = slot
        self._rng = random.Random(config.seed)
        self._stop_asked = asyncio.Event()
        self._stops = 0
        self._lingers = False
        self.registry = Registry(metrics.ALL)
        self._board = Board(slot.folder, slot.name) if slot else None
        self.supervisor = Supervisor(self.count(metrics.TASK_RESTARTS))
        self.busy = LoopBusy()
        self._build()
        self._bind_gauges()
        self._adopt_predecessor()

    def _build(self) -> None:
        """Core, gateway, what looks after the fleet, what listens."""
        config = self.config
        self.fleet = Fleet(config.fleet)
        self.scheduler = ObservedScheduler(
            self.fleet, config.policy, self._rng, retry=config.retry, admission=config.admission
        )
        self.scheduler.observe_with(self.registry)
        self.access_log = open_access_log(config, self.registry, shared=self.slot is not None)
        masses = KeyMasses(self.scheduler, monotonic)
        self.recorder = RequestRecorder(
            self.registry,
            self.access_log,
            self.fleet,
            receipts=config.ui.receipts,
            sample=config.log.access_sample,
            rng=self._rng,
            masses=masses,
        )
        self.gateway = Gateway(
            self.scheduler,
            config.routing_key,
            slo_ttft_s=config.slo.ttft_s,
            keys=keys_of(config),
            recorder=self.recorder,
            limits=config.limits,
            timeouts=config.timeouts,
            upstream=config.upstream,
            clock=monotonic,
        )
        self.fetcher = fetcher_of(config)
        self.prober = Prober(
            self.fleet, self.fetcher, config.probe, monotonic, self.count(metrics.PROBES)
        )
        self.herald = Herald(self.fleet, self.prober.joined)
        self.scraper = Scraper(self.fetcher, config.scrape, monotonic, self.count(metrics.SCRAPES))
        self.scraper.enabled = wants_scrape(config)
        self.scrapes = rounds("scrape", self.fleet, self.scraper.visit, config.scrape, self._rng)
        self._build_discovery(config)
        self.readiness = Readiness(
            self.fleet,
            self.prober.joined,
            self._stop_asked.is_set,
            monotonic,
            lambda: self.kubernetes.waits_for() or self.overlays.waits_for(),
        )
        self.present = Present(self.registry, self.scheduler, self.prober.joined, monotonic)
        self.present.hot_keys(masses)
        self.admin = Admin(
            self.gateway, self.registry, self.recorder, self.present, self.readiness, self._board
        )
        self._sharing = (
            Sharing(self._board, self.fleet, self.admin, monotonic, learns=not self.slot.scrapes)
            if self._board and self.slot
            else None
        )
        shared = self.slot.addresses if self.slot else None
        self.doors = FrontDoors(self.gateway, self.admin, self.readiness, config, shared)

    def _build_discovery(self, config: Config) -> None:
        self.probes = rounds(
            *("probe", self.fleet, self.prober.visit, config.probe, self._rng), self.prober.eager
        )
        self.membership = Membership(
            self.fleet, monotonic, self._endpoints_left, on_release=self.probes.hurry
        )
        self.prober.held = self.membership.holds
        self.file_source = file_source_of(config, self.membership, self.registry)
        self.kubernetes = KubernetesDiscovery(
            config.discovery.kubernetes,
            partial(self.membership.report, "kubernetes"),
            self.registry,
            self._rng,
        )
        self.overlays = Overlays(
            config.discovery.kubernetes, self.fleet, monotonic, self._rng, self.gateway.wake
        )
        self._operators = Fetcher()
        self.wakes = Wakes(
            self.scheduler,
            self._operators,
            lambda: self.overlays.namespace,
            monotonic,
            self.count(moving.WAKES),
        )
        self.prewarms = Prewarms(
            self.gateway,
            *(config.prewarm, config.routing_key, self.fetcher, monotonic, self._rng),
            count=self.count(moving.PREWARMS),
            computed=partial(self.registry.counter(moving.PREWARM_TOKENS).add, ()),
        )
        self.gateway.sweepers += (self.wakes.look, self.prewarms.look)

    def _bind_gauges(self) -> None:
        self.present.one(metrics.LOOP_BUSY, self.busy.ratio)
        self.present.one(metrics.CLIENTS, lambda: self.doors.connections)
        self.present.one(metrics.READY, lambda: float(self.readiness.look().ready))
        self.present.one(metrics.CONFIG_OK, lambda: float(self.reloader.ok))
        self.present.some(metrics.DISCOVERY_CONNECTED, self.kubernetes.connected)
        self.present.some(metrics.DISCOVERY_SILENCE, self.kubernetes.silence_s)
        self.registry.gauge(moving.KEY_WARMED, self.prewarms.warmed)
        self.present.some(moving.OVERLAY_GENERATION, self.overlays.generation)

    def _adopt_predecessor(self) -> None:
        """A worker that replaces another counts on where that one stopped."""
        before = self._board.predecessor() if self._board else None
        if before is not None:
            self.registry.adopt(before.snapshot)

    # -- running ----------------------------------------------------------------------------------

    async def run(self) -> int:
        """From the first endpoint to the last answer; the process's exit status."""
        self._handle_signals()
        self.membership.report("config", self.config.endpoints)
        if self.file_source is not None:
            self.file_source.load()
        await self.doors.open()
        self._spawn()
        if self.slot is None or self.slot.announces:
            self.doors.announce()
        gc.collect()
        gc.freeze()
        gc.set_threshold(*GC_THRESHOLD)
        await self._stop_asked.wait()
        await self._end()
        return 0

    def _spawn(self) -> None:
        """Every long-lived task of the process."""
        spawn = self.supervisor.spawn
        spawn("sweep", self.gateway.run)
        spawn("probe", self.probes.run)
        spawn("tick", self._tick)
        spawn("access-log", self._flush_access_log)
        spawn("readiness", self.doors.follow_readiness)
        spawn("discovery-file", self._watch_file)
        spawn("discovery-kubernetes", self.kubernetes.run)
        spawn("overlays", self.overlays.run)
        spawn("wakes", self.wakes.run)
        spawn("prewarms", self.prewarms.run)
        spawn("config-watch", self.reloader.watch)
        if self.slot is None or self.slot.scrapes:
            spawn("scrape", self.scrapes.run)
        if self._sharing is not None:
            spawn("board", self._sharing.run)

    async def _end(self) -> None:
        grace_s, linger_s = self.config.shutdown.grace_s, self.config.shutdown.linger_s
        if linger_s and self._lingers:
            log.info("leaving: serving on for %g s, and telling clients to go elsewhere", linger_s)
            grace_s = await self.doors.linger(linger_s, grace_s)
        running = len(self.gateway.flights)
        log.info("stopping: %d requests may finish within %.3g s", running, grace_s)
        self.gateway.draining = True
        finished, _ = await asyncio.gather(
            self.gateway.shutdown(grace_s), self.doors.close(grace_s)
        )
        if not finished:
            log.warning("requests that had not ended within the grace have been cut")
        if self._sharing is not None:
            self._sharing.publish()
        await self.supervisor.close()
        self.fetcher.close()
        self._operators.close()
        self.recorder.settle()
        self.access_log.close()

    def _handle_signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, partial(self.stop, lingers=True))
        loop.add_signal_handler(signal.SIGINT, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self.reloader.reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # a worker's waits for this

    def stop(self, *, lingers: bool = False) -> None:
        """End in peace; asked twice, end at once. With `lingers`, by `shutdown.linger_s` later."""
        self._stops += 1
        self._lingers = lingers
        if self._stops > 1:
            log.warning("stopped at once")
            self.recorder.settle()
            self.access_log.close()
            sys.stderr.flush()
            os._exit(SECOND_SIGNAL_STATUS)
        self._stop_asked.set()

    # -- tasks ------------------------------------------------------------------------------------

    async def _tick(self) -> None:
        while True:
            self.fleet.tick(monotonic())
            self.herald.look(monotonic())
            self.overlays.look(monotonic())
            self.busy.look(monotonic())
            await beat(TICK_S)

    async def _flush_access_log(self) -> None:
        while True:
            await beat(FLUSH_EVERY_S)
            self.recorder.settle()
            self.access_log.flush()

    async def _watch_file(self) -> None:
        while True:
            await beat(self.config.discovery.poll_s if self.file_source else TICK_S)
            if self.file_source is not None:
                self.file_source.poll()

    # -- small parts ------------------------------------------------------------------------------

    def _endpoints_left(self, gone: list[EndpointState]) -> None:
        for state in gone:
            self.fetcher.forget(state.endpoint.url)
        self.prober.forget(gone)
        self.scraper.forget(gone)
        self.gateway.endpoints_left(gone)
        self.recorder.endpoints_left(gone)

    def count(self, spec: Spec) -> Callable[[str], None]:
        """Counts in a metric with one label."""
        counter = self.registry.counter(spec)
        return lambda value: counter.add((value,))


def run_process(invocation: Invocation, config: Config, slot: WorkerSlot | None = None) -> int:
    """Run one gateway process to its end; returns the exit status."""

    if slot is not None:
        logs.configure(config.log, slot.number)

    async def live() -> int:
        return await App(invocation, config, slot).run()

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(live())
    except CardanError as error:
        logs.tell(f"cardan router: {error}", "error")
        return 1
