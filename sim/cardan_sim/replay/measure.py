"""From samples to figures: pure arithmetic, one pass for each."""

from __future__ import annotations

import math
from collections import Counter
from itertools import accumulate
from typing import TYPE_CHECKING, Final

from cardan_sim.replay.figures import (
    SCHEMA,
    Balance,
    EndpointShare,
    Figures,
    Lateness,
    Settings,
    Spread,
    Timeline,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cardan_sim.replay.engines import EngineCounts
    from cardan_sim.replay.openloop import Outcome
    from cardan_sim.replay.sample import Sample

# A client that is this late bends the arrivals it is meant to keep: one bin of what people call
# instant, and a hundredth of the usual SLO.
BEHIND_S: Final = 0.050
# As many bins as a plot can show apart.
_MAX_BINS: Final = 120


def measure(
    outcome: Outcome, settings: Settings, engines: Mapping[str, EngineCounts] | None = None
) -> Figures:
    """All figures of a replay; `engines` are the growths of the engines' own counters.

    Durations are the wall clock's divided by `settings.time_scale`, but for the lateness.
    """
    samples = outcome.samples
    whole = [sample for sample in samples if sample.error is None]
    scale = settings.time_scale
    span_s = _span_s(samples) / scale
    return Figures(
        schema=SCHEMA,
        settings=settings,
        succeeded=len(whole),
        failed=len(samples) - len(whole),
        unfinished=outcome.unfinished,
        unsent=outcome.unsent,
        errors=dict(Counter(s.error for s in samples if s.error is not None).most_common()),
        span_s=span_s,
        requests_per_s=len(whole) / span_s if span_s else 0.0,
        input_tokens_per_s=_per_second((s.prompt_tokens for s in whole), span_s),
        output_tokens_per_s=_per_second((s.output_tokens for s in whole), span_s),
        attained_ratio=attained_ratio(samples, settings.slo_ttft_s * scale),
        hit_ratio=hit_ratio(whole),
        ttft_s=spread(s.ttft_s / scale for s in whole if s.ttft_s is not None),
        itl_s=spread(gap / scale for s in whole for gap in s.gaps_s),
        e2e_s=spread((s.end_s - s.due_s) / scale for s in whole),
        balance=engine_balance(engines) if engines else receipt_balance(whole),
        lateness=lateness(samples),
        timeline=timeline(samples, scale),
    )


def _span_s(samples: Sequence[Sample]) -> float:
    if not samples:
        return 0.0
    return max(s.end_s for s in samples) - min(s.due_s for s in samples)


def _per_second(counts: Iterable[int | None], span_s: float) -> float | None:
    known = [count for count in counts if count is not None]
    return sum(known) / span_s if known and span_s else None


def attained_ratio(samples: Sequence[Sample], slo_ttft_s: float) -> float:
    """Share of requests that came whole and with a first token in time; 0 of nothing."""
    good = sum(s.error is None and s.ttft_s is not None and s.ttft_s <= slo_ttft_s for s in samples)
    return good / len(samples) if samples else 0.0


def hit_ratio(samples: Iterable[Sample]) -> float | None:
    """Cached over all prompt tokens of the requests whose answer said both."""
    cached = total = 0
    for sample in samples:
        if sample.cached_tokens is not None and sample.prompt_tokens is not None:
            cached += sample.cached_tokens
            total += sample.prompt_tokens
    return cached / total if total else None


def spread(values: Iterable[float]) -> Spread | None:
    """The distribution of some durations, or None of none."""
    ordered = sorted(values)
    if not ordered:
        return None
    quantiles = [quantile(ordered, percent / 100) for percent in range(101)]
    return Spread(
        mean_s=math.fsum(ordered) / len(ordered),
        p50_s=quantiles[50],
        p90_s=quantiles[90],
        p99_s=quantiles[99],
        max_s=quantiles[100],
        quantiles_s=quantiles,
    )


def quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least a share `q` of the sorted values does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def lateness(samples: Sequence[Sample]) -> Lateness:
    """How late the client sent its requests."""
    late = spread(sample.late_s for sample in samples)
    if late is None:
        return Lateness(p99_s=0.0, max_s=0.0, behind=False)
    return Lateness(p99_s=late.p99_s, max_s=late.max_s, behind=late.p99_s > BEHIND_S)


def receipt_balance(samples: Iterable[Sample]) -> Balance | None:
    """The balance by the gateway's receipts, over the endpoints they name."""
    by_name: dict[str, list[Sample]] = {}
    for sample in samples:
        if sample.endpoint is not None:
            by_name.setdefault(sample.endpoint, []).append(sample)
    shares = [
        EndpointShare(
            name=name,
            requests=len(served),
            prompt_tokens=_total(s.prompt_tokens for s in served),
            cached_tokens=_total(s.cached_tokens for s in served),
        )
        for name, served in sorted(by_name.items())
    ]
    return _balance("receipts", shares)


def engine_balance(engines: Mapping[str, EngineCounts]) -> Balance | None:
    """The balance by the engines' own counters, idle engines included."""
    shares = [
        EndpointShare(
            name=name,
            requests=counts.requests or 0,
            prompt_tokens=counts.prompt_tokens,
            cached_tokens=counts.cached_tokens,
        )
        for name, counts in engines.items()
    ]
    return _balance("engines", shares)


def _balance(source: str, shares: list[EndpointShare]) -> Balance | None:
    if not shares:
        return None
    computed = [
        share.prompt_tokens - share.cached_tokens
        for share in shares
        if share.prompt_tokens is not None and share.cached_tokens is not None
    ]
    return Balance(
        source="engines" if source == "engines" else "receipts",
        requests=_busiest([share.requests for share in shares]),
        computed=_busiest(computed) if len(computed) == len(shares) else None,
        endpoints=shares,
    )


def _busiest(loads: Sequence[int]) -> float:
    total = sum(loads)
    return max(loads) * len(loads) / total if total else 1.0


def _total(counts: Iterable[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def timeline(samples: Sequence[Sample], scale: float) -> Timeline:
    """Arrivals, ends, failures and requests in flight over time, in at most 120 bins."""
    last_s = max((s.end_s for s in samples), default=0.0) / scale
    bin_s = max(1.0, math.ceil(last_s / _MAX_BINS))
    bins = int(last_s // bin_s) + 1
    due = _histogram((s.due_s / scale for s in samples), bin_s, bins)
    ended = _histogram((s.end_s / scale for s in samples), bin_s, bins)
    failed = _histogram((s.end_s / scale for s in samples if s.error is not None), bin_s, bins)
    in_flight = list(accumulate(d - e for d, e in zip(due, ended, strict=True)))
    return Timeline(bin_s=bin_s, due=due, ended=ended, failed=failed, in_flight=in_flight)


def _histogram(times_s: Iterable[float], bin_s: float, bins: int) -> list[int]:
    counts = [0] * bins
    for time_s in times_s:
        counts[min(bins - 1, int(time_s // bin_s))] += 1
    return counts
