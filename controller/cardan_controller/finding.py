"""Which pods are a fleet's gateways: those with the labels that it names, or the configuration."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_controller.carrying import home_of
from cardan_controller.cluster.selectors import Selector, parse
from cardan_controller.metrics.gateways import Gateway

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from cardan_controller.cluster.pods import PodFacts, PodIndex
    from cardan_controller.config import GatewaysConfig
    from cardan_controller.crds import fleet as crds
    from cardan_controller.crds.documents import Fleet


class GatewayPods:
    """Finds them."""

    def __init__(self, config: GatewaysConfig) -> None:
        self._usual = parse(config.selector)
        self._port = config.metrics_port

    def ready(self, pods: PodIndex, namespace: str, named: crds.Selector | None) -> int:
        """How many serve, of a fleet that names these in this namespace."""
        found = pods.find(namespace, self._selector(named))
        return sum(pod.ready_at is not None and not pod.leaving for pod in found)

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
                yield home_of(fleet).gateways, self._selector(fleet.spec.gateways.selector)

    def _selector(self, named: crds.Selector | None) -> Selector:
        return self._usual if named is None else parse(named.text())


def in_url(address: str) -> str:
    """An IP address as a URL has it."""
    return f"[{address}]" if ":" in address else address
