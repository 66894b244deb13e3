"""The watchers of one configuration, and the list of endpoints that follows from them.

Three shapes: the pods of a selector; the slices of a Service; an InferencePool, and the pods of
whatever it selects at present. A whole list is reported, and only when there has been a whole list:
until then whoever was known before stays.

When a pool selects other pods, the new ones are watched beside the old, and take their place when
they are all known. Its ports count at once, for ports that are no longer the pool's must not be
asked (a stale rank is an engine that nobody meant).
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Generic, NamedTuple, Protocol, TypeVar

from cardan_kube.link import Link
from cardan_kube.watcher import Resource, Watcher

from cardan_router.discovery.kubernetes.pods import (
    PodFacts,
    pod_sightings,
    read_pod,
    why_no_pod,
)
from cardan_router.discovery.kubernetes.pools import read_pool
from cardan_router.discovery.kubernetes.slices import (
    SliceFacts,
    port_complaint,
    read_slice,
    slice_sightings,
    why_no_endpoint,
)
from cardan_router.discovery_config import ALL_NAMESPACES, PodsConfig, ServiceConfig
from cardan_router.logs import NEWS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from random import Random

    from cardan_kube.api import Api

    from cardan_router.discovery.kubernetes.meter import Meter
    from cardan_router.discovery.kubernetes.sighting import Sighting
    from cardan_router.discovery_config import InferencePoolConfig, KubernetesConfig

T = TypeVar("T")
news = logging.getLogger(NEWS)


class Surroundings(NamedTuple):
    """What a source is given: a way to an API server, where to report, what it is measured by."""

    connect: Callable[[], Api]
    namespace: str
    report: Callable[[Sequence[Sighting]], None]
    meter: Meter
    rng: Random

    def watcher(
        self, what: str, resource: Resource[T], on_change: Callable[[], None]
    ) -> Watcher[T]:
        """A watcher with a connection of its own."""
        link = Link(what, self.meter)
        return Watcher(self.connect(), resource, link, on_change, self.rng)


class Source(Protocol):
    """One shape of discovery."""

    async def run(self) -> None:
        """Watch, for ever."""

    @property
    def links(self) -> list[Link]:
        """The connections, each with its state."""

    def missing(self) -> str:
        """Why nothing that can be asked is found; empty if something is, or no list has come."""


class _OneWatch(Generic[T]):
    """A source that watches one list."""

    _watcher: Watcher[T]

    async def run(self) -> None:
        """See `Source`."""
        await self._watcher.run()

    @property
    def links(self) -> list[Link]:
        """See `Source`."""
        return [self._watcher.link]


class PodsSource(_OneWatch[PodFacts]):
    """The pods of a selector."""

    def __init__(self, config: PodsConfig, around: Surroundings) -> None:
        self._report = around.report
        self._pods = _PodList(config.ports, with_namespace=config.namespace == ALL_NAMESPACES)
        what = f"pods with {config.selector} in {_where(around.namespace)}"
        resource = pods_resource(around.namespace, config.selector)
        self._watcher = around.watcher(what, resource, self._tell)

    def missing(self) -> str:
        """See `Source`."""
        return self._pods.missing(self._watcher)

    def _tell(self) -> None:
        self._report(self._pods.sightings(self._watcher))


class ServiceSource(_OneWatch[SliceFacts]):
    """The slices of a Service."""

    def __init__(self, config: ServiceConfig, around: Surroundings) -> None:
        self._config = config
        self._report = around.report
        self._complaint = ""
        resource = Resource(
            f"/apis/discovery.k8s.io/v1/namespaces/{around.namespace}/endpointslices",
            {"labelSelector": f"kubernetes.io/service-name={config.name}"},
            read_slice,
        )
        what = f"Service {around.namespace}/{config.name}"
        self._watcher = around.watcher(what, resource, self._tell)

    def missing(self) -> str:
        """See `Source`."""
        if not self._watcher.reflector.synced:
            return ""
        why = why_no_endpoint(self._slices(), self._config.ports)
        return why and f"{self._watcher.link.what}: {why}"

    def _slices(self) -> list[SliceFacts]:
        return [facts for facts in self._watcher.reflector.objects.values() if facts is not None]

    def _tell(self) -> None:
        slices = self._slices()
        complaint = port_complaint(slices, self._config.ports)
        if complaint and complaint != self._complaint:
            news.error("%s: %s", self._watcher.link.what, complaint)
        self._complaint = complaint
        self._report(slice_sightings(slices, self._config.ports))


class InferencePoolSource:
    """The pods of an InferencePool."""

    def __init__(self, config: InferencePoolConfig, around: Surroundings) -> None:
        self._around = around
        self._what = f"InferencePool {around.namespace}/{config.name}"
        resource = Resource(
            f"/apis/inference.networking.k8s.io/v1/namespaces/{around.namespace}/inferencepools",
            {"fieldSelector": f"metadata.name={config.name}"},
            read_pool,
            if_unknown="is the CRD InferencePool (v1) installed?",
        )
        self._pool_watcher = around.watcher(self._what, resource, self._pool_changed)
        self._pods = _PodList((), with_namespace=False)
        self._current: _Selected | None = None
        self._next: _Selected | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """See `Source`."""
        async with asyncio.TaskGroup() as self._tasks:
            await self._pool_watcher.run()

    @property
    def links(self) -> list[Link]:
        """See `Source`."""
        newest = self._next or self._current
        return [self._pool_watcher.link, *([newest.watcher.link] if newest else [])]

    def missing(self) -> str:
        """See `Source`."""
        if self._current is not None:
            return self._pods.missing(self._current.watcher)
        known = self._pool_watcher.reflector
        return (
            f"{self._what}: there is none"
            if known.synced and not any(known.objects.values())
            else ""
        )

    def _pool_changed(self) -> None:
        pool = next(filter(None, self._pool_watcher.reflector.objects.values()), None)
        if pool is None:
            news.warning("%s: there is none", self._what)
            _end(self._current)
            _end(self._next)
            self._current = self._next = None
            self._around.report(())
            return
        if pool.ports != self._pods.ports:
            self._pods = _PodList(pool.ports, with_namespace=False)
        self._select(pool.selector)
        self._tell()

    def _select(self, selector: str) -> None:
        if self._next is not None and self._next.selector != selector:
            _end(self._next)
            self._next = None
        newest = self._next or self._current
        if self._tasks is not None and (newest is None or newest.selector != selector):
            what = f"pods with {selector} in {_where(self._around.namespace)}"
            resource = pods_resource(self._around.namespace, selector)
            watcher = self._around.watcher(what, resource, self._pods_changed)
            self._next = _Selected(selector, watcher, self._tasks.create_task(watcher.run()))

    def _pods_changed(self) -> None:
        if self._next is not None and self._next.watcher.reflector.synced:
            _end(self._current)
            self._current, self._next = self._next, None
            self._pods = _PodList(self._pods.ports, with_namespace=False)
        self._tell()

    def _tell(self) -> None:
        if self._current is not None:
            self._around.report(self._pods.sightings(self._current.watcher))


class _Selected(NamedTuple):
    """The watch over the pods of one selector."""

    selector: str
    watcher: Watcher[PodFacts]
    task: asyncio.Task[None]


def _end(selected: _Selected | None) -> None:
    if selected is not None:
        selected.task.cancel()


class _PodList:
    """The endpoints of a watcher's pods, worked out anew for those that changed."""

    def __init__(self, ports: Sequence[int | str], *, with_namespace: bool) -> None:
        self.ports = tuple(ports)
        self._with_namespace = with_namespace
        self._known: dict[str, tuple[PodFacts, tuple[Sighting, ...]]] = {}

    def sightings(self, watcher: Watcher[PodFacts]) -> list[Sighting]:
        """All of them."""
        before, self._known = self._known, {}
        for key, facts in watcher.reflector.objects.items():
            if facts is not None:
                known = before.get(key)
                if known is None or known[0] is not facts:
                    known = (
                        facts,
                        pod_sightings(facts, self.ports, with_namespace=self._with_namespace),
                    )
                self._known[key] = known
        return [sighting for _, sightings in self._known.values() for sighting in sightings]

    def missing(self, watcher: Watcher[PodFacts]) -> str:
        """See `Source`."""
        if not watcher.reflector.synced:
            return ""
        why = why_no_pod(watcher.reflector.objects.values(), self.ports)
        return why and f"{watcher.link.what}: {why}"


def make_source(config: KubernetesConfig, around: Surroundings) -> Source:
    """The source of a configuration."""
    if isinstance(config, PodsConfig):
        return PodsSource(config, around)
    if isinstance(config, ServiceConfig):
        return ServiceSource(config, around)
    return InferencePoolSource(config, around)


def pods_resource(namespace: str, selector: str) -> Resource[PodFacts]:
    """The pods of a namespace (of all: `*`) with these labels."""
    where = "" if namespace == ALL_NAMESPACES else f"/namespaces/{namespace}"
    return Resource(f"/api/v1{where}/pods", {"labelSelector": selector}, read_pod)


def _where(namespace: str) -> str:
    return "all namespaces" if namespace == ALL_NAMESPACES else namespace
