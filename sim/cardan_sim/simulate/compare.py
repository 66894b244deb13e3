"""Rows compared: means over runs, and paired differences to one of them, with intervals.

Runs with the same rate, segment and seed have the same arrivals and the same luck, so it is their
differences that are averaged (common random numbers). Intervals are Student's at 95 %: segments of
one trace are not independent, and five seeds are few; read them as the least that is uncertain.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from cardan_sim.simulate.runs import Result, Run
    from cardan_sim.simulate.summary import Summary

    Figure = Callable[[Summary], float | None]

# Student's t, two-sided 95 %, by degrees of freedom from 1; beyond the table it is nearly normal.
_T95: Final = (
    *(12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228),
    *(2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086),
)
_NORMAL: Final = 1.96


class Mean(msgspec.Struct, frozen=True):
    """A mean of `count` values and half the width of its interval (0 of one value alone)."""

    mean: float
    half: float
    count: int


def mean_of(values: Sequence[float]) -> Mean | None:
    """The mean of some values; None of none."""
    count = len(values)
    if not count:
        return None
    mean = sum(values) / count
    if count == 1:
        return Mean(round(mean, 6), 0.0, 1)
    variance = sum((value - mean) ** 2 for value in values) / (count - 1)
    t = _T95[count - 2] if count - 2 < len(_T95) else _NORMAL
    return Mean(round(mean, 6), round(t * sqrt(variance / count), 6), count)


class PhaseMeans(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the runs of a row at one rate, in seconds; see `summary.Phase`."""

    from_s: float
    until_s: float | None
    attained: Mean | None
    hit: Mean | None
    kept: Mean | None


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """A row against the reference, by rate; differences in the unit of the figure.

    `itl_p50_s` and `itl_p99_s` are means over runs of these quantiles of the times between tokens;
    without a rate where there are none. `goodput_gain` is relative: 0.05 is five per cent more than
    the reference.
    """

    name: str
    attained: dict[str, Mean]
    attained_gain: dict[str, Mean]
    hit: dict[str, Mean]
    pending_cv: dict[str, Mean]
    belief_error: dict[str, Mean]
    itl_p50_s: dict[str, Mean]
    itl_p99_s: dict[str, Mean]
    phases: dict[str, list[PhaseMeans]]
    goodput_rps: Mean | None
    goodput_gain: Mean | None


def compare(results: Sequence[Result], reference: str) -> list[Row]:
    """Every row, in the order of the results."""
    names = list(dict.fromkeys(result.run.row for result in results))
    rates = list(dict.fromkeys(r.run.rate for r in results if r.run.rate is not None))
    by_run = {_key(result.run): result for result in results}

    def means(name: str, figure: Figure, *, gain: bool = False) -> dict[str, Mean]:
        found = {}
        for rate in rates:
            mean = mean_of(list(_values(by_run, name, rate, figure, reference if gain else None)))
            if mean is not None:
                found[f"{rate:g}"] = mean
        return found

    return [
        Row(
            name=name,
            attained=means(name, lambda s: s.attained_ratio),
            attained_gain=means(name, lambda s: s.attained_ratio, gain=True),
            hit=means(name, lambda s: s.hit_ratio),
            pending_cv=means(name, lambda s: s.pending_cv),
            belief_error=means(name, lambda s: s.belief_error),
            itl_p50_s=means(name, lambda s: None if s.itl_s is None else s.itl_s.p50_s),
            itl_p99_s=means(name, lambda s: None if s.itl_s is None else s.itl_s.p99_s),
            phases={f"{rate:g}": found for rate in rates if (found := _phases(by_run, name, rate))},
            goodput_rps=mean_of(list(_goodputs(results, name).values())),
            goodput_gain=_goodput_gain(results, name, reference),
        )
        for name in names
    ]


Key = tuple[str, float | None, int, int]


def _key(run: Run, row: str | None = None) -> Key:
    return (run.row if row is None else row, run.rate, run.segment, run.seed)


def _values(
    by_run: dict[Key, Result],
    name: str,
    rate: float,
    figure: Figure,
    reference: str | None,
) -> Iterable[float]:
    for key, result in by_run.items():
        if key[0] != name or key[1] != rate or result.summary is None:
            continue
        value = figure(result.summary)
        if reference is not None:
            other = by_run.get(_key(result.run, reference))
            theirs = None if other is None or other.summary is None else figure(other.summary)
            value = None if value is None or theirs is None else value - theirs
        if value is not None:
            yield value


def _phases(by_run: dict[Key, Result], name: str, rate: float) -> list[PhaseMeans]:
    """The parts of a row's runs; runs are cut at the same moments."""
    runs = [
        result.summary.phases
        for key, result in by_run.items()
        if key[0] == name and key[1] == rate and result.summary is not None
    ]
    return [
        PhaseMeans(
            from_s=parts[0].from_s,
            until_s=parts[0].until_s,
            attained=mean_of([part.attained_ratio for part in parts if part.requests]),
            hit=mean_of([part.hit_ratio for part in parts if part.requests]),
            kept=mean_of([part.kept_ratio for part in parts if part.kept_ratio is not None]),
        )
        for parts in zip(*runs, strict=True)
    ]


def _goodputs(results: Sequence[Result], name: str) -> dict[tuple[int, int], float]:
    return {
        (result.run.segment, result.run.seed): result.goodput_rps
        for result in results
        if result.run.row == name and result.goodput_rps is not None
    }


def _goodput_gain(results: Sequence[Result], name: str, reference: str) -> Mean | None:
    ours, theirs = _goodputs(results, name), _goodputs(results, reference)
    return mean_of([ours[k] / theirs[k] - 1.0 for k in ours if theirs.get(k, 0.0) > 0.0])
