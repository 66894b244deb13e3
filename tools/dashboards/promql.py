"""PromQL from metric specifications: what is not exported cannot be asked for.

Every function takes a `Spec` and checks what Prometheus would not: that the labels exist, that
`rate` is of something that counts and a quantile of something with buckets. A wrong query then
fails when the dashboard is generated, instead of drawing an empty panel for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final, NewType, NoReturn

from cardan_router.telemetry.registry import Kind

if TYPE_CHECKING:
    from cardan_router.telemetry.registry import Spec

Expr = NewType("Expr", str)

TARGET_LABELS: Final = frozenset({"namespace", "job", "pod", "instance"})
"""Labels that scraping adds. `pod` and `namespace` exist on Kubernetes only."""


class Matching(str):
    """A label value that is a regular expression (RE2), or one of Grafana's variables."""

    __slots__ = ()


class NotMatching(str):
    """A label value that must not match this regular expression."""

    __slots__ = ()


Where = Mapping[str, str]


def one_of(*words: str) -> Matching:
    """Any of these words."""
    return Matching("|".join(words))


def none_of(*words: str) -> NotMatching:
    """None of these words."""
    return NotMatching("|".join(words))


class QueryError(Exception):
    """A query that the gateway's metrics cannot answer."""


class Scope:
    """Whose series are meant: matchers that every selector gets, where the metric has the label.

    `window` is the range of rates: a duration, or Grafana's `$__rate_interval`.
    """

    def __init__(self, matchers: Where, window: str) -> None:
        self.matchers = dict(matchers)
        self.window = window

    def over(self, window: str) -> Scope:
        """The same series with another window."""
        return Scope(self.matchers, window)

    def select(self, spec: Spec, suffix: str = "", /, **where: str) -> Expr:
        """The series of a metric."""
        _known(spec, where)
        here = {
            name: value
            for name, value in self.matchers.items()
            if name in TARGET_LABELS or name in spec.labels
        }
        inside = ",".join(_matcher(name, value) for name, value in (here | where).items())
        return Expr(f"{spec.name}{suffix}" + (f"{{{inside}}}" if inside else ""))

    def rate(self, spec: Spec, *by: str, **where: str) -> Expr:
        """Per second, summed by labels. Of a histogram: how often it was observed."""
        if spec.kind is Kind.GAUGE:
            _wrong(spec, "is a gauge and has no rate")
        suffix = "_count" if spec.kind is Kind.HISTOGRAM else ""
        return self._summed("rate", spec, suffix, by, where)

    def increase(self, spec: Spec, *by: str, **where: str) -> Expr:
        """How much it grew in the window, summed by labels."""
        if spec.kind is not Kind.COUNTER:
            _wrong(spec, "is no counter")
        return self._summed("increase", spec, "", by, where)

    def quantile(self, q: float, spec: Spec, *by: str, **where: str) -> Expr:
        """A quantile of what was observed in the window, by labels."""
        _has_buckets(spec)
        summed = self._summed("rate", spec, "_bucket", ("le", *by), where)
        return Expr(f"histogram_quantile({q:g}, {summed})")

    def heat(self, spec: Spec, **where: str) -> Expr:
        """Observations by bucket, for a heatmap."""
        _has_buckets(spec)
        return self._summed("increase", spec, "_bucket", ("le",), where)

    def mean(self, spec: Spec, *by: str, **where: str) -> Expr:
        """The mean of what was observed in the window, by labels."""
        _has_buckets(spec)
        total = self._summed("rate", spec, "_sum", by, where)
        return ratio(total, self._summed("rate", spec, "_count", by, where))

    def sum(self, spec: Spec, *by: str, **where: str) -> Expr:
        """A gauge, summed over gateways and whatever is not in `by`."""
        return self._gauge("sum", spec, by, where)

    def sum_within(self, others: Spec, spec: Spec, *by: str) -> Expr:
        """A counter per second, or a gauge, summed over what also has the other metric.

        For metrics that are not ours alone (`process_…`), where one job scrapes others too.
        """
        series = self.select(spec)
        if spec.kind is Kind.COUNTER:
            series = Expr(f"rate({series}[{self.window}])")
        ours = within(series, self.select(others), *sorted(TARGET_LABELS))
        return aggregate("sum", ours, *_checked(spec, by))

    def smooth(self, spec: Spec, *by: str, **where: str) -> Expr:
        """A gauge's mean over the window, summed: for what jumps between scrapes."""
        if spec.kind is not Kind.GAUGE:
            _wrong(spec, "is no gauge")
        return self._summed("avg_over_time", spec, "", by, where)

    def max(self, spec: Spec, *by: str, **where: str) -> Expr:
        """A gauge's largest: right where every gateway says the same of one thing."""
        return self._gauge("max", spec, by, where)

    def highest(self, spec: Spec, *by: str, **where: str) -> Expr:
        """A gauge's largest in the window, by labels: also of series that have ended in it."""
        if spec.kind is not Kind.GAUGE:
            _wrong(spec, "is no gauge")
        series = Expr(f"max_over_time({self.select(spec, **where)}[{self.window}])")
        return aggregate("max", series, *_checked(spec, by))

    def min(self, spec: Spec, *by: str, **where: str) -> Expr:
        """A gauge's smallest."""
        return self._gauge("min", spec, by, where)

    def count(self, spec: Spec, *by: str, **where: str) -> Expr:
        """How many series there are."""
        return self._gauge("count", spec, by, where)

    def _gauge(self, how: str, spec: Spec, by: tuple[str, ...], where: Where) -> Expr:
        if spec.kind is not Kind.GAUGE:
            _wrong(spec, "is no gauge")
        return aggregate(how, self.select(spec, **where), *_checked(spec, by))

    def _summed(
        self, function: str, spec: Spec, suffix: str, by: tuple[str, ...], where: Where
    ) -> Expr:
        series = self.select(spec, suffix, **where)
        return aggregate(
            "sum", Expr(f"{function}({series}[{self.window}])"), *_checked(spec, by, "le")
        )


