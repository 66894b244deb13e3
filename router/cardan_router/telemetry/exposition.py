"""Snapshots in Prometheus' text format, one process's or several merged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.registry import Collector

from cardan_router.telemetry.registry import Kind, Sample, Snapshot, Spec

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def render(specs: Mapping[str, Spec], snapshots: Mapping[str, Snapshot]) -> bytes:
    """The exposition of `snapshots` (by worker name) as one gateway's."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshots(specs, snapshots))
    return generate_latest(registry)


class _Snapshots(Collector):
    """Hands merged snapshots to `prometheus_client`, which formats and escapes."""

    def __init__(self, specs: Mapping[str, Spec], snapshots: Mapping[str, Snapshot]) -> None:
        self._specs = specs
        self._snapshots = snapshots

    def collect(self) -> Iterable[Metric]:
        for spec in self._specs.values():
            labels, samples = merge(spec, self._snapshots)
            yield _family(spec, labels, samples)


def merge(
    spec: Spec, snapshots: Mapping[str, Snapshot]
) -> tuple[tuple[str, ...], dict[tuple[str, ...], Sample]]:
    """Label names and series of one metric over all workers."""
    several = spec.merge == "each" and len(snapshots) > 1
    merged: dict[tuple[str, ...], Sample] = {}
    for worker, snapshot in snapshots.items():
        for sample in snapshot.samples.get(spec.name, ()):
            labels = (*sample.labels, worker) if several else tuple(sample.labels)
            known = merged.get(labels)
            merged[labels] = sample if known is None else _both(spec, known, sample)
    return ((*spec.labels, "worker") if several else spec.labels), merged


def _both(spec: Spec, one: Sample, other: Sample) -> Sample:
    value = max(one.value, other.value) if spec.merge == "max" else one.value + other.value
    if not other.counts:
        return Sample(one.labels, value)
    counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    return Sample(one.labels, value, counts)


def _family(
    spec: Spec, labels: tuple[str, ...], samples: Mapping[tuple[str, ...], Sample]
) -> Metric:
    if spec.kind is Kind.HISTOGRAM:
        histogram = HistogramMetricFamily(spec.name, spec.help, labels=labels)
        for values, sample in samples.items():
            histogram.add_metric(values, _cumulated(spec, sample.counts), sample.value)
        return histogram
    family: CounterMetricFamily | GaugeMetricFamily
    if spec.kind is Kind.COUNTER:
        family = CounterMetricFamily(spec.name, spec.help, labels=labels)
    else:
        family = GaugeMetricFamily(spec.name, spec.help, labels=labels)
    for values, sample in samples.items():
        family.add_metric(values, sample.value)
    return family


def _cumulated(spec: Spec, counts: list[int]) -> list[tuple[str, float]]:
    total = 0
    rows: list[tuple[str, float]] = []
    for edge, count in zip([*map(str, spec.buckets), "+Inf"], counts, strict=True):
        total += count
        rows.append((edge, total))
    return rows
