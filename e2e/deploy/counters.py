"""What pods of a release count, read from their pages of metrics as Prometheus would."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Final

from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from e2e.deploy.release import Release

ADMIN_PORT: Final = 9090


def page(release: Release, pod: str) -> str:
    """A pod's page, through the API server; `pod` with its port."""
    path = f"/api/v1/namespaces/{release.namespace}/pods/{pod}/proxy/metrics"
    return release.kubectl("get", "--raw", path)


def of_gateways(release: Release, series: str, **labels: str) -> list[Counter[str]]:
    """Each gateway's own count of a series by endpoint; without endpoints all is under ""."""
    pods = [pod["metadata"]["name"] for pod in release.pods("router")]
    return [_count(page(release, f"{pod}:{ADMIN_PORT}"), series, labels) for pod in pods]


def together(release: Release, series: str, **labels: str) -> Counter[str]:
    """The same of all gateways, added up."""
    return sum(of_gateways(release, series, **labels), Counter())


def _count(text: str, series: str, labels: dict[str, str]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name == series and labels.items() <= sample.labels.items():
                counts[sample.labels.get("endpoint", "")] += int(sample.value)
    return counts
