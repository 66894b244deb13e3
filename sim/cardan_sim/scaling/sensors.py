"""What an operator sees of the plant: late, averaged over windows, and a little noisy.

Gateways and engines count, requests and their tokens when they have ended; a scraper reads the
counters every `scrape_s`, and what a query returns is as old as the last scrape that it could have
seen. Rates are over 30 s, latencies over 5 minutes, as in `cardan.scaling.observation`. Counts
carry the noise of Poisson arrivals, which the fluid itself has not; gauges are within a few
percent. Same seed, same noise.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan.endpoint import EndpointId
from cardan.instants import WallTime
from cardan.scaling.observation import (
    Datum,
    Demand,
    EndpointLoad,
    Freshness,
    Observation,
    PendingReplica,
    PoolState,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from random import Random

    from cardan_sim.scaling.plant import Plant, Sample

POOL: Final = "engines"
# A Saturday at midnight, so that a simulated day is a calendar's.
EPOCH_S: Final = 1_763_769_600.0
RATE_S: Final = 30.0
LATENCY_S: Final = 300.0
# Bounds of the gateways' TTFT histogram, in parts of the SLO; a quantile is read between them.
_EDGES: Final = (0.125, 0.25, 0.375, 0.5, 0.625, 0.75, 0.875, 1.0, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)
# Prompts differ: their lengths spread about as much as their mean (log-normal of ordinary traffic).
_LENGTH_CV: Final = 1.0


@dataclass(frozen=True, slots=True)
class SensorSettings:
    """How metrics come: scraped every `scrape_s`, visible `lag_s` later; noise of gauges."""

    scrape_s: float = 15.0
    lag_s: float = 1.0
    gauge_noise: float = 0.03


class _Scrape(NamedTuple):
    """Counters, since the beginning, as one scrape read them; `late[i]`: above `_EDGES[i]`."""

    at: float
    requests: float  # that ended, with noise
    ended: float  # without
    arrived: float
    prompt: float
    uncached: float
    output: float
    in_time: float
    shed: float
    token_s: float
    late: tuple[float, ...]


class Sensors:
    """Reads a plant after each of its steps, and answers with observations."""

    def __init__(self, plant: Plant, settings: SensorSettings, rng: Random) -> None:
        """Sensors of that plant; nothing has been scraped yet."""
        self.plant = plant
        self.settings = settings
        self._rng = rng
        self._scrapes: deque[_Scrape] = deque()
        self._gauges: deque[Sample] = deque(maxlen=2)
        self._seen_starts = 0
        self._next_s = 0.0
        self._noise = 0.0  # requests that noise has added so far
        self._token_s = 0.0
        self._late = [0.0] * len(_EDGES)
        self._last = (0.0, 0.0)  # arrived, in time at the last scrape

    def read(self, sample: Sample) -> None:
        """Take in one step of the plant; scrapes when it is time to."""
        self._token_s += sample.running  # sequences x seconds = tokens x seconds per token
        if sample.at < self._next_s:
            return
        self._next_s = sample.at + self.settings.scrape_s
        self._gauges.append(sample)
        self._scrape(sample)

    def observe(self, now: float) -> Observation:
        """Everything the operator would know at `now` (seconds of the plant)."""
        return Observation(
            at=_wall(now),
            demand=self._demand(now),
            pools={POOL: self._pool()},
            endpoints=tuple(self._endpoints(now)),
        )

    def gauges(self, now: float) -> Sample | None:
        """The newest scraped sample that a query at `now` can see."""
        visible = [s for s in self._gauges if s.at + self.settings.lag_s <= now]
        return visible[-1] if visible else None

    def _scrape(self, sample: Sample) -> None:
        totals = self.plant.totals
        arrived, in_time = totals.arrived, totals.in_time
        new = arrived - self._last[0]
        ended = totals.finished + totals.shed
        self._noise += self._rng.gauss(0.0, 1.0) * math.sqrt(max(0.0, new))
        self._note_lateness(sample, new)
        self._last = (arrived, in_time)
        self._scrapes.append(
            _Scrape(
                sample.at,
                ended + self._noise,
                ended,
                arrived,
                totals.prompt_tokens,
                totals.uncached_tokens,
                totals.output_tokens,
                in_time,
                totals.shed,
                self._token_s,
                tuple(self._late),
            )
        )
        while self._scrapes[0].at < sample.at - LATENCY_S - 2 * self.settings.scrape_s:
            self._scrapes.popleft()

    def _note_lateness(self, sample: Sample, new: float) -> None:
        """Add this interval's arrivals to the TTFT histogram."""
        slo_s = self.plant.settings.slo_ttft_s
        for i, edge in enumerate(_EDGES):
            late = self.plant.queues.late(sample.pace.prefill_s, edge * slo_s)
            self._late[i] += new * (late if sample.ready else 1.0)

    def _demand(self, now: float) -> Demand:
        short, long = self._window(now, RATE_S), self._window(now, LATENCY_S)
        if short is None or long is None:
            return Demand()
        begin, end = short
        span_s, at = end.at - begin.at, _wall(end.at)
        requests = max(0.0, end.requests - begin.requests) / span_s
        # Tokens are those of the same requests, so they share their noise; lengths add their own.
        true = (end.ended - begin.ended) / span_s
        wobble = self._wobble(requests * span_s) * (requests / true if true > 0 else 1.0)

        def rate(of: float) -> Datum:
            return Datum(max(0.0, of / span_s * wobble), at, Freshness.FRESH)

        sample = self.gauges(now)
        return Demand(
            requests_per_s=Datum(requests, at, Freshness.FRESH),
            prompt_tokens_per_s=rate(end.prompt - begin.prompt),
            uncached_tokens_per_s=rate(end.uncached - begin.uncached),
            output_tokens_per_s=rate(end.output - begin.output),
            held=Datum(sample.held if sample else 0.0, at, Freshness.FRESH),
            shed_per_s=rate(end.shed - begin.shed),
            **_latency(*long),
            ttft_p95_s=self._quantile(*long),
        )

    def _wobble(self, requests: float) -> float:
        if requests <= 0:
            return 1.0
        return max(0.0, 1.0 + self._rng.gauss(0.0, _LENGTH_CV / math.sqrt(max(1.0, requests))))

    def _window(self, now: float, seconds: float) -> tuple[_Scrape, _Scrape] | None:
        """The first and the last scrape of a window that ends with what is visible."""
        visible = [s for s in self._scrapes if s.at + self.settings.lag_s <= now]
        if len(visible) < 2:
            return None
        end = visible[-1]
        begin = next(s for s in visible if s.at >= end.at - seconds - 1e-9)
        return (begin, end) if begin is not end else None

    def _quantile(self, begin: _Scrape, end: _Scrape) -> Datum:
        """The 95th percentile of TTFT, read between the edges as `histogram_quantile` does."""
        requests = end.arrived - begin.arrived
        if requests <= 0:
            return Datum()
        slo_s, below_s, above = self.plant.settings.slo_ttft_s, 0.0, 1.0
        for i, edge in enumerate(_EDGES):
            late = (end.late[i] - begin.late[i]) / requests
            if late <= 0.05:
                part = (above - 0.05) / (above - late) if above > late else 1.0
                value = slo_s * (below_s + (edge - below_s) * part)
                return Datum(value, _wall(end.at), Freshness.FRESH)
            below_s, above = edge, late
        return Datum(slo_s * _EDGES[-1], _wall(end.at), Freshness.FRESH)

    def _pool(self) -> PoolState:
        replicas = self.plant.replicas
        new = replicas.started[self._seen_starts :]
        self._seen_starts = len(replicas.started)
        return PoolState(
            desired=replicas.desired,
            ready=len(replicas.ready),
            pending=tuple(PendingReplica(r.name, _wall(r.since)) for r in replicas.starting),
            draining=tuple(EndpointId(r.name) for r in replicas.leaving),
            started_s=tuple(r.ready_at - r.since for r in new),
        )

    def _endpoints(self, now: float) -> Iterable[EndpointLoad]:
        """Ready engines as the last scrape saw them: each a share of the pool, within noise."""
        sample = self.gauges(now)
        if sample is None or not sample.ready:
            return
        n, at = sample.ready, _wall(sample.at)
        uncached = sample.offered.mix.prompt_tokens * (1.0 - sample.offered.mix.hit_ratio)
        speed = uncached / sample.pace.prefill_s
        prefilling = sample.queued - sample.waiting

        def gauge(total: float) -> Datum:
            noise = 1.0 + self._rng.gauss(0.0, self.settings.gauge_noise)
            return Datum(max(0.0, total / n * noise), at, Freshness.FRESH)

        for replica in self.plant.replicas.ready[:n]:
            yield EndpointLoad(
                id=EndpointId(replica.name),
                pool=POOL,
                age_s=now - replica.ready_at,
                in_flight=gauge(sample.queued + sample.running),
                running=gauge(sample.running + prefilling),
                waiting=gauge(sample.waiting),
                kv_used_ratio=gauge(sample.pace.kv_ratio * n),
                prefill_tokens_per_s=gauge(speed * n),
                requests_per_s=gauge(sample.offered.requests_per_s),
            )


def _latency(begin: _Scrape, end: _Scrape) -> dict[str, Datum]:
    """Attainment and mean ITL over the long window."""
    at = _wall(end.at)
    requests = end.arrived - begin.arrived
    tokens = end.output - begin.output
    data = {}
    if requests > 0:
        share = min(1.0, max(0.0, (end.in_time - begin.in_time) / requests))
        data["attainment"] = Datum(share, at, Freshness.FRESH)
    if tokens > 0:
        itl_s = (end.token_s - begin.token_s) / tokens
        data["itl_s"] = Datum(itl_s, at, Freshness.FRESH)
    return data


def _wall(now: float) -> WallTime:
    return WallTime(EPOCH_S + now)
