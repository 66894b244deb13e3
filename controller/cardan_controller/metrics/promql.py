"""Asks in Prometheus' query language.

Label values are data: they are quoted, and in a regular expression escaped first, so that no name a
user chose can end a matcher and begin another (other autoscalers paste them in).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from cardan_controller.metrics.asks import Age, Ask, Count, Quantile, Rate, Window

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NAMESPACE = "namespace"
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
# What RE2 gives a meaning to.
_META = re.compile(r"([\\.+*?()|\[\]{}^$])")


class Windows:
    """Durations as PromQL writes them, from seconds."""

    def __init__(self, short_s: float, long_s: float) -> None:
        self._text = {Window.SHORT: f"{round(short_s)}s", Window.LONG: f"{round(long_s)}s"}

    def __getitem__(self, window: Window) -> str:
        return self._text[window]


def quoted(text: str) -> str:
    """A string literal."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'


def any_of(words: Sequence[str]) -> str:
    """A string literal with a regular expression that matches exactly these words."""
    return quoted("|".join(_META.sub(r"\\\1", word) for word in words))


def selector(
    metric: str,
    *,
    where: Sequence[tuple[str, Sequence[str]]] = (),
    unless: Sequence[tuple[str, Sequence[str]]] = (),
    extra: Mapping[str, str] | None = None,
) -> str:
    """A series selector; `extra` are labels that must have one value (job, cluster).

    `ValueError` for a label that is no name: those come from configuration.
    """
    parts = [f"{_label(name)}={quoted(value)}" for name, value in sorted((extra or {}).items())]
    parts += [f"{name}=~{any_of(words)}" for name, words in where]
    parts += [f"{name}!~{any_of(words)}" for name, words in unless]
    return f"{metric}{{{','.join(parts)}}}" if parts else metric


def query(ask: Ask, windows: Windows, extra: Mapping[str, str] | None = None) -> str:
    """One ask as a query that yields an instant vector."""
    if isinstance(ask, Rate):
        series = selector(ask.metric, where=ask.where, unless=ask.unless, extra=extra)
        joined = _by("max" if ask.relayed else "sum", ask.by)
        return f"{joined} (rate({series}[{windows[ask.window]}]))"
    if isinstance(ask, Quantile):
        series = selector(f"{ask.metric}_bucket", where=ask.where, extra=extra)
        buckets = f"{_by('sum', (*ask.by, 'le'))} (rate({series}[{windows[ask.window]}]))"
        return f"histogram_quantile({ask.quantile:g}, {buckets})"
    series = selector(ask.metric, extra=extra)
    if isinstance(ask, Age):
        return f"time() - {_by('max', ask.by)} (timestamp({series}))"
    if isinstance(ask, Count):
        # Who is there now, and was long enough for a rate: that takes two samples.
        heard = f"{series} and count_over_time({series}[{windows[Window.SHORT]}]) >= 2"
        return f"{_by('count', ask.by)} ({_by('group', ('instance',))} ({heard}))"
    # What gateways and their workers each have a part of is summed up.
    return f"{_by('sum' if ask.sum else 'max', ask.by)} ({series})"


def _by(function: str, labels: Sequence[str]) -> str:
    return f"{function} by ({', '.join((NAMESPACE, *labels))})"


def _label(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a label")
    return name
