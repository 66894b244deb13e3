"""What a run comes to: figures over the requests that arrived in the measured window.

The first `warm_up` requests fill the caches and are not counted. The window is one of arrivals: who
came in it is followed to the end, however late that is, so a policy cannot look good by leaving
work for later. A request without a first token missed its SLO.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Final

import msgspec

from cardan_sim.simulate.recorder import GAP_BIN, OUTCOMES, REASONS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cardan_sim.engine.stats import Histogram
    from cardan_sim.simulate.recorder import Recorder
    from cardan_sim.simulate.world import World

# More tenants than this are a crowd, and tell nothing one by one.
MAX_TENANTS: Final = 50
# Digits of a figure that is written down: nobody reads more, and diffs of goldens stay short.
_DIGITS: Final = 6


class Spread(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of seconds: its mean, and 101 quantiles from the least to the greatest."""

    mean_s: float
    quantiles_s: list[float]

    @property
    def p50_s(self) -> float:
        """The median."""
        return self.quantiles_s[50]

    @property
    def p90_s(self) -> float:
        """Nine of ten are within."""
        return self.quantiles_s[90]

    @property
    def p99_s(self) -> float:
        """99 of 100 are within."""
        return self.quantiles_s[99]


class Phase(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a run: what became of those that arrived in it, from `from_s` to `until_s`.

    `kept_ratio` is the share of keys met again one of whose endpoints was considered the time
    before; None if no key was met again, or none is looked at.
    """

    from_s: float
    until_s: float | None
    requests: int
    attained_ratio: float
    hit_ratio: float
    kept_ratio: float | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """One run.

    `attained_ratio` is the share with a first token within the SLO ("capacity"). `hit_ratio` is the
    engines' word: cached over all prompt tokens; `believed_ratio` what routing believed when it
    decided. `pending_cv` is the mean over time of the coefficient of variation over engines of the
    prompt tokens they have yet to compute. `itl_s` are the times between tokens, of all answers
    after the warm-up; its quantiles are good to 1 %. `tpot_s` are the requests' own mean times per
    token. `phases` are the parts of the run, where it is cut.
    """

    requests: int
    measured: int
    offered_rps: float
    attained_ratio: float
    hit_ratio: float
    believed_ratio: float
    pending_cv: float
    ttft_s: Spread | None
    itl_s: Spread | None
    tpot_s: Spread | None
    e2e_s: Spread | None
    outcomes: dict[str, int]
    reasons: dict[str, int]
    depths: dict[int, int]
    tenants: dict[str, float]
    retried: int
    preemptions: int
    ended_s: float
    phases: list[Phase] = []

    @property
    def belief_error(self) -> float:
        """By how much routing believed in more reuse than there was."""
        return self.believed_ratio - self.hit_ratio


def summarise(world: World, cuts_s: Sequence[float] = ()) -> Summary:
    """The figures of a world that has been played, also by itself for each part between cuts."""
    recorder, slo_s = world.recorder, world.setup.slo_ttft_s
    count = len(recorder)
    start = recorder.warm_up if count > recorder.warm_up else 0
    rows = range(start, count)
    answered = [row for row in rows if recorder.cached[row] >= 0]
    tokens = sum(recorder.tokens[row] for row in answered)
    span_s = recorder.arrived_s[-1] - recorder.arrived_s[0] if count else 0.0
    since_s = recorder.arrived_s[start] if count else 0.0
    until_s = recorder.arrived_s[-1] if count else 0.0
    window = [
        cv
        for cv, at in zip(recorder.pending_cv, recorder.pending_at, strict=True)
        if since_s <= at <= until_s
    ]
    return Summary(
        requests=count,
        measured=len(rows),
        offered_rps=_round((count - 1) / span_s if span_s else 0.0),
        attained_ratio=_attained(recorder, rows, slo_s),
        hit_ratio=_hit(recorder, answered),
        believed_ratio=_ratio(math.fsum(recorder.believed[row] for row in answered), tokens),
        pending_cv=_ratio(math.fsum(window), len(window)),
        ttft_s=spread(recorder.ttft_s[row] for row in rows),
        itl_s=gap_spread(recorder.gaps),
        tpot_s=spread(_tpot_s(recorder, row) for row in answered if recorder.output[row] > 1),
        e2e_s=spread(recorder.e2e_s[row] for row in rows),
        outcomes=_counted(OUTCOMES[recorder.outcome[row]] for row in rows),
        reasons=_counted(
            REASONS[recorder.reason[row]] for row in rows if recorder.reason[row] >= 0
        ),
        depths=dict(sorted(Counter(recorder.depth[row] for row in rows).items())),
        tenants=_tenants(recorder, rows, slo_s),
        retried=sum(recorder.attempts[row] > 1 for row in rows),
        preemptions=sum(seat.model.tally.preemptions for seat in world.cluster.seats),
        ended_s=_round(world.kernel.now),
        phases=list(_phases(recorder, rows, slo_s, cuts_s)),
    )


def _phases(
    recorder: Recorder, rows: Sequence[int], slo_s: float, cuts_s: Sequence[float]
) -> Iterator[Phase]:
    if not cuts_s:
        return
    edges = [0.0, *cuts_s, math.inf]
    for from_s, until_s in pairwise(edges):
        part = [row for row in rows if from_s <= recorder.arrived_s[row] < until_s]
        kept = [recorder.kept[row] for row in part if recorder.kept[row] >= 0]
        yield Phase(
            from_s=from_s,
            until_s=None if math.isinf(until_s) else until_s,
            requests=len(part),
            attained_ratio=_attained(recorder, part, slo_s),
            hit_ratio=_hit(recorder, [row for row in part if recorder.cached[row] >= 0]),
            kept_ratio=_ratio(sum(kept), len(kept)) if kept else None,
        )


def spread(values: Iterable[float]) -> Spread | None:
    """The distribution of those values that are numbers; None if there are none."""
    ordered = sorted(value for value in values if value == value)
    if not ordered:
        return None
    return Spread(
        mean_s=_round(math.fsum(ordered) / len(ordered)),
        quantiles_s=[_round(_quantile(ordered, percent / 100)) for percent in range(101)],
    )


def gap_spread(gaps: Histogram) -> Spread | None:
    """The distribution of what was counted in the bins of a recorder; None of nothing.

    A quantile is the middle of its bin.
    """
    count = gaps.count
    if not count:
        return None
    reached = list(accumulate(gaps.counts))
    quantiles = []
    for percent in range(101):
        number = bisect_left(reached, max(1, math.ceil(percent / 100 * count)))
        edge = gaps.edges[min(number, len(gaps.edges) - 1)]
        quantiles.append(_round(edge / math.sqrt(GAP_BIN)))
    return Spread(mean_s=_round(gaps.sum / count), quantiles_s=quantiles)


def _quantile(ordered: Sequence[float], q: float) -> float:
    """The smallest value that at least a share `q` of the sorted values does not exceed."""
    return ordered[max(0, math.ceil(q * len(ordered)) - 1)]


def _hit(recorder: Recorder, answered: Sequence[int]) -> float:
    tokens = sum(recorder.tokens[row] for row in answered)
    return _ratio(sum(recorder.cached[row] for row in answered), tokens)


def _tpot_s(recorder: Recorder, row: int) -> float:
    return (recorder.e2e_s[row] - recorder.ttft_s[row]) / (recorder.output[row] - 1)


def _attained(recorder: Recorder, rows: Sequence[int], slo_s: float) -> float:
    return _ratio(sum(recorder.ttft_s[row] <= slo_s for row in rows), len(rows))


def _tenants(recorder: Recorder, rows: Sequence[int], slo_s: float) -> dict[str, float]:
    """The attainment of each tenant, where there are some and not too many."""
    if not 1 < len(recorder.tenants) <= MAX_TENANTS:
        return {}
    by_tenant: dict[int, list[int]] = {}
    for row in rows:
        by_tenant.setdefault(recorder.tenant[row], []).append(row)
    return {
        recorder.tenants[tenant]: _attained(recorder, theirs, slo_s)
        for tenant, theirs in sorted(by_tenant.items())
    }


def _counted(words: Iterable[str]) -> dict[str, int]:
    return dict(sorted(Counter(str(word) for word in words).items()))


def _ratio(part: float, whole: float) -> float:
    return _round(part / whole) if whole else 0.0


def _round(value: float) -> float:
    return round(value, _DIGITS)
