"""Metrics as data: what exists is a list of specifications; what was counted are plain numbers.

The hot path adds to dicts and lists; nothing is locked, formatted or looked up by keyword while a
request runs (`prometheus_client`'s own counters cost a microsecond and a half each). Rendering,
merging the workers of one gateway, and the reference page all work from the same list.
"""

from __future__ import annotations

import enum
from bisect import bisect_left
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

Labels = tuple[str, ...]


class Kind(enum.StrEnum):
    """The Prometheus type."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


class Spec(NamedTuple):
    """One metric. `merge` says what several workers' values amount to.

    `sum` and `max` mean what they say; `each` keeps one series for each worker, with a label
    `worker`, where neither would be true. A counter of which the largest counts is somebody
    else's: it is read as gauges are, and not counted here.
    """

    name: str
    kind: Kind
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()
    merge: Literal["sum", "max", "each"] = "sum"

    @property
    def is_read(self) -> bool:
        """Is it read when somebody looks, not counted when something happens?"""
        return self.kind is Kind.GAUGE or (self.kind is Kind.COUNTER and self.merge == "max")


class Cell:
    """The counts of one histogram series: one for each bucket and one for what is above all."""

    __slots__ = ("buckets", "counts", "sum")

    def __init__(self, buckets: tuple[float, ...]) -> None:
        self.buckets = buckets
        self.counts = [0] * (len(buckets) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count one value."""
        self.counts[bisect_left(self.buckets, value)] += 1
        self.sum += value

    def observe_all(self, values: Iterable[float]) -> None:
        """Count many, without a call for each."""
        buckets, counts = self.buckets, self.counts
        for value in values:
            counts[bisect_left(buckets, value)] += 1
            self.sum += value


class Counter:
    """A counter's series by label values."""

    __slots__ = ("series", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.series: dict[Labels, float] = {}

    def add(self, labels: Labels, by: float = 1) -> None:
        """Count."""
        self.series[labels] = self.series.get(labels, 0) + by


class Histogram:
    """A histogram's series by label values."""

    __slots__ = ("series", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.series: dict[Labels, Cell] = {}

    def cell(self, labels: Labels) -> Cell:
        """One series, made when first asked for; keep it to save the look-up."""
        found = self.series.get(labels)
        if found is None:
            found = self.series[labels] = Cell(self.spec.buckets)
        return found


Reading = "Callable[[], Iterable[tuple[Labels, float]]]"


class Gauge:
    """A gauge is read when somebody looks, not written when something changes."""

    __slots__ = ("read", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.read: Callable[[], Iterable[tuple[Labels, float]]] = _nothing


def _nothing() -> Iterable[tuple[Labels, float]]:
    return ()


class Sample(msgspec.Struct, array_like=True):
    """One series in a snapshot: a number, or a histogram's counts and sum."""

    labels: Labels
    value: float = 0.0
    counts: list[int] = []


class Snapshot(msgspec.Struct):
    """Everything one process has counted, by metric name."""

    samples: dict[str, list[Sample]]


class Registry:
    """The metrics of one process, made from their specifications."""

    def __init__(self, specs: Iterable[Spec]) -> None:
        self.specs = {spec.name: spec for spec in specs}
        self._counters = {
            name: Counter(spec)
            for name, spec in self.specs.items()
            if spec.kind is Kind.COUNTER and not spec.is_read
        }
        self._gauges = {name: Gauge(spec) for name, spec in self.specs.items() if spec.is_read}
        self._histograms = {
            name: Histogram(spec)
            for name, spec in self.specs.items()
            if spec.kind is Kind.HISTOGRAM
        }

    def counter(self, spec: Spec) -> Counter:
        """The counter of a specification."""
        return self._counters[spec.name]

    def histogram(self, spec: Spec) -> Histogram:
        """The histogram of a specification."""
        return self._histograms[spec.name]

    def gauge(self, spec: Spec, read: Callable[[], Iterable[tuple[Labels, float]]]) -> None:
        """Say how a gauge is read."""
        self._gauges[spec.name].read = read

    def forget(self, label: str, values: set[str]) -> None:
        """Drop the series whose `label` is one of `values`: what it named is gone."""
        stores: list[Counter | Histogram] = [*self._counters.values(), *self._histograms.values()]
        for store in stores:
            if label in store.spec.labels:
                at = store.spec.labels.index(label)
                for labels in [found for found in store.series if found[at] in values]:
                    del store.series[labels]

    def snapshot(self) -> Snapshot:
        """All numbers as they are now."""
        samples: dict[str, list[Sample]] = {}
        for name, counter in self._counters.items():
            samples[name] = [Sample(labels, value) for labels, value in counter.series.items()]
        for name, gauge in self._gauges.items():
            samples[name] = [Sample(labels, value) for labels, value in gauge.read()]
        for name, histogram in self._histograms.items():
            samples[name] = [
                Sample(labels, cell.sum, list(cell.counts))
                for labels, cell in histogram.series.items()
            ]
        return Snapshot(samples)

    def of_the_past(self, snapshot: Snapshot) -> Snapshot:
        """A snapshot without its gauges: what it said of a present that is over."""
        kept = {
            name: samples for name, samples in snapshot.samples.items() if name not in self._gauges
        }
        return Snapshot(kept)

    def adopt(self, snapshot: Snapshot) -> None:
        """Count on from where a predecessor stopped (counters and histograms).

        A worker that replaces a dead one must not make the sum over workers fall: Prometheus would
        take that for a restart of all and count everything twice.
        """
        for name, samples in snapshot.samples.items():
            for sample in samples:
                if name in self._counters:
                    self._counters[name].add(sample.labels, sample.value)
                elif name in self._histograms:
                    cell = self._histograms[name].cell(sample.labels)
                    if len(sample.counts) == len(cell.counts):
                        cell.counts = [
                            a + b for a, b in zip(cell.counts, sample.counts, strict=True)
                        ]
                        cell.sum += sample.value
