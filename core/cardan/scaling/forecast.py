"""Demand when a replica started now would be ready.

The most of three counts, each over the rate of the last half minute:

- *reactive*: that rate and a tenth: what is needed now;
- *forecast*: the level of that rate, over a minute, times the growth that the best predictor sees
  over the horizon. There are two: the *season* (what the same time of earlier days and weeks grew
  by over such a horizon) and the *trend* (Holt's smoothed level and slope). Each is measured: what
  it said is compared with what came, as the mean absolute log error, beside that of saying nothing
  at all; only one that does about as well as saying nothing is believed, and of two the better;
- *burst*: lambda + z sqrt(lambda IDC / h), the load that arrivals as irregular as those measured
  (index of dispersion of counts) bring over one horizon with z standard deviations.

The answer never lies below the rate itself, nor above twice that: a predictor may be wrong by much.
From the first minute there is a reactive answer; a season needs a whole period.

History is kept as a polyline over quarters of an hour that has a point only where the rate has left
a tenth about the one before, so a fleet at rest has one, and a restless week is three kilobytes.
Tokens are foreseen by the growth of requests: which requests come changes slower than how many.
"""

from __future__ import annotations

import enum
from math import exp, log, sqrt
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.instants import WallTime
from cardan.scaling import history
from cardan.scaling.learned_mean import LearnedMean

if TYPE_CHECKING:
    from cardan.scaling.observation import Demand
    from cardan.scaling.spec import ForecastSpec

# Of a decision after a scrape (15 s), the middle of a 30 s window, and the tick after (15 s).
REACTION_S: Final = 45.0
# What the rate of the last half minute is raised by: algorithms of the field take 10 %.
HEADROOM: Final = 1.1
# No predictor is believed to more than this, over the rate of the last half minute.
MOST_GROWTH: Final = 2.0
LEAST_GROWTH: Final = 0.5
# The window that the source's rates are counted over.
WINDOW_S: Final = 30.0
# Holt's: the level follows in a minute, the slope in five.
LEVEL_S: Final = 60.0
SLOPE_S: Final = 300.0
# Errors of a working day decide whom to believe.
ERROR_HALF_LIFE_S: Final = 21_600.0
# A predictor may be this much worse than none: being late costs more than being early. At night,
# when no predictor can be better than none, a twentieth is no reason to doubt one.
TOLERATED: Final = 1.2
TOLERATED_ERROR: Final = 0.05
# Rates below this tell nothing about growth (one request in five minutes).
LEAST_RATE: Final = 1 / 300
# A predictor that is off by less than a fiftieth is right.
LEAST_ERROR: Final = 0.02
MOST_PENDING: Final = 32
IDC_RANGE: Final = (1.0, 50.0)


class How(enum.StrEnum):
    """Which of the three it was."""

    REACTIVE = "reactive"
    FORECAST = "forecast"
    BURST = "burst"


class Foreseen(msgspec.Struct, frozen=True, kw_only=True):
    """Demand one horizon from now, in requests and tokens a second; None where it is not known.

    `growth` is what the rates of now were multiplied by, `error` the measured mean absolute log
    error of the predictor that was believed, `lacking` the inputs that were not fresh.
    """

    requests_per_s: float | None = None
    uncached_tokens_per_s: float | None = None
    output_tokens_per_s: float | None = None
    growth: float = 1.0
    how: How = How.REACTIVE
    error: float = 0.0
    lacking: tuple[str, ...] = ()


class Saying(msgspec.Struct, frozen=True):
    """What was said of a moment that is yet to come; to be compared with what comes."""

    due: float
    rate: float
    trend: float
    season: float | None = None


