"""Which pods are a fleet's gateways: those with the labels that it names, or the configuration."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING

from cardan_controller.carrying import home_of
from cardan_controller.cluster.selectors import Selector, parse
from cardan_controller.metrics.gateways import Gateway

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from cardan_controller.cluster.pods import PodFacts, PodIndex
    from cardan_controller.config import GatewaysConfig
    from cardan_controller.crds.documents import Fleet


class GatewayPods:
    """Finds them."""

    def __init__(self, config: GatewaysConfig) -> None:
        self._usual = parse(config.selector)
        self._port = config.metrics_port

    def ready(self, pods: PodIndex, fleets: Iterable[Fleet]) -> Callable[[str], int]:
        """How many serve in a namespace: those of the configuration, and all that fleets name.

        What gateways count is summed up by their namespace, so it is whole when all are heard.
        """
        named: dict[str, dict[str, Selector]] = {}
        for namespace, selector in self._named(fleets):
            named.setdefault(namespace, {})[selector.text()] = selector

        @functools.cache
        def ready(namespace: str) -> int:
            selectors = (self._usual, *named.get(namespace, {}).values())
            found = {pod.uid: pod for one in selectors for pod in pods.find(namespace, one)}
            return sum(pod.ready_at is not None and not pod.leaving for pod in found.values())

        return ready

    def pages(self, pods: Iterable[PodFacts], fleets: Iterable[Fleet]) -> list[Gateway]:
        """The metrics of all, where there is no Prometheus."""
        named = list(self._named(fleets))
        return [
            Gateway(f"http://{in_url(pod.address)}:{self._port}/metrics", pod.namespace)
            for pod in pods
            if pod.ready_at is not None and pod.address and self._is_one(pod, named)
        ]

    def _is_one(self, pod: PodFacts, named: Iterable[tuple[str, Selector]]) -> bool:
        return self._usual.matches(pod.labels) or any(
            pod.namespace == namespace and selector.matches(pod.labels)
            for namespace, selector in named
        )

    def _named(self, fleets: Iterable[Fleet]) -> Iterator[tuple[str, Selector]]:
        for fleet in fleets:
            if fleet.spec is not None and fleet.spec.gateways.selector is not None:
                yield home_of(fleet).gateways, parse(fleet.spec.gateways.selector.text())


def in_url(address: str) -> str:
    """An IP address as a URL has it."""
    return f"[{address}]" if ":" in address else address
