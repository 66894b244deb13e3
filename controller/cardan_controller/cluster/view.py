"""The cluster as watches keep it: pods, workloads, who else has a say, overlays, fleets.

One list and watch a kind and namespace (or one over all namespaces), each kept by its own
connection. Nothing is acted on before each of them has been listed whole: half a cluster looks like
a fleet without pods.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Generic, NamedTuple, TypeVar

import msgspec
from cardan.overlay import RoutingOverlay
from cardan_kube.api import KubernetesApi
from cardan_kube.link import Link
from cardan_kube.watcher import Resource, Watcher
from cardan_kube.writing import Collection

from cardan_controller.cluster.listed import read_listed
from cardan_controller.cluster.others import read_autoscaler, read_budget
from cardan_controller.cluster.pods import read_pod
from cardan_controller.cluster.scales import WATCHED
from cardan_controller.cluster.targets import TargetRef, read_deployment, read_stateful_set
from cardan_controller.crds.definitions import FLEET, GROUP, OVERLAY, VERSION

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator, Sequence
    from random import Random

    from cardan_kube.link import Meter

    from cardan_controller.cluster.listed import Listed
    from cardan_controller.cluster.others import Autoscaler, DisruptionBudget
    from cardan_controller.cluster.pods import PodFacts
    from cardan_controller.cluster.targets import TargetFacts

T = TypeVar("T")

AGENT: Final = "cardan-controller"


class _OverlayObject(msgspec.Struct):
    spec: RoutingOverlay


_decode_overlay = msgspec.json.Decoder(_OverlayObject).decode


def read_overlay(raw: msgspec.Raw) -> RoutingOverlay:
    """What a RoutingOverlay tells gateways."""
    return _decode_overlay(raw).spec


class Kind(NamedTuple, Generic[T]):
    """A kind that is watched, and what is read of each object."""

    collection: Collection
    read: Callable[[msgspec.Raw], T | None]
    if_unknown: str = ""


PODS: Final = Collection("", "v1", "pods")
DEPLOYMENTS: Final = Kind(Collection("apps", "v1", "deployments"), read_deployment)
STATEFUL_SETS: Final = Kind(Collection("apps", "v1", "statefulsets"), read_stateful_set)
AUTOSCALERS: Final = Kind(
    Collection("autoscaling", "v2", "horizontalpodautoscalers"), read_autoscaler
)
BUDGETS: Final = Kind(Collection("policy", "v1", "poddisruptionbudgets"), read_budget)
_IF_UNKNOWN: Final = "the chart installs the definition with crds.install"
OVERLAYS: Final = Kind(Collection(GROUP, VERSION, OVERLAY.plural), read_overlay, _IF_UNKNOWN)
FLEETS: Final = Kind(Collection(GROUP, VERSION, FLEET.plural), read_listed, _IF_UNKNOWN)


class Watched(Generic[T]):
    """One kind, in some namespaces or in all."""

    def __init__(
        self,
        kind: Kind[T],
        namespaces: Sequence[str],
        api: Callable[[], KubernetesApi],
        meter: Meter,
        rng: Random,
        on_change: Callable[[], None] = lambda: None,  # ticks look; nobody is told
    ) -> None:
        self._watchers = [
            Watcher(
                api(),
                Resource(
                    kind.collection._replace(namespace=namespace).path,
                    {},
                    kind.read,
                    kind.if_unknown,
                ),
                Link(f"{kind.collection.plural} of {namespace or 'all namespaces'}", meter),
                on_change,
                rng,
            )
            for namespace in (namespaces or ("",))
        ]

    def run(self) -> Iterator[Coroutine[None, None, None]]:
        """What has to run for it."""
        return (watcher.run() for watcher in self._watchers)

    @property
    def synced(self) -> bool:
        """Has everything been listed once?"""
        return all(watcher.reflector.synced for watcher in self._watchers)

    @property
    def trouble(self) -> str:
        """Why it may be old; empty while the API answers."""
        return next((w.link.trouble for w in self._watchers if w.link.trouble), "")

    def stale(self, after_s: float) -> str:
        """What has not answered for so long, and why; empty while all has."""
        lost = (watcher.link for watcher in self._watchers if watcher.link.away_s >= after_s)
        return next((f"{link.what}: {link.trouble}" for link in lost if link.trouble), "")

    def silent_s(self) -> float:
        """How long it may be old: since the first that is in trouble was heard; 0 if none is."""
        links = [watcher.link for watcher in self._watchers if watcher.link.trouble]
        return max((link.meter.clock() - (link.last_word_at or 0.0) for link in links), default=0.0)

    def items(self) -> Iterator[tuple[str, T]]:
        """All that could be read, by `namespace/name`."""
        for watcher in self._watchers:
            for key, value in watcher.reflector.objects.items():
                if value is not None:
                    yield key, value

    def names(self) -> Iterator[str]:
        """All that there are, also those that could not be read."""
        for watcher in self._watchers:
            yield from watcher.reflector.objects

    def get(self, key: str) -> T | None:
        """One of them."""
        for watcher in self._watchers:
            value = watcher.reflector.objects.get(key)
            if value is not None:
                return value
        return None


class ClusterView:
    """Everything that is watched. `on_fleets` is called when anything of the fleets changes."""

    def __init__(
        self,
        kubeconfig: str,
        namespaces: Sequence[str],
        meter: Meter,
        rng: Random,
        on_fleets: Callable[[], None] = lambda: None,
    ) -> None:
        def api() -> KubernetesApi:
            return KubernetesApi(kubeconfig, AGENT)

        def watch(kind: Kind[T]) -> Watched[T]:
            return Watched(kind, namespaces, api, meter, rng)

        self.pods: Watched[PodFacts] = watch(
            Kind(PODS, lambda raw: read_pod(raw, self.pods.get))  # with what was read of it before
        )
        self.deployments: Watched[TargetFacts] = watch(DEPLOYMENTS)
        self.stateful_sets: Watched[TargetFacts] = watch(STATEFUL_SETS)
        self.autoscalers: Watched[Autoscaler] = watch(AUTOSCALERS)
        self.budgets: Watched[DisruptionBudget] = watch(BUDGETS)
        self.overlays: Watched[RoutingOverlay] = watch(OVERLAYS)
        self.fleets: Watched[Listed] = Watched(FLEETS, namespaces, api, meter, rng, on_fleets)

    @property
    def _all(self) -> tuple[Watched[object], ...]:
        return (
            self.pods,  # type: ignore[return-value]  # a view of many types
            self.deployments,
            self.stateful_sets,
            self.autoscalers,
            self.budgets,
            self.overlays,
            self.fleets,
        )

    @property
    def synced(self) -> bool:
        """Has everything been listed once?"""
        return all(watched.synced for watched in self._all)

    def stale(self, after_s: float) -> str:
        """Why what is known is too old to shrink by; empty while it is not."""
        told = (watched.stale(after_s) for watched in self._all)
        return next((words for words in told if words), "")

    def run(self) -> Iterator[Coroutine[None, None, None]]:
        """What has to run for it."""
        for watched in self._all:
            yield from watched.run()

    def uids(self) -> dict[tuple[str, str], str]:
        """The fleets that are there, by namespace and name; empty for one that cannot be read."""
        found: dict[tuple[str, str], str] = {}
        for key in self.fleets.names():
            namespace, _, name = key.partition("/")
            listed = self.fleets.get(key)
            found[namespace, name] = listed.uid if listed is not None else ""
        return found

    def workload(self, ref: TargetRef) -> TargetFacts | None:
        """A target that is watched; None for other kinds, and for one that is not there."""
        key = f"{ref.namespace}/{ref.name}"
        if not self.watches(ref):
            return None
        kind = self.deployments if ref.kind == "Deployment" else self.stateful_sets
        return kind.get(key)

    @staticmethod
    def watches(ref: TargetRef) -> bool:
        """Is this a kind of target that is watched?"""
        return (ref.api_version, ref.kind) in WATCHED
