"""Load as real services had it: published rates and arrivals, read from where the user keeps them.

- ServeGen (Alibaba Cloud, arXiv:2505.09999): rates of all clients in windows of ten minutes,
  summed; mean lengths as published. Inside a window nothing is known, so rates are joined by lines.
- Azure (Splitwise, ISCA 2024) and Mooncake (FAST 2025): single arrivals, counted in windows of 15
  s, and multiplied: so are their ups and downs, of which a part is chance.
"""

from __future__ import annotations

import csv
import gzip
from collections import Counter, defaultdict
from statistics import mean
from typing import TYPE_CHECKING, Final

from cardan_sim.scaling.offered import Mix
from cardan_sim.scaling.workloads import DAY_S, Workload
from cardan_sim.traces.read import read_trace

if TYPE_CHECKING:
    from pathlib import Path

WINDOW_S: Final = 600.0
BIN_S: Final = 15.0


def servegen(path: Path, name: str, mix: Mix, *, days: float, scale: float = 1.0) -> Workload:
    """The first `days` of a ServeGen file of rates (client, timestamp, rate, ...)."""
    sums: defaultdict[int, float] = defaultdict(float)
    with gzip.open(path, "rt", encoding="utf-8", newline="") as lines:
        for row in csv.DictReader(lines):
            sums[int(float(row["timestamp"]) // WINDOW_S)] += float(row["rate"])
    windows = int(days * DAY_S / WINDOW_S)
    rates = [scale * sums[i] for i in range(windows + 1)]
    rates[-1] = rates[-1] or rates[-2]  # the window after the last is not in the file
    return Workload(name, rates, (mix,), WINDOW_S, days * DAY_S / 2)


def arrivals(path: Path, name: str, *, hit_ratio: float, scale: float) -> Workload:
    """A trace of requests as rates in bins, with the trace's mean lengths."""
    requests = read_trace(path)
    counts = Counter(int((request.arrival_s or 0.0) // BIN_S) for request in requests)
    last = max(counts)
    rates = [scale * counts[i] / BIN_S for i in range(last)]
    mix = Mix(
        prompt_tokens=mean(request.input_tokens for request in requests),
        hit_ratio=hit_ratio,
        output_tokens=mean(request.output_tokens or 0 for request in requests),
    )
    return Workload(name, rates, (mix,), BIN_S, int(len(rates) / 2) * BIN_S)


# What each published file is, as its README describes it; a hit ratio only where prefixes are
# known.
M_LARGE: Final = Mix(prompt_tokens=670.0, hit_ratio=0.0, output_tokens=137.0)
DEEPSEEK: Final = Mix(prompt_tokens=1271.0, hit_ratio=0.0, output_tokens=1530.0)


def recorded(folder: Path) -> list[Workload]:
    """What of the known files lies in `folder`; those that are absent are left out."""
    found = []
    files = folder / "servegen"
    if (path := files / "servegen_m-large_rates_days0-6.csv.gz").exists():
        found.append(servegen(path, "servegen m-large", M_LARGE, days=2))
    if (path := files / "servegen_deepseek-r1_rates_day0.csv.gz").exists():
        found.append(servegen(path, "servegen deepseek-r1", DEEPSEEK, days=1))
    for name, file, hit_ratio, scale in (
        ("azure conversation", "azure2023/AzureLLMInferenceTrace_conv.csv.gz", 0.0, 20.0),
        ("azure code", "azure2023/AzureLLMInferenceTrace_code.csv.gz", 0.0, 20.0),
        ("mooncake conversation", "mooncake/conversation_trace.jsonl.gz", 0.374, 8.0),
    ):
        if (folder / file).exists():
            found.append(arrivals(folder / file, name, hit_ratio=hit_ratio, scale=scale))
    return found
