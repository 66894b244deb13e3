"""What the figures of two runs say, in sentences: as they are, whichever is better."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cardan_sim.replay.table import percent

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan_sim.replay.figures import Figures, Spread

# Below this ratio two figures of one run each are the same: runs differ by about as much.
_SAME = 1.05


def tell(base: Figures, other: Figures) -> list[str]:
    """What changed from one run to another, a sentence for each thing that matters."""
    return [
        *_attainment(base, other),
        *_hits(base, other),
        *_waits(base, other),
        *_loads(base, other),
    ]


def _attainment(base: Figures, other: Figures) -> Iterator[str]:
    slo_s = other.settings.slo_ttft_s
    yield (
        f"{other.settings.label} began {percent(other.attained_ratio)} of all answers within "
        f"{slo_s:g} s, {base.settings.label} {percent(base.attained_ratio)}."
    )


def _hits(base: Figures, other: Figures) -> Iterator[str]:
    if base.hit_ratio is None or other.hit_ratio is None:
        return
    yield (
        f"Engines found {percent(other.hit_ratio)} of all prompt tokens in their caches instead of "
        f"{percent(base.hit_ratio)}: {_work(base.hit_ratio, other.hit_ratio)}."
    )


def _work(base_hit: float, other_hit: float) -> str:
    saved = 1 - (1 - other_hit) / (1 - base_hit) if base_hit < 1 else 0.0
    if abs(saved) < 0.005:
        return "as much to compute"
    return f"{100 * abs(saved):.0f} % {'less' if saved > 0 else 'more'} to compute"


def _waits(base: Figures, other: Figures) -> Iterator[str]:
    if base.ttft_s is None or other.ttft_s is None:
        return
    median = _times(base.ttft_s.p50_s, other.ttft_s.p50_s)
    tail = _times(base.ttft_s.p99_s, other.ttft_s.p99_s)
    yield (
        f"The median wait for the first token is {median} "
        f"({_pair(base.ttft_s, other.ttft_s, 50)}), "
        f"the longest one in a hundred {tail} ({_pair(base.ttft_s, other.ttft_s, 99)})."
    )


def _pair(base: Spread, other: Spread, percentile: int) -> str:
    return f"{other.quantiles_s[percentile]:.2f} s, was {base.quantiles_s[percentile]:.2f} s"


def _times(base_s: float, other_s: float) -> str:
    """How two waits compare."""
    if other_s * _SAME < base_s:
        return f"{base_s / other_s:.1f} times shorter"
    if base_s * _SAME < other_s:
        return f"{other_s / base_s:.1f} times longer"
    return "the same"


def _loads(base: Figures, other: Figures) -> Iterator[str]:
    if base.balance is None or other.balance is None:
        return
    was, now = base.balance.computed, other.balance.computed
    if was is None or now is None:
        return
    yield (f"The busiest engine computed {now:.2f} times the mean of all, was {was:.2f}.")
