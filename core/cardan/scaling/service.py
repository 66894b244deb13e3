"""How fast a fleet serves, and what it is asked for, as learned from observations.

Everything leans on a prior until it has been seen for a while, and the priors are slow engines: a
fleet that is not known yet is rather too big than too small.

- Prefill: seconds per uncached token of each pool's replicas, from the speeds that gateways learn.
  They are mean times, so they are averaged as times: the harmonic mean of rates.
- A mean request: its prompt, uncached and output tokens.
- Decode: ITL(B) = base + per_request B of B requests at once in a replica. Least squares with
  forgetting, which is recursive least squares in its information form. A slope needs spread: while
  the batch has not varied by 30 % the slope is the one that was known and the line only moves to
  pass through what is seen. (WVA asks for the same spread.)
- KV cache: the share of a replica's that one running request takes.
- Cold starts: the latest sixteen of each pool; their 90th percentile.
"""

from __future__ import annotations

from math import ceil, exp2
from typing import TYPE_CHECKING, Final

import msgspec
from cardan.endpoint import Role
from cardan.instants import WallTime
from cardan.scaling.learned_mean import DEAD_BAND, MOST_STEP_S, LearnedMean, rounded

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cardan.scaling.observation import EndpointLoad, Observation
    from cardan.scaling.spec import PoolSpec, ScalingSpec

# 8B on an A100 computes about so many prompt tokens a second (7.4k to 8.1k).
PRIOR_PREFILL_S: Final = 1 / 8000
# Slower is no speed of an engine but a number that is wrong: a prompt would take hours.
MIN_PREFILL_TOKENS_PER_S: Final = 0.1
# What every request costs before its tokens: 15.6 ms were fitted for vLLM's front end (BLIS).
BASE_S: Final = 0.016
# 8B on an A100: 10.5 ms, and at 4k tokens of context half a millisecond for each further request.
PRIOR_ITL_BASE_S: Final = 0.0105
PRIOR_ITL_PER_REQUEST_S: Final = 0.0005
# What a prior counts for, as if it had been seen for so long: one tick.
PRIOR_WEIGHT_S: Final = 15.0
# The share of spread over mean from which a slope can be told (WVA's k-spread).
LEAST_SPREAD: Final = 0.3
ITL_HALF_LIFE_S: Final = 1800.0
# The ITL that is observed is a mean over five minutes, half of which lie 150 s back.
BATCH_HALF_LIFE_S: Final = 100.0
LEAST_ITL_BASE_S: Final = 0.0005
MOST_ITL_PER_REQUEST_S: Final = 0.01
# A cache that few requests use says little of how much one takes.
LEAST_RUNNING: Final = 4.0
STARTS_KEPT: Final = 16
START_QUANTILE: Final = 0.9
# So many starts stand alone; fewer are filled up with what the specification assumes.
STARTS_ENOUGH: Final = 3
# The step of the first observation, and of observations that bear the same time.
FIRST_STEP_S: Final = 15.0


