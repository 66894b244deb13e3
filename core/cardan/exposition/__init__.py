"""What engines expose about themselves, read into `cardan.metrics.EngineMetrics`."""

from __future__ import annotations

from cardan.exposition.dialects import read_loads, read_metrics
from cardan.exposition.text import Sample, Wanted, increase

__all__ = ["Sample", "Wanted", "increase", "read_loads", "read_metrics"]
