"""Asks answered from the gateways' own pages, without a Prometheus.

A few scrapes of each gateway are kept: enough to compare counters over the short and the long
window, thinned so that a thousand endpoints stay within some megabytes. Rates are increases between
the youngest scrape and the youngest one that is a window old, over the time between the two;
a counter that fell was reset by a restart. A gateway that was seen for less than half of the short
window has no rates yet, and does not count as one that is heard: a new leader would take what it
has not seen yet for no load, and shrink every fleet.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from cardan.exposition.text import Wanted

from cardan_controller.metrics.answers import Answer, Answers, Labels
from cardan_controller.metrics.asks import (
    ASKS,
    Age,
    Ask,
    Count,
    Gauge,
    Quantile,
    Rate,
    Window,
    metrics_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from cardan.exposition.text import Sample
    from cardan.instants import WallTime

# Scrapes of one gateway that are kept: with these, the window's edge is met within a fifth.
KEPT: Final = 10
# Of the short window, before rates are rates.
LEAST_HEARD: Final = 0.5
_COUNTERS: Final = ("_total", "_bucket")

Series = tuple[tuple[str, str], ...]
"""Labels, sorted."""
Page = dict[str, dict[Series, float]]
"""Values of one page: by name, by labels."""

_WANTED: Final = Wanted({name for ask in ASKS.values() for name in metrics_of(ask)})


class _Scrapes:
    """What one gateway has said lately, the oldest first.

    Counters are kept as totals that never fall: what a restart set back goes on from where it was.
    """

    __slots__ = ("_raw", "namespace", "taken")

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.taken: list[tuple[float, Page]] = []
        self._raw: Page = {}

    def add(self, at: float, raw: Page, long_s: float) -> None:
        """Keep a page; drop what is older than the long window, then whatever is densest."""
        self.taken.append((at, self._unwrapped(raw)))
        self._raw = raw
        while len(self.taken) > 2 and at - self.taken[1][0] >= long_s:
            del self.taken[0]
        if len(self.taken) > KEPT:
            gaps = [
                (self.taken[i + 1][0] - self.taken[i - 1][0]) / max(at - self.taken[i][0], 1e-9)
                for i in range(1, len(self.taken) - 1)
            ]
            del self.taken[1 + gaps.index(min(gaps))]

    def _unwrapped(self, raw: Page) -> Page:
        if not self.taken:
            return raw
        before = self.taken[-1][1]
        return {
            name: _totals(before.get(name, {}), self._raw.get(name, {}), values)
            if name.endswith(_COUNTERS)
            else values
            for name, values in raw.items()
        }

    def since(self, window_s: float) -> Sequence[tuple[float, Page]]:
        """The pages of the window: from the youngest that is a window old, or the oldest."""
        newest = self.taken[-1][0]
        start = 0
        for index, (at, _) in enumerate(self.taken):
            if newest - at >= window_s:
                start = index
        return self.taken[start:]


class History:
    """The scrapes of all gateways, and answers from them."""

    def __init__(self, short_s: float, long_s: float, stale_after_s: float = 45.0) -> None:
        self._stale_after_s = stale_after_s
        self._windows = {Window.SHORT: short_s, Window.LONG: long_s}
        self._gateways: dict[str, _Scrapes] = {}

    def took(self, gateway: str, namespace: str, at: WallTime, body: bytes) -> None:
        """A gateway's page was read."""
        scrapes = self._gateways.setdefault(gateway, _Scrapes(namespace))
        scrapes.add(at, _page(_WANTED.read(body)), self._windows[Window.LONG])

    def keep(self, gateways: Iterable[str]) -> None:
        """Forget all others."""
        existing = set(gateways)
        for gone in self._gateways.keys() - existing:
            del self._gateways[gone]

    def _heard(self, now: WallTime) -> list[_Scrapes]:
        """The gateways that speak; all of them where none does, for their age to be told.

        One that has fallen silent would be counted for ever with what it said last.
        """
        young = [
            scrapes
            for scrapes in self._gateways.values()
            if now - scrapes.taken[-1][0] <= self._stale_after_s
        ]
        return young or list(self._gateways.values())

    def answers(self, now: WallTime) -> Answers:
        """Every ask of the catalogue."""
        told = {name: Answer(self._answer(ask, now)) for name, ask in ASKS.items()}
        return Answers(now, told)

    def _answer(self, ask: Ask, now: WallTime) -> dict[Labels, float]:
        values: dict[Labels, float] = {}
        if isinstance(ask, Quantile):
            return self._quantiles(ask, now)
        for scrapes in self._heard(now):
            for labels, value in _told(ask, scrapes, self._windows, now):
                key = (scrapes.namespace, *labels)
                old = values.get(key)
                values[key] = value if old is None else _joined(ask, old, value)
        return values

    def _quantiles(self, ask: Quantile, now: WallTime) -> dict[Labels, float]:
        buckets: dict[Labels, dict[float, float]] = {}
        rate = Rate(
            metric=f"{ask.metric}_bucket", by=(*ask.by, "le"), window=ask.window, where=ask.where
        )
        for scrapes in self._heard(now):
            for (*labels, le), value in _rates(rate, scrapes, self._windows[ask.window]):
                of = buckets.setdefault((scrapes.namespace, *labels), {})
                of[float(le)] = of.get(float(le), 0.0) + value
        found = ((labels, quantile(of, ask.quantile)) for labels, of in buckets.items())
        return {labels: value for labels, value in found if value is not None}