class ItlLine(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """ITL(B) = base_s + per_request_s B. The sums are of this process."""

    base_s: float = PRIOR_ITL_BASE_S
    per_request_s: float = PRIOR_ITL_PER_REQUEST_S
    weight_s: float = 0.0
    batch: float | None = None  # smoothed as the observed ITL is
    sums: tuple[float, float, float, float, float] = (0.0, 0.0, 0.0, 0.0, 0.0)

    def at(self, batch: float) -> float:
        """Seconds between two tokens of one request when `batch` run."""
        return self.base_s + self.per_request_s * max(0.0, batch)

    def batch_within(self, itl_s: float) -> float:
        """How many may run so that the ITL is kept; at least one, for less serves nobody."""
        if self.per_request_s <= 0:
            return float("inf") if self.base_s <= itl_s else 1.0
        return max(1.0, (itl_s - self.base_s) / self.per_request_s)

    def fold(self, running: float, itl_s: float, step_s: float) -> ItlLine:
        """With one more observation of the mean batch and the mean ITL."""
        part = 1.0 - exp2(-step_s / BATCH_HALF_LIFE_S)
        batch = running if self.batch is None else self.batch + (running - self.batch) * part
        keep = exp2(-step_s / ITL_HALF_LIFE_S)
        new = (1.0, batch, itl_s, batch * batch, batch * itl_s)
        kept = [old * keep + step_s * one for old, one in zip(self.sums, new, strict=True)]
        sums = (kept[0], kept[1], kept[2], kept[3], kept[4])
        line = msgspec.structs.replace(self, batch=batch, sums=sums, weight_s=sums[0])
        return _settled(line, *_fit(line))

    def kept(self) -> ItlLine:
        """What is persisted of it."""
        return ItlLine(base_s=self.base_s, per_request_s=self.per_request_s)


def _fit(line: ItlLine) -> tuple[float, float]:
    """Base and slope through the mean of what was seen; the slope as before without spread."""
    weight, batches, itls, squares, products = line.sums
    mean, itl_s = batches / weight, itls / weight
    variance = max(0.0, squares / weight - mean * mean)
    slope = line.per_request_s
    if variance > (LEAST_SPREAD * mean) ** 2:
        slope = (products / weight - mean * itl_s) / variance
    slope = min(max(slope, 0.0), MOST_ITL_PER_REQUEST_S)
    base_s = itl_s - slope * mean
    if base_s < LEAST_ITL_BASE_S:
        base_s = LEAST_ITL_BASE_S
        slope = max(0.0, itl_s - base_s) / mean if mean > 0 else slope
    return base_s, slope


def _settled(line: ItlLine, base_s: float, slope: float) -> ItlLine:
    """The new line if it tells something else where the fleet runs, or at four times that."""
    batch = line.batch or 1.0
    moved = (
        abs(base_s + slope * many - line.at(many)) > DEAD_BAND * line.at(many)
        for many in (batch, 4.0 * batch)
    )
    if not any(moved):
        return line
    return msgspec.structs.replace(line, base_s=rounded(base_s), per_request_s=rounded(slope))


class Learned(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True):
    """All that is learned of one fleet. Dictionaries are by pool.

    `prefill_s` is seconds of a replica per uncached token, `kv_share` the part of a replica's KV
    cache that a running request takes, `starts_s` the latest cold starts.
    """

    prefill_s: dict[str, LearnedMean] = msgspec.field(default_factory=dict)
    prompt_tokens: LearnedMean = LearnedMean()
    uncached_tokens: LearnedMean = LearnedMean()
    output_tokens: LearnedMean = LearnedMean()
    itl: ItlLine = ItlLine()
    kv_share: LearnedMean = LearnedMean()
    starts_s: dict[str, tuple[float, ...]] = msgspec.field(default_factory=dict)
    at: WallTime | None = None  # of this process

    def kept(self) -> Learned:
        """What is persisted of it."""
        return Learned(
            prefill_s={pool: mean.kept() for pool, mean in self.prefill_s.items()},
            prompt_tokens=self.prompt_tokens.kept(),
            uncached_tokens=self.uncached_tokens.kept(),
            output_tokens=self.output_tokens.kept(),
            itl=self.itl.kept(),
            kv_share=self.kv_share.kept(),
            starts_s=self.starts_s,
        )


def learn(learned: Learned, spec: ScalingSpec, observation: Observation, now: WallTime) -> Learned:
    """With one more observation. What is not fresh teaches nothing."""
    step_s = FIRST_STEP_S if learned.at is None else min(now - learned.at, MOST_STEP_S)
    if step_s <= 0:
        return learned
    demand = observation.demand
    requests = demand.counted
    return Learned(
        prefill_s=_learn_prefill(learned, spec, observation, step_s),
        prompt_tokens=_per(
            learned.prompt_tokens, demand.prompt_tokens_per_s.known, requests, step_s
        ),
        uncached_tokens=_per(
            learned.uncached_tokens, demand.uncached_tokens_per_s.known, requests, step_s
        ),
        output_tokens=_per(
            learned.output_tokens, demand.output_tokens_per_s.known, requests, step_s
        ),
        itl=_learn_itl(learned.itl, spec, observation, step_s),
        kv_share=_learn_kv(learned.kv_share, spec, observation, step_s),
        starts_s=_learn_starts(learned.starts_s, spec, observation),
        at=now,
    )


def prefill_s_per_token(learned: Learned, spec: ScalingSpec, role: Role) -> float:
    """Seconds that a replica of speed 1 computes on one uncached token."""
    reference = _reference(learned, spec, role)
    if reference is None:
        return PRIOR_PREFILL_S
    return learned.prefill_s[reference.name].over(PRIOR_PREFILL_S, PRIOR_WEIGHT_S) * reference.speed


def service_s(learned: Learned, spec: ScalingSpec, role: Role, uncached_tokens: float) -> float:
    """Seconds that a replica of speed 1 computes on a prompt until its first token."""
    return BASE_S + max(0.0, uncached_tokens) * prefill_s_per_token(learned, spec, role)


def speed(learned: Learned, spec: ScalingSpec, pool: PoolSpec) -> float:
    """A replica's throughput over that of the role's reference: as learned, else as specified."""
    reference = _reference(learned, spec, pool.role)
    own = learned.prefill_s.get(pool.name)
    if reference is None or own is None or reference.name == pool.name or own.value <= 0:
        return pool.speed
    if own.weight_s < MOST_STEP_S or pool.role is Role.DECODE:
        return pool.speed
    return reference.speed * learned.prefill_s[reference.name].value / own.value


def hit_ratio(learned: Learned) -> float:
    """Share of prompt tokens that prefix caches save."""
    prompt = learned.prompt_tokens.value
    return min(max(1.0 - learned.uncached_tokens.value / prompt, 0.0), 1.0) if prompt > 0 else 0.0


def cold_start_s(learned: Learned, spec: ScalingSpec, pool: str) -> float:
    """Seconds from asking for a replica of `pool` to Ready, in nine of ten cases."""
    seen = sorted(learned.starts_s.get(pool, ()))
    seen += [spec.cold_start_s] * (STARTS_ENOUGH - len(seen))
    return sorted(seen)[ceil(START_QUANTILE * len(seen)) - 1]


def _reference(learned: Learned, spec: ScalingSpec, role: Role) -> PoolSpec | None:
    """The first pool of the role whose speed was seen."""
    for pool in spec.pools:
        mean = learned.prefill_s.get(pool.name)
        if pool.role is role and mean is not None and mean.value > 0:
            return pool
    return None


def _per(
    mean: LearnedMean, tokens_per_s: float | None, requests_per_s: float | None, step_s: float
) -> LearnedMean:
    if tokens_per_s is None or not requests_per_s:
        return mean
    return mean.fold(tokens_per_s / requests_per_s, step_s)


def _ready(spec: ScalingSpec, observation: Observation, *roles: Role) -> list[EndpointLoad]:
    names = {pool.name for pool in spec.pools if pool.role in roles}
    return [load for load in observation.endpoints if load.ready and load.pool in names]


def _learn_prefill(
    learned: Learned, spec: ScalingSpec, observation: Observation, step_s: float
) -> dict[str, LearnedMean]:
    rates: dict[str, list[float]] = {}
    for load in _ready(spec, observation, Role.BOTH, Role.PREFILL):
        rate = load.prefill_tokens_per_s.known
        if rate is not None and rate >= MIN_PREFILL_TOKENS_PER_S:
            rates.setdefault(load.pool, []).append(rate)
    means = {pool.name: learned.prefill_s.get(pool.name) for pool in spec.pools}
    kept = {name: mean for name, mean in means.items() if mean is not None}
    for name, seen in rates.items():
        times = sum(1.0 / rate for rate in seen) / len(seen)
        kept[name] = kept.get(name, LearnedMean()).fold(times, step_s)
    return kept


def _learn_itl(
    line: ItlLine, spec: ScalingSpec, observation: Observation, step_s: float
) -> ItlLine:
    itl_s = observation.demand.itl_s.known
    running = _known(
        load.running.known for load in _ready(spec, observation, Role.BOTH, Role.DECODE)
    )
    if not itl_s or itl_s <= 0 or not running or sum(running) <= 0:
        return line
    return line.fold(sum(running) / len(running), itl_s, step_s)


def _learn_kv(
    mean: LearnedMean, spec: ScalingSpec, observation: Observation, step_s: float
) -> LearnedMean:
    used = running = 0.0
    for load in _ready(spec, observation, Role.BOTH, Role.DECODE):
        ratio, many = load.kv_used_ratio.known, load.running.known
        if ratio is not None and many is not None:
            used, running = used + ratio, running + many
    return mean.fold(used / running, step_s) if running >= LEAST_RUNNING else mean


def _learn_starts(
    starts_s: dict[str, tuple[float, ...]], spec: ScalingSpec, observation: Observation
) -> dict[str, tuple[float, ...]]:
    """The latest starts; an observation repeats a start for as long as it is recent."""
    kept = {}
    for pool in spec.pools:
        state = observation.pools.get(pool.name)
        seen = tuple(round(start_s, 1) for start_s in (state.started_s if state else ()))
        known = tuple(start_s for start_s in starts_s.get(pool.name, ()) if start_s not in seen)
        if known or seen:
            kept[pool.name] = (*known, *seen)[-STARTS_KEPT:]
    return kept


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]