def aggregate(how: str, expr: Expr, *by: str) -> Expr:
    """`sum`, `max`, … by labels."""
    return Expr(f"{how} by ({', '.join(by)}) ({expr})" if by else f"{how}({expr})")


def ratio(part: Expr, whole: Expr) -> Expr:
    """One over the other; no value (not NaN) where the other is zero."""
    return Expr(f"{part} / ({whole} > 0)")


def difference(one: Expr, other: Expr) -> Expr:
    """One less the other."""
    return Expr(f"{one} - {other}")


def gone(before: Expr, now: Expr) -> Expr:
    """What was there before, and is not now."""
    return Expr(f"{before}\nunless {now}")


def within(expr: Expr, others: Expr, *labels: str) -> Expr:
    """Only series for which there is one of the others, with the same of these labels."""
    return Expr(f"({expr}) and on ({', '.join(labels)}) {others}")


def happening(expr: Expr) -> Expr:
    """Only series above zero: most words of a closed set never happen, and would fill the legend.

    Grafana then draws nothing where nothing happens.
    """
    return Expr(f"{expr} > 0")


def or_zero(expr: Expr) -> Expr:
    """Zero where there are no series: nothing of the kind has happened."""
    return Expr(f"({expr}) or vector(0)")


def _matcher(name: str, value: str) -> str:
    sign = "=~" if isinstance(value, Matching) else "!~" if isinstance(value, NotMatching) else "="
    escaped = value.replace("\\", r"\\").replace('"', r"\"")
    return f'{name}{sign}"{escaped}"'


def _known(spec: Spec, labels: Where | tuple[str, ...], *also: str) -> None:
    for label in labels:
        if label not in TARGET_LABELS and label not in spec.labels and label not in also:
            _wrong(spec, f"has no label {label!r}")


def _checked(spec: Spec, by: tuple[str, ...], *also: str) -> tuple[str, ...]:
    _known(spec, by, *also)
    return by


def _has_buckets(spec: Spec) -> None:
    if spec.kind is not Kind.HISTOGRAM:
        _wrong(spec, "is no histogram")


def _wrong(spec: Spec, what: str) -> NoReturn:
    raise QueryError(f"{spec.name} {what}")