class ForecastMemory(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """What is known of how demand moves. `origin` is the slot that `points` count from."""

    origin: int = 0
    points: str = ""
    idc: LearnedMean = LearnedMean()
    naive_error: LearnedMean = LearnedMean()
    trend_error: LearnedMean = LearnedMean()
    season_error: LearnedMean = LearnedMean()
    # of this process
    at: WallTime | None = None
    level: float = 0.0
    slope: float = 0.0
    slot: int | None = None
    slot_sum: float = 0.0
    slot_samples: int = 0
    sayings: tuple[Saying, ...] = ()

    def kept(self) -> ForecastMemory:
        """What is persisted of it."""
        return ForecastMemory(
            origin=self.origin,
            points=self.points,
            idc=self.idc.coarse(IDC_RANGE[0]),
            naive_error=self.naive_error.coarse(LEAST_ERROR),
            trend_error=self.trend_error.coarse(LEAST_ERROR),
            season_error=self.season_error.coarse(LEAST_ERROR),
        )


def update(
    memory: ForecastMemory, demand: Demand, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> ForecastMemory:
    """With what is asked now: history, level and slope, and what earlier sayings came to."""
    rate = demand.requests_per_s.known
    if rate is None or (memory.at is not None and now <= memory.at):
        return memory
    memory = _remember(_compare(memory, rate, now), rate, now)
    memory = _smooth(memory, rate, now)
    return _say(memory, now, spec, horizon_s)


def foresee(
    memory: ForecastMemory, demand: Demand, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> Foreseen:
    """Demand `horizon_s` from now. Works without any memory."""
    rate = demand.requests_per_s.known
    growth, how, error = HEADROOM, How.REACTIVE, 0.0
    if rate is not None and spec.enabled and rate >= LEAST_RATE:
        growth, how, error = _growth(memory, rate, now, spec, horizon_s)
    names = ("requests_per_s", "uncached_tokens_per_s", "output_tokens_per_s")
    known = {name: getattr(demand, name).known for name in names}
    return Foreseen(
        requests_per_s=_grown(known["requests_per_s"], growth),
        uncached_tokens_per_s=_grown(known["uncached_tokens_per_s"], growth),
        output_tokens_per_s=_grown(known["output_tokens_per_s"], growth),
        growth=growth,
        how=how,
        error=error,
        lacking=tuple(name for name in names if known[name] is None),
    )


def _grown(value: float | None, growth: float) -> float | None:
    return None if value is None else value * growth


def _growth(
    memory: ForecastMemory, rate: float, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> tuple[float, How, float]:
    """The most of reactive, forecast and burst, as a factor on the rate of now."""
    predicted, error = _predicted(memory, now, spec, horizon_s)
    # What a spike has above the level does not grow further.
    predicted *= min(1.0, memory.level / rate)
    predicted = min(max(predicted, LEAST_GROWTH), MOST_GROWTH)
    idc = min(max(memory.idc.over(1.0, WINDOW_S), IDC_RANGE[0]), IDC_RANGE[1])
    deviation = sqrt(idc / (rate * max(horizon_s, WINDOW_S)))
    burst = min(1.0 + spec.burst_z * deviation, MOST_GROWTH)
    most = max(HEADROOM, predicted, burst)
    if most == predicted:
        return most, How.FORECAST, error
    return most, How.BURST if most == burst else How.REACTIVE, 0.0


def _predicted(
    memory: ForecastMemory, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> tuple[float, float]:
    """Growth by the best predictor that does about as well as none, and its error."""
    naive = memory.naive_error.value * TOLERATED + TOLERATED_ERROR
    season = season_growth(memory, now, spec, horizon_s)
    said = [(memory.trend_error.value, trend_growth(memory, horizon_s))]
    if season is not None:
        said.insert(0, (memory.season_error.value, season))
    believed = [one for one in said if one[0] <= naive or memory.naive_error.weight_s <= 0]
    error, growth = min(believed, key=lambda one: one[0], default=(0.0, 1.0))
    return growth, error


def trend_growth(memory: ForecastMemory, horizon_s: float) -> float:
    """Growth over the horizon if the slope goes on, less one standard error of the slope.

    The slope of a line through T = 2 SLOPE_S of rates that are counted over windows of w has the
    standard error sigma sqrt(12 w / T) / T; sigma squared is IDC lambda / w.
    """
    if memory.level < LEAST_RATE:
        return 1.0
    span_s = 2.0 * SLOPE_S
    sigma = sqrt(max(memory.idc.over(1.0, WINDOW_S), 1.0) * memory.level / WINDOW_S)
    slope_error = sigma * sqrt(12.0 * WINDOW_S / span_s) / span_s
    sure = max(0.0, abs(memory.slope) - slope_error)
    return max(0.0, 1.0 + (sure if memory.slope > 0 else -sure) * horizon_s / memory.level)


def season_growth(
    memory: ForecastMemory, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> float | None:
    """Growth over such a horizon at this time of earlier periods; None before the first ended.

    The seasons (a day, a week) count alike; of each at most three periods, so that a change of
    habits is followed in days.
    """
    logs = []
    for period_s in spec.season_s:
        then = history.mean_before(memory.origin, memory.points, now, period_s)
        later = history.mean_before(
            memory.origin, memory.points, WallTime(now + horizon_s), period_s
        )
        if then is not None and later is not None and then >= LEAST_RATE:
            logs.append(log(max(later, LEAST_RATE) / then))
    return exp(sum(logs) / len(logs)) if logs else None


def _smooth(memory: ForecastMemory, rate: float, now: WallTime) -> ForecastMemory:
    """Holt's level and slope, and the index of dispersion about the level."""
    if memory.at is None:
        return msgspec.structs.replace(memory, at=now, level=rate)
    step_s = now - memory.at
    if step_s > 10 * LEVEL_S:  # after an outage, what was before says nothing of the slope
        return msgspec.structs.replace(memory, at=now, level=rate, slope=0.0)
    expected = memory.level + memory.slope * step_s
    level = expected + (rate - expected) * (1.0 - exp(-step_s / LEVEL_S))
    seen = (level - memory.level) / step_s
    slope = memory.slope + (seen - memory.slope) * (1.0 - exp(-step_s / SLOPE_S))
    idc = memory.idc
    if level >= LEAST_RATE:
        idc = idc.fold((rate - expected) ** 2 * WINDOW_S / level, step_s)
    return msgspec.structs.replace(memory, at=now, level=level, slope=slope, idc=idc)


def _remember(memory: ForecastMemory, rate: float, now: WallTime) -> ForecastMemory:
    """The slot's mean; when a slot ends, history may get a point."""
    slot = history.slot_of(now)
    if memory.slot == slot:
        return msgspec.structs.replace(
            memory, slot_sum=memory.slot_sum + rate, slot_samples=memory.slot_samples + 1
        )
    origin, points = memory.origin, memory.points
    if memory.slot is not None and memory.slot_samples:
        mean = memory.slot_sum / memory.slot_samples
        origin, points = history.record(origin, points, memory.slot, mean)
    return msgspec.structs.replace(
        memory, origin=origin, points=points, slot=slot, slot_sum=rate, slot_samples=1
    )


def _say(
    memory: ForecastMemory, now: WallTime, spec: ForecastSpec, horizon_s: float
) -> ForecastMemory:
    """Write down what is foreseen, every half minute, to be held against it."""
    last = memory.sayings[-1].due if memory.sayings else 0.0
    if memory.level < LEAST_RATE or now + horizon_s - last < WINDOW_S:
        return memory
    season = season_growth(memory, now, spec, horizon_s)
    saying = Saying(
        now + horizon_s,
        memory.level,
        memory.level * trend_growth(memory, horizon_s),
        None if season is None else memory.level * season,
    )
    return msgspec.structs.replace(memory, sayings=(*memory.sayings[1 - MOST_PENDING :], saying))


def _compare(memory: ForecastMemory, rate: float, now: WallTime) -> ForecastMemory:
    """Take what was said of by now, and how far it was from what came."""
    due = [saying for saying in memory.sayings if saying.due <= now]
    if not due:
        return memory
    said = due[-1]
    errors = {
        "naive_error": _log_error(said.rate, rate),
        "trend_error": _log_error(said.trend, rate),
    }
    if said.season is not None:
        errors["season_error"] = _log_error(said.season, rate)
    changed = {
        name: getattr(memory, name).fold(error, WINDOW_S, ERROR_HALF_LIFE_S)
        for name, error in errors.items()
    }
    return msgspec.structs.replace(memory, sayings=memory.sayings[len(due) :], **changed)


def _log_error(said: float, came: float) -> float:
    return abs(log(max(came, LEAST_RATE) / max(said, LEAST_RATE)))
