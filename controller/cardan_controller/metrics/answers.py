"""Answers to asks: values by labels, or why there are none."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from cardan.instants import WallTime

Labels = tuple[str, ...]
"""The gateways' namespace, then the values of the ask's `by`."""


class Answer(NamedTuple):
    """One ask's values; `failed` says why the source could not tell, and is empty if it could.

    `none` are the series whose value is no number (NaN): not known, which is not zero.
    """

    values: Mapping[Labels, float]
    failed: str = ""
    none: frozenset[Labels] = frozenset()


class Sample(NamedTuple):
    """A series of a query that the configuration names; None is no number."""

    labels: Mapping[str, str]
    value: float | None


class ExternalAnswer(NamedTuple):
    """What such a query yields; `failed` says why the source could not tell."""

    samples: tuple[Sample, ...] = ()
    failed: str = ""


class Answers(NamedTuple):
    """One tick's answers, by the ask's name. `at` is when they were asked for.

    `external` are those to the queries that the configuration names. `age_s` is how long ago all of
    them were asked for, by who looks at them.
    """

    at: WallTime
    by_name: Mapping[str, Answer]
    external: Mapping[str, ExternalAnswer] = MappingProxyType({})
    age_s: float = 0.0

    def seen(self, now: WallTime) -> Answers:
        """The same, looked at `now`; a clock that was put back makes nothing younger."""
        return self._replace(age_s=max(0.0, now - self.at))

    def value(self, name: str, labels: Labels) -> float | None:
        """One value; None where there is none."""
        return self.by_name[name].values.get(labels)


class MetricsSource(Protocol):
    """Where answers come from."""

    async def read(self, now: WallTime) -> Answers:
        """Every ask of the catalogue, answered; never raises for what the source does wrong."""
        ...

    async def close(self) -> None:
        """Drop all connections."""
        ...
