"""The Prometheus text format, written: families of samples to a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from cardan_sim.engine.stats import Histogram

Labels = dict[str, str]


@dataclass(frozen=True, slots=True)
class Family:
    """One metric: its samples are (labels, value); a histogram's value is a Histogram."""

    name: str
    type: Literal["counter", "gauge", "histogram"]
    help: str
    samples: list[tuple[Labels, float | Histogram]]


def page(families: list[Family]) -> bytes:
    """The text of a /metrics page."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {family.help}")
        lines.append(f"# TYPE {family.name} {family.type}")
        for labels, value in family.samples:
            if isinstance(value, Histogram):
                _histogram(lines, family.name, labels, value)
            else:
                lines.append(f"{family.name}{_labels(labels)} {float(value)}")
    return "\n".join(lines).encode() + b"\n"


def _histogram(lines: list[str], name: str, labels: Labels, value: Histogram) -> None:
    total = 0
    edges = [*(str(float(edge)) for edge in value.edges), "+Inf"]
    for le, count in zip(edges, value.counts, strict=True):
        total += count
        lines.append(f"{name}_bucket{_labels(labels | {'le': le})} {float(total)}")
    lines.append(f"{name}_count{_labels(labels)} {float(total)}")
    lines.append(f"{name}_sum{_labels(labels)} {float(value.sum)}")


def _labels(labels: Labels) -> str:
    if not labels:
        return ""
    pairs = ",".join(f'{name}="{_escaped(value)}"' for name, value in sorted(labels.items()))
    return "{" + pairs + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