def quantile(cumulative: Mapping[float, float], q: float) -> float | None:
    """A quantile from cumulative bucket counts by upper bound, as PromQL interpolates it.

    None without an observation. In the bucket without an upper bound it is the last bound.
    """
    bounds = sorted(cumulative)
    total = cumulative[bounds[-1]] if bounds else 0.0
    if total <= 0:
        return None
    rank, lower, below = q * total, 0.0, 0.0
    for bound in bounds:
        count = cumulative[bound]
        if count >= rank:
            if bound == float("inf"):
                return lower
            inside = count - below
            return lower + (bound - lower) * ((rank - below) / inside if inside else 1.0)
        lower, below = bound, count
    return lower


def _told(
    ask: Ask, scrapes: _Scrapes, windows: Mapping[Window, float], now: WallTime
) -> Iterator[tuple[Labels, float]]:
    at, page = scrapes.taken[-1]
    if isinstance(ask, Rate):
        yield from _rates(ask, scrapes, windows[ask.window])
    elif ask.metric not in page:
        return
    elif isinstance(ask, Age):
        yield (), max(0.0, now - at)
    elif isinstance(ask, Count):
        heard_s = at - scrapes.taken[0][0]
        yield (), float(heard_s >= LEAST_HEARD * windows[Window.SHORT])
    elif isinstance(ask, Gauge):
        for labels, value in page[ask.metric].items():
            key = _key(dict(labels), ask.by)
            if key is not None:
                yield key, value


def _rates(ask: Rate, scrapes: _Scrapes, window_s: float) -> Iterator[tuple[Labels, float]]:
    pages = scrapes.since(window_s)
    elapsed_s = pages[-1][0] - pages[0][0]
    if elapsed_s <= 0:
        return
    # A series that was not there had not begun: a gateway makes its series, at zero, when it starts
    # or when a model comes. What is relayed began somewhere else, with what nobody knows.
    before = pages[0][1].get(ask.metric, {})
    for labels, value in pages[-1][1].get(ask.metric, {}).items():
        named = dict(labels)
        key = _key(named, ask.by)
        if ask.relayed and labels not in before:
            continue
        if key is not None and _matches(ask, named):
            yield key, (value - before.get(labels, 0.0)) / elapsed_s


def _totals(
    before: Mapping[Series, float], old: Mapping[Series, float], new: Mapping[Series, float]
) -> dict[Series, float]:
    """Totals after a page, from those before it and both raw pages."""
    return {
        series: before.get(series, 0.0) + _risen(old.get(series, 0.0), value)
        for series, value in new.items()
    }


def _risen(old: float, new: float) -> float:
    return new - old if new >= old else new


def _matches(ask: Rate, labels: Mapping[str, str]) -> bool:
    return all(labels.get(name, "") in words for name, words in ask.where) and not any(
        labels.get(name, "") in words for name, words in ask.unless
    )


def _key(labels: Mapping[str, str], by: Sequence[str]) -> Labels | None:
    return tuple(labels[name] for name in by) if all(name in labels for name in by) else None


def _joined(ask: Ask, old: float, new: float) -> float:
    adds = isinstance(ask, Count) or (isinstance(ask, Rate) and not ask.relayed)
    if adds or (isinstance(ask, Gauge) and ask.sum):
        return old + new
    return min(old, new) if isinstance(ask, Age) else max(old, new)


def _page(samples: Mapping[str, Sequence[Sample]]) -> Page:
    return {
        name: {tuple(sorted(sample.labels.items())): sample.value for sample in found}
        for name, found in samples.items()
    }
