"""What the gateways say of themselves, read from each and added up, as Prometheus would."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from e2e.cluster.interface import Cluster

ADMIN_PORT: Final = 9090
# Where what follows is read, for the reader who wants a graph of it.
NAMES: Final = (
    "cardan_endpoint_requests_total",
    "cardan_cached_tokens_prompt_total",
    "cardan_cached_tokens_actual_total",
)
FLEET: Final = "cardan_fleet_endpoints"


@dataclass(frozen=True)
class Row:
    """What one engine has served."""

    endpoint: str
    requests: int
    prompt_tokens: int
    cached_tokens: int


class Counters:
    """The gateways' counters at one moment."""

    def __init__(self, texts: list[str]) -> None:
        """`texts`: each gateway's `/metrics`."""
        self._sums: Counter[tuple[str, str]] = Counter()  # by name and endpoint
        self.routable: list[int] = []  # of each gateway
        for text in texts:
            self._add(text)

    def _add(self, text: str) -> None:
        routable = 0.0
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                if sample.name in NAMES:
                    self._sums[sample.name, sample.labels["endpoint"]] += int(sample.value)
                elif sample.name == FLEET and sample.labels["which"] == "routable":
                    routable = max(routable, sample.value)
        self.routable.append(int(routable))

    def rows(self) -> list[Row]:
        """Every engine that has served something, by name."""
        names = sorted({endpoint for _, endpoint in self._sums})
        return [Row(name, *(self._sums[what, name] for what in NAMES)) for name in names]


def read(cluster: Cluster, gateways: list[str]) -> Counters:
    """The counters of these pods, through the API server, which needs no way to them."""
    path = "/api/v1/namespaces/default/pods/{}:{}/proxy/metrics"
    return Counters(
        [cluster.kubectl("get", "--raw", path.format(pod, ADMIN_PORT)) for pod in gateways]
    )
