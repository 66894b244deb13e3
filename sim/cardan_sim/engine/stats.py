"""What an engine counts about itself: totals and histograms, before anyone renders them.

The bucket edges are those of the recorded `/metrics` of each make. Note what they hide: SGLang's
first TTFT bucket is 0.1 s, vLLM's first queue-time bucket 0.3 s.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from cardan_sim.engine.spec import Make

_TOKENS: Final = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4)
_VLLM_TTFT: Final = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5),
    *(10.0, 20.0, 40.0, 80.0, 160.0, 640.0, 2560.0),
)
_VLLM_ITL: Final = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0),
    *(20.0, 40.0, 80.0),
)
_VLLM_LATENCY: Final = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0),
    *(240.0, 480.0, 960.0, 1920.0, 7680.0),
)
_SGLANG_TTFT: Final = (
    *(0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 20.0, 40.0, 60.0, 80.0, 100.0),
    *(200.0, 400.0),
)
_SGLANG_ITL: Final = (
    *(0.002, 0.004, 0.006, 0.008, 0.01, 0.015, 0.02, 0.025, 0.03, 0.035, 0.04, 0.06, 0.08, 0.1),
    *(0.2, 0.4, 0.6, 0.8, 1.0, 2.0, 4.0, 6.0, 8.0),
)
_SGLANG_QUEUE: Final = (
    *(0.0, 0.001, 0.005, 0.01, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 15.0, 20.0),
    *(30.0, 40.0, 50.0, 60.0, 70.0, 80.0, 90.0),
    *(100.0, 200.0, 300.0, 400.0, 500.0, 600.0, 700.0, 800.0, 900.0, 1000.0),
    *(1200.0, 1400.0, 1600.0, 1800.0, 2000.0, 2500.0, 3000.0),
)
_SGLANG_TOKENS: Final = (
    *(100, 300, 500, 700, 1e3, 1.5e3, 2e3, 3e3, 4e3, 5e3, 6e3, 7e3, 8e3, 9e3, 1e4, 1.25e4, 1.5e4),
    *(1.75e4, 2e4, 2.25e4, 2.5e4, 2.75e4, 3e4, 3.5e4, 4e4, 6e4, 8e4, 1e5, 2e5, 3e5, 4e5, 6e5, 8e5),
    *(1e6, 1.1e6),
)
_STEP_TOKENS: Final = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)

BUCKETS: Final[dict[Make, dict[str, tuple[float, ...]]]] = {
    "vllm": {
        "ttft_s": _VLLM_TTFT,
        "itl_s": _VLLM_ITL,
        "tpot_s": _VLLM_ITL,
        "e2e_s": _VLLM_LATENCY,
        "queue_s": _VLLM_LATENCY,
        "prefill_s": _VLLM_LATENCY,
        "decode_s": _VLLM_LATENCY,
        "inference_s": _VLLM_LATENCY,
        "prompt_tokens": _TOKENS,
        "uncached_tokens": _TOKENS,
        "generated_tokens": _TOKENS,
        "max_tokens": _TOKENS,
        "preemptions": (1, 2, 3, 4, 5, 10, 20),
        "choices": (1, 2, 5, 10, 20),
        "step_tokens": _STEP_TOKENS,
    },
    "sglang": {
        "ttft_s": _SGLANG_TTFT,
        "itl_s": _SGLANG_ITL,
        "tpot_s": _SGLANG_ITL,
        "e2e_s": (*_SGLANG_TTFT, 600.0, 1200.0, 1800.0, 2400.0),
        "queue_s": _SGLANG_QUEUE,
        "prompt_tokens": _SGLANG_TOKENS,
        "uncached_tokens": _SGLANG_TOKENS,
        "generated_tokens": _SGLANG_TOKENS,
    },
}


class Histogram:
    """Counts by bucket; an observation belongs to the first edge that is not below it."""

    __slots__ = ("counts", "edges", "sum")

    def __init__(self, edges: tuple[float, ...]) -> None:
        """An empty histogram with upper `edges`; what is above the last goes to +Inf."""
        self.edges = edges
        self.counts = [0] * (len(edges) + 1)
        self.sum = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count an observation, or as many equal ones."""
        self.counts[bisect_left(self.edges, value)] += times
        self.sum += value * times

    @property
    def count(self) -> int:
        """All observations."""
        return sum(self.counts)

    def clear(self) -> None:
        """Forget all observations."""
        self.counts = [0] * len(self.counts)
        self.sum = 0.0


@dataclass(slots=True)
class Stats:
    """Totals since the start; tokens unless the name says otherwise.

    Histograms are keyed by what they measure and whether the request was streamed, since SGLang
    labels some of them so. What a make does not export is not kept.
    """

    make: Make
    prompt_queried: int = 0
    prompt_cached: int = 0
    prompt_computed: int = 0
    generated: int = 0
    steps: int = 0
    preemptions: int = 0
    refused: int = 0
    evicted_from_queue: int = 0
    busy_s: float = 0.0
    prefill_busy_s: float = 0.0
    finished: Counter[str] = field(default_factory=Counter)
    finished_by_stream: Counter[bool] = field(default_factory=Counter)
    prompt_by_stream: Counter[bool] = field(default_factory=Counter)
    generated_by_stream: Counter[bool] = field(default_factory=Counter)
    histograms: dict[tuple[str, bool], Histogram] = field(default_factory=dict)

    def observe(self, name: str, value: float, *, streamed: bool = False, times: int = 1) -> None:
        """Count `value` in histogram `name`, if this make has it."""
        histogram = self.histograms.get((name, streamed))
        if histogram is None:
            edges = BUCKETS[self.make].get(name)
            if edges is None:
                return
            histogram = self.histograms[name, streamed] = Histogram(edges)
        histogram.observe(value, times)

    def merged(self, name: str) -> Histogram:
        """Histogram `name` over streamed and whole answers; empty if nothing was observed."""
        total = Histogram(BUCKETS[self.make][name])
        for streamed in (False, True):
            part = self.histograms.get((name, streamed))
            if part is not None:
                total.counts = [a + b for a, b in zip(total.counts, part.counts, strict=True)]
                total.sum += part.sum
        return total
