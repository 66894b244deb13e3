"""Discovery by the API of a cluster, as the gateway has it: one task, one list, one state.

With several workers each watches for itself. One could do it for all, as with the engines' metrics,
but what it found would be half a second old on the others, and none would find anything while it is
being restarted; a watch more costs the API server next to nothing.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

from cardan_kube.api import KubernetesApi, own_namespace

from cardan_router.about import VERSION
from cardan_router.anew import run_anew
from cardan_router.clock import monotonic
from cardan_router.discovery.kubernetes.meter import Meter
from cardan_router.discovery.kubernetes.missing import Missing
from cardan_router.discovery.kubernetes.source import Surroundings, make_source
from cardan_router.logs import NEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from random import Random

    from cardan.endpoint import Endpoint, EndpointId
    from cardan_kube.api import Api

    from cardan_router.discovery.kubernetes.sighting import Sighting
    from cardan_router.discovery.kubernetes.source import Source
    from cardan_router.discovery_config import KubernetesConfig
    from cardan_router.telemetry import Registry

news = logging.getLogger(NEWS)

# How often it is looked whether nothing is found: a tenth of the time after which that is said.
LOOK_S: Final = 1.0


class Report(Protocol):
    """Takes the whole list of endpoints, and which of them must not be asked now."""

    def __call__(self, endpoints: Iterable[Endpoint], held: frozenset[EndpointId]) -> None:
        """Make it so."""


class KubernetesDiscovery:
    """Runs the source of the configuration in force."""

    def __init__(
        self,
        config: KubernetesConfig | None,
        report: Report,
        registry: Registry,
        rng: Random,
        connect: Callable[[str], Api] | None = None,
    ) -> None:
        self._config = config
        self._report = report
        self._meter = Meter(registry, monotonic)
        self._rng = rng
        self._connect = connect or _connect
        self._changed = asyncio.Event()
        self._source: Source | None = None
        self._listed = False
        self._uids: dict[EndpointId, str] = {}

    async def run(self) -> None:
        """Watch, for ever; a new configuration makes a new source."""
        await run_anew(self._watch, self._changed)

    def reconfigure(self, config: KubernetesConfig | None) -> None:
        """Take another configuration; who is known stays until its first list has come."""
        if config == self._config:
            return
        self._config = config
        self._changed.set()
        if config is None:
            self._uids = {}
            self._report((), frozenset())

    def waits_for(self) -> str:
        """Why there has been no list yet; empty if there has, or none is wanted.

        One word, for anybody may ask: hosts and accounts, and what the API says, are in the log.
        """
        if self._config is None or self._listed:
            return ""
        faults = [link.fault for link in (self._source.links if self._source else ())]
        fault = next(filter(None, faults), "")
        why = f"{fault}; the log says more" if fault else "it has not answered yet"
        return f"no list of endpoints from the Kubernetes API: {why}"

    def connected(self) -> float | None:
        """1 while the API answers, else 0; None where it is not asked."""
        if self._config is None:
            return None
        links = self._source.links if self._source else []
        return float(bool(links) and all(link.connected for link in links))

    def silence_s(self) -> float | None:
        """How long ago the API said anything; None where it never did."""
        words = [link.last_word_at for link in (self._source.links if self._source else ())]
        heard = [at for at in words if at is not None]
        return self._meter.clock() - min(heard) if heard else None

    async def _watch(self) -> None:
        config = self._config
        if config is None:
            await asyncio.Event().wait()
            return
        namespace = config.namespace or own_namespace(config.kubeconfig)
        kubeconfig = config.kubeconfig
        source = self._source = make_source(
            config,
            Surroundings(
                lambda: self._connect(kubeconfig),
                namespace,
                partial(self._take, config),
                self._meter,
                self._rng,
            ),
        )
        news.info("watching %s", source.links[0].what)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._tell_missing(source))
                await source.run()
        finally:
            self._source = None

    async def _tell_missing(self, source: Source) -> None:
        """Say why nothing is found while nothing is."""
        missing = Missing()
        while True:
            await asyncio.sleep(LOOK_S)
            words = missing.look(self._meter.clock(), source.missing())
            if words:
                news.warning("%s", words)

    def _take(self, config: KubernetesConfig, sightings: Sequence[Sighting]) -> None:
        """A whole list. A pod of a known name that is another pod leaves before it comes.

        A source outlives its configuration by some turns of the loop, with events to read.
        """
        if config is not self._config:
            return
        self._listed = True
        uids = {sighting.endpoint.id: sighting.uid for sighting in sightings}
        again = {id_ for id_, uid in uids.items() if self._uids.get(id_, uid) != uid}
        held = frozenset(sighting.endpoint.id for sighting in sightings if not sighting.ready)
        endpoints = [sighting.endpoint for sighting in sightings]
        if again:
            self._report([one for one in endpoints if one.id not in again], held)
        self._uids = uids
        self._report(endpoints, held)


def _connect(kubeconfig: str) -> Api:
    return KubernetesApi(kubeconfig, f"cardan/{VERSION}")
