"""Following an operator: the RoutingOverlays of the gateway's own namespace, put in force.

One task for each process, beside discovery and apart from it: that no operator is there, or that
its objects may not be read, must not touch who is found. All objects are combined in the order of
their names, so that every gateway comes to the same overlay. While the API cannot be reached the
last one stays, as does what an object said before it could not be read; and a gateway that starts
waits with its readiness until it knows, one way or the other, what the operator says.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
from typing import TYPE_CHECKING

from cardan.instants import Monotonic
from cardan.overlay import NO_OVERLAY, combined, some, unborne
from cardan_kube.api import KubernetesApi, own_namespace
from cardan_kube.watcher import Watcher

from cardan_router.about import VERSION
from cardan_router.anew import run_anew
from cardan_router.discovery.kubernetes.overlays import (
    OverlayLink,
    OverlayMeter,
    overlays_resource,
)
from cardan_router.logs import NEWS

if TYPE_CHECKING:
    from collections.abc import Callable
    from random import Random

    from cardan.fleet import Fleet
    from cardan.overlay import RoutingOverlay

    from cardan_router.discovery_config import KubernetesConfig

news = logging.getLogger(NEWS)

# Discovery and the operator see the same cluster, each in its time: who is named is gone here a
# second before it is gone there, or is seen when its image is pulled.
UNBORNE_S = 30.0


class Overlays:
    """Watches overlays as the configuration in force says, and applies them to the fleet.

    `on_change` is told after each change: who waits may have somewhere to go.
    """

    def __init__(
        self,
        config: KubernetesConfig | None,
        fleet: Fleet,
        clock: Callable[[], float],
        rng: Random,
        on_change: Callable[[], None],
    ) -> None:
        self._config = _followed(config)
        self._fleet = fleet
        self._clock = clock
        self._rng = rng
        self._on_change = on_change
        self._changed = asyncio.Event()
        self._watcher: Watcher[RoutingOverlay] | None = None
        self._known: dict[str, RoutingOverlay] = {}
        self._is_new = True  # nothing has been heard under this configuration
        self._unborne: frozenset[str] = frozenset()
        self._said: frozenset[str] = frozenset()
        self._look_at = 0.0
        self.namespace = ""

    async def run(self) -> None:
        """Watch, for ever; a new configuration begins anew."""
        await run_anew(self._watch, self._changed)

    def reconfigure(self, config: KubernetesConfig | None) -> None:
        """Take another configuration; the overlay stays until its first answer has come."""
        config = _followed(config)
        if config != self._config:
            self._config, self._known, self._is_new = config, {}, True
            self._changed.set()
            if config is None:
                self._apply(NO_OVERLAY)

    def waits_for(self) -> str:
        """Why it is not known yet what the operator says; empty if it is, or cannot be."""
        if self._config is None:
            return ""
        watcher = self._watcher
        heard = watcher is not None and (watcher.reflector.synced or watcher.link.fault)
        return "" if heard else "the Kubernetes API has not told what the operator says"

    def generation(self) -> float | None:
        """The generation in force; None where no overlay is."""
        overlay = self._fleet.overlay
        return float(overlay.generation) if overlay.models else None

    def look(self, now: float) -> None:
        """Now and then: say which names of the overlay nobody has borne for a while."""
        if now < self._look_at:
            return
        self._look_at = now + UNBORNE_S
        fleet, before = self._fleet, self._unborne
        served = fleet.overlay.models.keys() & set(fleet.models())
        names = (unborne(fleet.overlay.models[model], fleet.endpoints) for model in served)
        self._unborne = frozenset(itertools.chain.from_iterable(names))
        fresh = (self._unborne & before) - self._said
        self._said = (self._said & self._unborne) | fresh
        if fresh:
            news.warning("routing overlay: no endpoint is called %s", some(sorted(fresh)))

    async def _watch(self) -> None:
        config = self._config
        if config is None:
            await asyncio.Event().wait()
            return
        namespace = self.namespace = own_namespace(config.kubeconfig)
        link = OverlayLink(
            f"RoutingOverlays in {namespace}",
            OverlayMeter(news, self._clock),
            lambda: self._none_there(config),
        )
        watcher = self._watcher = Watcher(
            KubernetesApi(config.kubeconfig, f"cardan/{VERSION}"),
            overlays_resource(namespace),
            link,
            lambda: self._take(watcher, config),
            self._rng,
        )
        try:
            await watcher.run()
        finally:
            self._watcher = None

    def _take(self, watcher: Watcher[RoutingOverlay], config: KubernetesConfig) -> None:
        """What is known has changed. A watcher outlives its configuration by some turns.

        Of an object that cannot be read the last word that could be counts.
        """
        if config is not self._config:
            return
        self._is_new = False
        last, self._known = self._known, {}
        for key, overlay in sorted(watcher.reflector.objects.items()):
            spoilt = overlay is None and key in watcher.reflector.complaints
            good = last.get(key) if spoilt else overlay
            if good is not None:
                self._known[key] = good
        self._apply(combined(self._known.values()))

    def _none_there(self, config: KubernetesConfig) -> None:
        """The API has none to read, and never had under this configuration."""
        if config is self._config and self._is_new:
            self._is_new = False
            self._apply(NO_OVERLAY)

    def _apply(self, overlay: RoutingOverlay) -> None:
        before = self._fleet.overlay
        self._fleet.apply(overlay, Monotonic(self._clock()))
        if overlay.models != before.models:
            news.info("routing overlay: %s", overlay.words() or "nothing is different any more")
            self._on_change()


def _followed(config: KubernetesConfig | None) -> KubernetesConfig | None:
    return config if config is not None and config.overlays else None
