"""The operator's process: everything is built and every task is started here.

One replica leads and ticks; the others watch too, so that they can take over without listing a
cluster first. Whoever loses the lease ends its process: kubelet starts it again with nothing in
hand that could be written late. `docs/explanation/operator.md` draws it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import time
from typing import TYPE_CHECKING, Any, Final

import msgspec
from aiohttp import web
from cardan.errors import CardanError
from cardan.instants import Monotonic, WallTime
from cardan.scaling.decision import ReasonCode
from cardan_kube.api import KubernetesApi, own_namespace

from cardan_controller import gathering
from cardan_controller.beginning import all_heard
from cardan_controller.carrying import home_of
from cardan_controller.cluster.pods import PodIndex
from cardan_controller.cluster.scales import Scales
from cardan_controller.cluster.view import AGENT, ClusterView
from cardan_controller.consent import admitted, opened
from cardan_controller.driving import Driver
from cardan_controller.election import Election
from cardan_controller.finding import GatewayPods, in_url
from cardan_controller.fleets import Fleets
from cardan_controller.following import FollowedStatuses
from cardan_controller.gathering import Cluster, target_of
from cardan_controller.handlers import FleetWatch
from cardan_controller.keda import served
from cardan_controller.keeping import Keepers, operator_name
from cardan_controller.leading import Leader
from cardan_controller.metrics.gateways import GatewaySource
from cardan_controller.metrics.prometheus import PrometheusSource
from cardan_controller.metrics.promql import Windows
from cardan_controller.recommending import Decided, Pool, Recommendations
from cardan_controller.recorder import Recorder
from cardan_controller.serving import Port
from cardan_controller.sweeping import Sweeper
from cardan_controller.telemetry import Telemetry, WatchMeter
from cardan_controller.ticking import Ticker
from cardan_controller.wakes import Wakes

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Collection, Coroutine, Iterable, Sequence
    from random import Random

    from cardan_controller.cluster.targets import TargetRef
    from cardan_controller.config import OperatorConfig
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.election import LeaseConfig
    from cardan_controller.fleets import Key
    from cardan_controller.metrics.answers import MetricsSource
    from cardan_controller.metrics.gateways import Gateway

log = logging.getLogger(__name__)

# Garbage is looked for after so many objects: a tick over 500 fleets makes a hundred thousand, none
# of them in a cycle, and looking as often as Python does took a fifth of its time.
GARBAGE: Final = (100_000, 50, 100)
# What is recommended to others is of the last tick; of one that so many ticks have not renewed, or
# that is older than this, nobody knows whether it still holds.
STALE_S: Final = 60.0
STALE_TICKS: Final = 4
# How often it is looked whether everything has been listed once.
SYNC_POLL_S: Final = 0.1


def wall() -> WallTime:
    """The time of day."""
    return WallTime(time.time())


def monotonic() -> Monotonic:
    """The clock that never jumps."""
    return Monotonic(time.monotonic())


class LostLeaseError(CardanError):
    """This replica leads no more."""


class Operator:
    """One replica."""

    def __init__(self, config: OperatorConfig, rng: Random) -> None:
        self.config = config = msgspec.structs.replace(config, lease=_lease(config))
        self.telemetry = Telemetry()
        self.fleets = Fleets(lambda key: self._driver.press(key))
        self.wakes = Wakes(
            lambda: self._driver.press(), self._serves, self.telemetry.wakes_dropped.inc
        )
        meter = WatchMeter(self.telemetry, monotonic)
        self.view = ClusterView(
            config.kubeconfig, config.namespaces, meter, rng, lambda: self.recommendations.changed()
        )
        self._api = KubernetesApi(config.kubeconfig, AGENT)
        self._lease_api = KubernetesApi(config.kubeconfig, AGENT)
        self._identity = f"{socket.gethostname()}_{rng.getrandbits(32):08x}"
        self.leader = self._candidate(config.lease, rng)
        own = operator_name(config.lease)
        self._keepers = Keepers(self._api, own, monotonic)
        self.recommendations: Recommendations = Recommendations(
            FollowedStatuses(self.view.fleets, self.leader.quiet_s),
            wall,
            stale_after_s=max(STALE_S, STALE_TICKS * config.tick_s),
        )
        self._gateway_pods = GatewayPods(config.gateways)
        self._scales = Scales(self._api, monotonic)
        self._pods = PodIndex(())
        self._source = self._metrics_source()
        self._recorder = Recorder(config.record, self.telemetry.lines_dropped.inc)
        self._ticker = self._made_ticker()
        self._driver: Driver = Driver(
            self._ticker,
            self.fleets,
            self.wakes,
            self._source,
            self._look,
            self.telemetry,
            self._recommend,
            tick_s=config.tick_s,
            monotonic=monotonic,
            wall=wall,
        )
        open_to_all = opened(config.lease.namespace, config.gateways.namespaces, config.namespaces)
        self._watch = FleetWatch(
            self.fleets,
            self._forget,
            lambda fleet: admitted(fleet, open_to_all),
            config.kubeconfig,
            config.namespaces,
        )
        self._sweeper = Sweeper(
            self._api, own, config.namespaces, open_to_all, self.leader.leads, self.telemetry
        )
        self.address = ""

    def _candidate(self, lease: LeaseConfig, rng: Random) -> Leader:
        election = Election(self._identity, lease, rng)
        return Leader(
            election,
            self._lease_api,
            lease,
            _address(self.config),
            self.config.namespaces,
            monotonic=monotonic,
            wall=wall,
        )

    def _made_ticker(self) -> Ticker:
        self._recorder.start()
        return Ticker(
            self.config,
            self.fleets,
            self.wakes,
            self._api,
            self.telemetry,
            self.leader.leads,
            self._identity,
            self._recorder,
        )

    def _metrics_source(self) -> MetricsSource:
        metrics = self.config.metrics
        if metrics.prometheus is not None:
            windows = Windows(metrics.short_window_s, metrics.long_window_s)
            return PrometheusSource(
                metrics.prometheus,
                windows,
                external=metrics.external,
                clocks_within_s=metrics.stale_after_s,
            )
        return GatewaySource(
            self._gateways,
            short_s=metrics.short_window_s,
            long_s=metrics.long_window_s,
            stale_after_s=metrics.stale_after_s,
        )

    # What the port asks

    def leads(self) -> bool:
        """See `Standing`."""
        return self.leader.leads()

    def leader_url(self) -> str:
        """See `Standing`."""
        return self.leader.leader_url()

    def ready(self) -> bool:
        """See `Standing`."""
        return self.view.synced

    def hangs(self) -> str:
        """See `Standing`."""
        return self._driver.hangs() if self.leads() else ""

    def _serves(self, namespace: str, model: str) -> bool:
        """Has any fleet this model at gateways of this namespace?"""
        return any(
            fleet.spec.model == model and home_of(fleet).gateways == namespace
            for _, fleet in self.fleets
            if fleet.spec is not None
        )

    # What runs

    async def run(self) -> None:
        """Until cancelled, or until the lease is lost."""
        keda = served(self.recommendations, self.config.keda)
        async with self._port(), keda, asyncio.TaskGroup() as group:
            for name, work in self._tasks():
                group.create_task(work, name=name)

    def _tasks(self) -> list[tuple[str, Coroutine[Any, Any, None]]]:
        watches = [(f"watch-{n}", work) for n, work in enumerate(self.view.run())]
        return [("lease", self.leader.run()), ("lead", self._lead()), *watches]

    async def _lead(self) -> None:
        await self.leader.began.wait()
        self.telemetry.leading.set(1)
        while not self.view.synced:  # noqa: ASYNC110 - a few watches, once in a process's life
            await asyncio.sleep(SYNC_POLL_S)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._until_lost(), name="until-lost")
            group.create_task(self._watch.run(), name="fleets")
            group.create_task(self._ticks(), name="ticks")
            group.create_task(self._sweeper.run(), name="sweep")

    async def _ticks(self) -> None:
        await all_heard(self.fleets, self.view.uids)
        log.info("everything is listed: fleets are looked after every %g s", self.config.tick_s)
        await self._driver.run()

    async def _until_lost(self) -> None:
        await self.leader.ended.wait()
        self.telemetry.leading.set(0)
        raise LostLeaseError("the lease is lost")

    def _recommend(self) -> None:
        """What was decided, for those who carry it out themselves."""
        self.recommendations.set(
            {
                Pool(*key, pool.pool): Decided(pool.desired, decision.at)
                for key, decision in self._ticker.decisions.items()
                for pool in decision.pools
                if all(reason.code is not ReasonCode.TARGET_ERROR for reason in pool.reasons)
            }
        )

    # What a tick looks at

    async def _look(self, only: Collection[Key] | None) -> Cluster:
        """The cluster, for a tick over these fleets or all."""
        if only is None and not self.view.fleets.trouble:
            self.fleets.confirm(self.view.uids())
        fleets = [fleet for _, fleet in self.fleets.some(only)]
        if only is None:
            await self._keepers.refresh(fleets)
        return await self._look_at(_targets(fleets), whole=only is None)

    async def _look_at(self, targets: Sequence[TargetRef], *, whole: bool) -> Cluster:
        """The cluster, with these targets; `whole`: there are no others."""
        foreign = [ref for ref in targets if not self.view.watches(ref)]
        await self._scales.refresh(foreign, whole=whole)
        self._pods = PodIndex(pod for _, pod in self.view.pods.items())
        return Cluster(
            pods=self._pods,
            target=lambda ref: self._scales.target(ref, self.view.workload(ref)),
            autoscalers=gathering.by_target([one for _, one in self.view.autoscalers.items()]),
            budgets=gathering.by_namespace([one for _, one in self.view.budgets.items()]),
            overlay=lambda namespace, name: self.view.overlays.get(f"{namespace}/{name}"),
            ready_gateways=self._gateway_pods.ready(self._pods, (one for _, one in self.fleets)),
            claimed=gathering.claims(fleet for _, fleet in self.fleets),
            stale=self.view.stale(self.config.metrics.stale_after_s),
            kept_elsewhere=self._keepers.elsewhere,
            is_alive=self._keepers.is_alive,
            with_namespace=self.config.gateways.endpoint_names == "namespace/pod",
        )

    async def _forget(self, fleet: Fleet) -> None:
        """A fleet is being deleted: what it leaves is taken back."""
        await self._ticker.forget(fleet, lambda: self._look_at(_targets([fleet]), whole=False))

    def _gateways(self) -> list[Gateway]:
        pods = (pod for _, pod in self.view.pods.items())
        return self._gateway_pods.pages(pods, (fleet for _, fleet in self.fleets))

    # Servers

    @contextlib.asynccontextmanager
    async def _port(self) -> AsyncIterator[None]:
        port = Port(self, self.wakes, self.telemetry.registry, wall)
        runner = web.AppRunner(port.application(), access_log=None)
        await runner.setup()
        host, _, number = self.config.listen.rpartition(":")
        site = web.TCPSite(runner, host.strip("[]"), int(number))
        await site.start()
        self.address = _listening(runner)
        log.info("listening on %s", self.address)
        try:
            yield
        finally:
            await runner.cleanup()

    async def close(self) -> None:
        """Drop all connections, and write down what was recorded."""
        await asyncio.to_thread(self._recorder.close)
        await self._source.close()
        await self._api.close()
        await self._lease_api.close()


async def serve(config: OperatorConfig, rng: Random) -> int:
    """Run one replica until a signal comes; the process's exit status."""
    gc.set_threshold(*GARBAGE)
    operator = Operator(config, rng)
    running = asyncio.ensure_future(operator.run())
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        log.info("leaving")
        return 0
    except BaseExceptionGroup as group:
        if group.subgroup(LostLeaseError) is None:
            raise
        log.warning("the lease is lost: this process ends, another one leads")
        return 1
    finally:
        await operator.close()
    return 0


def _targets(fleets: Iterable[Fleet]) -> list[TargetRef]:
    """What fleets scale."""
    return [
        target_of(fleet.meta.namespace, pool)
        for fleet in fleets
        if fleet.spec is not None
        for pool in fleet.spec.pools
    ]


def _lease(config: OperatorConfig) -> LeaseConfig:
    """Where replicas meet: by default in the operator's own namespace."""
    if config.lease.namespace:
        return config.lease
    return msgspec.structs.replace(config.lease, namespace=own_namespace(config.kubeconfig))


def _address(config: OperatorConfig) -> str:
    """Where other replicas send gateways: this pod, and the port of `listen`."""
    own = os.environ.get("POD_IP") or config.listen.rpartition(":")[0]
    return f"http://{in_url(own.strip('[]'))}:{config.listen.rpartition(':')[2]}"


def _listening(runner: web.AppRunner) -> str:
    host, port, *_ = runner.addresses[0]
    return f"http://{in_url(host)}:{port}"
