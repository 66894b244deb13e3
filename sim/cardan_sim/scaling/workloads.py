"""Days of load: a rate and a mix for every second, the same for every controller.

Synthetic days have what operators meet: a daily wave that is not the same twice, slow wandering,
bursts of minutes with log-normal heights, deploys that step, spikes of seconds, and prompts whose
length and cacheability drift. All of it comes from a seed. What is measured on real services is in
`recorded`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING, Final

from cardan_sim.scaling.offered import Mix, Offered

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

DAY_S: Final = 86_400.0


@dataclass(frozen=True, slots=True)
class Workload:
    """Offered load at `every_s`, linear in between; the first `tuned_s` are for tuning alone."""

    name: str
    rates: Sequence[float]
    mixes: Sequence[Mix]
    every_s: float
    tuned_s: float

    @property
    def length_s(self) -> float:
        """How long it lasts."""
        return (len(self.rates) - 1) * self.every_s

    def at(self, second: float) -> Offered:
        """The load at a second of it; after its end, the last."""
        place = min(max(0.0, second), self.length_s) / self.every_s
        i = min(int(place), len(self.rates) - 2)
        part = place - i
        rate = self.rates[i] + (self.rates[i + 1] - self.rates[i]) * part
        return Offered(rate, self.mixes[min(i, len(self.mixes) - 1)])

    def mean(self) -> float:
        """Requests a second, over all of it."""
        return sum(self.rates) / len(self.rates)


def constant(rate: float = 30.0, hours: float = 8.0) -> Workload:
    """The same load all the time: whoever scales here, flaps."""
    length_s = hours * 3600
    return Workload("constant", (rate, rate), (Mix(),), length_s, length_s / 2)


def diurnal(days: int = 2, *, seed: int = 1, peak: float = 60.0, trough: float = 12.0) -> Workload:
    """A daily wave, with other heights and another noon every day, and slow wandering."""
    rng = Random(seed)
    seconds = int(days * DAY_S / _EVERY_S) + 1
    waves = [_Wave(rng.lognormvariate(0, 0.08), rng.gauss(0, 1200)) for _ in range(days + 2)]
    wander = _wander(rng, sigma=0.05, relax_s=1800.0)
    rates = []
    for i in range(seconds):
        second = i * _EVERY_S
        wave = waves[int(second // DAY_S)]
        share = wave.share(second, waves[int(second // DAY_S) + 1])
        rates.append((trough + (peak - trough) * share) * math.exp(next(wander)))
    return Workload("diurnal", rates, _drifting(rng, seconds), _EVERY_S, days * DAY_S / 2)


def bursty(days: int = 2, *, seed: int = 2, per_day: float = 8.0) -> Workload:
    """The daily wave with bursts of minutes, steps of hours and spikes of seconds on top."""
    calm = diurnal(days, seed=seed, peak=45.0, trough=12.0)
    rng = Random(seed + 1000)
    extra = [1.0] * len(calm.rates)
    events: list[tuple[float, Callable[[], tuple[float, float, float]]]] = [
        (per_day, lambda: (rng.lognormvariate(-0.9, 0.5), rng.lognormvariate(6.4, 0.6), 60.0)),
        (3.0, lambda: (0.4, rng.uniform(3600, 9000), 30.0)),
        (8.0, lambda: (2.0, 20.0, 3.0)),
    ]
    for times_a_day, draw in events:
        for start in _poisson(rng, times_a_day / DAY_S, days * DAY_S):
            _raise(extra, start, *draw())
    rates = [rate * more for rate, more in zip(calm.rates, extra, strict=True)]
    return Workload("bursty", rates, calm.mixes, calm.every_s, calm.tuned_s)


_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Wave:
    """One day: how high it goes, and by how much its noon is late."""

    height: float
    late_s: float

    def share(self, second: float, tomorrow: _Wave) -> float:
        """0 in the deepest night, about 1 at noon; glides into the next day after dusk."""
        part = max(0.0, (second % DAY_S) / DAY_S - 0.75) * 4
        height = self.height + (tomorrow.height - self.height) * part
        late_s = self.late_s + (tomorrow.late_s - self.late_s) * part
        phase = 2 * math.pi * (second - late_s) / DAY_S
        # Two humps, before and after lunch, as services with office users have.
        raw = 0.5 - 0.5 * math.cos(phase) - 0.12 * math.sin(2 * phase) ** 2
        return max(0.0, raw) * height


def _wander(rng: Random, sigma: float, relax_s: float) -> Iterator[float]:
    """An Ornstein-Uhlenbeck walk in steps of `_EVERY_S`: stays near zero, forgets in `relax_s`."""
    keep = math.exp(-_EVERY_S / relax_s)
    kick = sigma * math.sqrt(1 - keep * keep)
    value = rng.gauss(0, sigma)
    while True:
        yield value
        value = value * keep + rng.gauss(0, kick)


def _drifting(rng: Random, steps: int) -> list[Mix]:
    """Requests get longer and shorter over hours, and more or less of them is cached."""
    length = _wander(rng, sigma=0.12, relax_s=3 * 3600.0)
    answer = _wander(rng, sigma=0.12, relax_s=3 * 3600.0)
    cached = _wander(rng, sigma=0.05, relax_s=3 * 3600.0)
    usual = Mix()
    return [
        Mix(
            usual.prompt_tokens * math.exp(next(length)),
            min(0.9, max(0.0, usual.hit_ratio + next(cached))),
            usual.output_tokens * math.exp(next(answer)),
        )
        for _ in range(steps)
    ]


def _poisson(rng: Random, per_s: float, until_s: float) -> Iterator[float]:
    at = rng.expovariate(per_s)
    while at < until_s:
        yield at
        at += rng.expovariate(per_s)


def _raise(
    extra: list[float], start_s: float, height: float, length_s: float, ramp_s: float
) -> None:
    """Add `height` to the factors from `start_s` on for `length_s`, with ramps at both ends."""
    for i in range(int(start_s / _EVERY_S), len(extra)):
        since = i * _EVERY_S - start_s
        if since > length_s + 2 * ramp_s:
            break
        share = min(since / ramp_s, 1.0, (length_s + 2 * ramp_s - since) / ramp_s)
        extra[i] += height * max(0.0, share)
