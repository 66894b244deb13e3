"""Snapshots in Prometheus' text format, one process's or several merged.

Written here and not by `prometheus_client`, which takes 200 ms for a thousand endpoints: that long
no request would be served. Tests read the result with its parser.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

from cardan_router.telemetry.registry import Kind, Sample, Snapshot, Spec

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from cardan_router.telemetry.registry import Labels

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_ESCAPES = str.maketrans({"\\": r"\\", '"': r"\"", "\n": r"\n"})


def render(specs: Mapping[str, Spec], snapshots: Mapping[str, Snapshot]) -> bytes:
    """The exposition of `snapshots` (by worker name) as one gateway's."""
    return "".join(line for spec in specs.values() for line in _lines(spec, snapshots)).encode()


def merge(
    spec: Spec, snapshots: Mapping[str, Snapshot]
) -> tuple[tuple[str, ...], dict[tuple[str, ...], Sample]]:
    """Label names and series of one metric over all workers."""
    several = spec.merge == "each" and len(snapshots) > 1
    merged: dict[tuple[str, ...], Sample] = {}
    for worker, snapshot in snapshots.items():
        for sample in snapshot.samples.get(spec.name, ()):
            labels = (*sample.labels, worker) if several else sample.labels
            known = merged.get(labels)
            merged[labels] = sample if known is None else _both(spec, known, sample)
    return ((*spec.labels, "worker") if several else spec.labels), merged


def _both(spec: Spec, one: Sample, other: Sample) -> Sample:
    value = max(one.value, other.value) if spec.merge == "max" else one.value + other.value
    if not other.counts:
        return Sample(one.labels, value)
    counts = [a + b for a, b in zip(one.counts, other.counts, strict=True)]
    return Sample(one.labels, value, counts)


def _lines(spec: Spec, snapshots: Mapping[str, Snapshot]) -> Iterator[str]:
    names, samples = merge(spec, snapshots)
    yield f"# HELP {spec.name} {spec.help}\n# TYPE {spec.name} {spec.kind.value}\n"
    histogram = spec.kind is Kind.HISTOGRAM
    for values, sample in samples.items():
        labels = _labels(names, values)
        if histogram:
            yield from _histogram(spec.name, spec.buckets, labels, sample)
        else:
            yield f"{spec.name}{_braced(labels)} {number(sample.value)}\n"


def _labels(names: Labels, values: Labels) -> str:
    return ",".join(
        [f'{name}="{_escaped(value)}"' for name, value in zip(names, values, strict=True)]
    )


@functools.lru_cache(4096)  # the same endpoints and models again and again
def _escaped(value: str) -> str:
    return value.translate(_ESCAPES)


def _braced(labels: str) -> str:
    return f"{{{labels}}}" if labels else ""


def _histogram(name: str, buckets: tuple[float, ...], labels: str, sample: Sample) -> Iterator[str]:
    before = f"{name}_bucket{{{labels}{',' if labels else ''}le="
    total = 0
    for edge, count in zip((*buckets, math.inf), sample.counts, strict=True):
        total += count
        yield f'{before}"{number(edge)}"}} {total}\n'
    yield f"{name}_sum{_braced(labels)} {number(sample.value)}\n"
    yield f"{name}_count{_braced(labels)} {total}\n"


def number(value: float) -> str:
    """A number as Prometheus writes it."""
    if value == math.inf:
        return "+Inf"
    if value == -math.inf:
        return "-Inf"
    return "NaN" if value != value else repr(value)  # only NaN differs from itself
