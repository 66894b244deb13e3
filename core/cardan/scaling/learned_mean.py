"""A number that is learned: a mean that forgets, weighed by how long it was seen.

`value` is what decisions read and what is persisted. It follows the running mean only when that has
moved by more than `DEAD_BAND`, so that noise moves neither a decision nor a stored byte, and a
fleet at rest is written down once. The running mean itself is of this process: after a restart it
starts from `value`, with as much weight as was known then.
"""

from __future__ import annotations

from math import ceil, exp2, floor, isfinite, log2, log10

import msgspec

# Half of what is learned is of the last ten minutes: a model's mix of requests changes with the
# hour, a replica's speed hardly ever.
HALF_LIFE_S = 600.0
# A change of 5 % moves a fleet of ten by half a replica; less is not worth a write.
DEAD_BAND = 0.05
# Evidence is persisted in powers of two and up to here: enough to outweigh any prior.
MOST_KEPT_S = 512.0
# One observation speaks for the time since the one before, but not for an outage.
MOST_STEP_S = 60.0


class LearnedMean(msgspec.Struct, frozen=True, omit_defaults=True):
    """A learned mean. `weight_s` is how many seconds of observation it rests on."""

    value: float = 0.0
    weight_s: float = 0.0
    mean: float | None = None  # of this process

    def fold(self, seen: float, elapsed_s: float, half_life_s: float = HALF_LIFE_S) -> LearnedMean:
        """With one more observation, made `elapsed_s` after the one before."""
        if not isfinite(seen) or seen < 0:
            return self
        step_s = min(max(elapsed_s, 0.0), MOST_STEP_S)
        weight_s = self.weight_s * exp2(-step_s / half_life_s) + step_s
        if weight_s <= 0:
            return self
        part = min(1.0, step_s / weight_s)
        before = self.value if self.mean is None else self.mean
        mean = before + (seen - before) * part if self.weight_s > 0 else seen
        return LearnedMean(settled(mean, self.value), weight_s, mean)

    def over(self, prior: float, prior_weight_s: float) -> float:
        """The value, leaning on `prior` as if that had been seen for `prior_weight_s`."""
        total_s = self.weight_s + prior_weight_s
        if total_s <= 0:
            return prior
        return (self.value * self.weight_s + prior * prior_weight_s) / total_s

    def kept(self) -> LearnedMean:
        """What is persisted of it."""
        weight_s = exp2(floor(log2(self.weight_s))) if self.weight_s >= 1 else 0.0
        return LearnedMean(self.value, min(weight_s, MOST_KEPT_S))

    def coarse(self, least: float) -> LearnedMean:
        """What is persisted where its size is enough: the next power of two, from `least` up.

        A mean that sinks to nothing passes every twentieth on its way; this one is written once for
        each half.
        """
        if self.weight_s <= 0:
            return self
        doublings = max(0, ceil(log2(max(self.value, least) / least)))
        return LearnedMean(rounded(least * 2.0**doublings), self.kept().weight_s)


def settled(mean: float, value: float) -> float:
    """`value` unless the mean has left its dead band; rounded to what a decision can use."""
    if value > 0 and abs(mean - value) <= DEAD_BAND * value:
        return value
    return rounded(mean)


def rounded(value: float, digits: int = 4) -> float:
    """To so many significant digits: what is persisted is short."""
    if value == 0 or not isfinite(value):
        return 0.0
    return round(value, digits - 1 - floor(log10(abs(value))))
