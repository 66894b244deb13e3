"""A fleet as a fluid: offered load and replicas in; first tokens in time, queues and GPUs out.

Each step (one second) the load goes to the shorter of two queues (`queues`), prompts are computed
as fast as decoding lets them, decoding as fast as prompts let it (`engines`), and whoever has no
room in the KV cache waits. A membership change costs prefix hits: 1/n of the keys have a new owner,
and their caches fill again within minutes. Cold starts hold GPUs from the moment they are asked
for; a replica that leaves finishes what it has.

What it leaves out: single requests (lengths are means, so there is no head-of-line blocking by a
monster prompt), hot prefixes, engines that differ, and gateways that disagree. Stated in requests,
everything that arrives is in exactly one place (`Totals`), which the tests check.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from random import Random
from typing import Final, NamedTuple

from cardan_sim.scaling.engines import EngineModel, Pace, engine_model
from cardan_sim.scaling.offered import Mix, Offered
from cardan_sim.scaling.queues import Queues
from cardan_sim.scaling.replicas import Leaving, Replicas

# A cache that has lost keys is half full again after this long: "recovering in under a minute" is
# what scaling a ring by one shows, and two minutes are what the scaling policy assumes.
RECOVERY_S: Final = 60.0
# A replica that leaves is done when its last request is: half a request is nobody.
_NOBODY: Final = 0.5


@dataclass(frozen=True, slots=True)
class PlantSettings:
    """What a fleet is like, and what it promises. `slo_itl_s` None promises nothing."""

    cold_start_s: float = 150.0
    slo_ttft_s: float = 1.0
    replicas: int = 4
    drain_deadline_s: float = 300.0
    cold_start_jitter: float = 0.1
    seed: int = 1
    engine: EngineModel = field(default_factory=engine_model)


@dataclass(slots=True)
class Totals:
    """Requests since the beginning (sums of fluid), GPU-seconds, tokens.

    `in_time` saw their first token within the SLO. arrived = finished + shed + those in the plant.
    """

    arrived: float = 0.0
    in_time: float = 0.0
    shed: float = 0.0
    finished: float = 0.0
    cut: float = 0.0
    prompt_tokens: float = 0.0
    uncached_tokens: float = 0.0
    output_tokens: float = 0.0
    gpu_s: float = 0.0


class Sample(NamedTuple):
    """The plant at the end of a step: what sensors may look at."""

    at: float
    offered: Offered
    ready: int
    held_gpus: int
    queued: float  # in engines, waiting or in prefill; all replicas together
    waiting: float  # those of them that wait
    running: float  # in decode
    held: float  # in gateways, for want of any engine
    in_time: float  # share of this step's arrivals
    busy: float  # share of time in which an engine runs anything at all
    pace: Pace


class Plant:
    """One pool of equal engines behind its gateways."""

    def __init__(self, settings: PlantSettings, mix: Mix | None = None) -> None:
        """A warm fleet of `settings.replicas` that nobody has asked anything yet."""
        self.settings = settings
        self.now = 0.0
        self.totals = Totals()
        self.queues = Queues()
        self.running = 0.0
        self.held = 0.0
        self._held_s = 0.0
        self._lost = 0.0  # part of the prefix hits that membership changes have cost
        self.replicas = Replicas(
            settings.cold_start_s, Random(settings.seed), jitter=settings.cold_start_jitter
        )
        self.replicas.seed(settings.replicas, self.now)
        self.pace = settings.engine.pace(mix or Mix(), (mix or Mix()).hit_ratio, 0.0, 0.0)

    @property
    def inside(self) -> float:
        """Requests that are in the plant, wherever."""
        leaving = sum(gone.requests for gone in self.replicas.leaving)
        return self.held + self.queues.depth * len(self.replicas.ready) + self.running + leaving

    def scale(self, desired: int) -> None:
        """Ask for `desired` replicas, as a write to `/scale` does."""
        before = len(self.replicas.ready)
        victims = self.replicas.scale(desired, self.now)
        if not victims:
            return
        each = self.queues.depth + self.running / before
        self.running *= 1.0 - len(victims) / before
        until = self.now + self._drain_s()
        self.replicas.leaving += [Leaving(victim.name, until, each) for victim in victims]
        self._lose(len(victims) / before)
        if not self.replicas.ready:
            self.queues = Queues()

    def step(self, offered: Offered, seconds: float = 1.0) -> Sample:
        """Let `seconds` of that load pass."""
        self.now += seconds
        self._members()
        arrivals = offered.requests_per_s * seconds
        self.totals.arrived += arrivals
        self.totals.gpu_s += self.replicas.held * seconds
        self._lost *= math.exp(-seconds / RECOVERY_S)
        late = 1.0
        if self.replicas.ready:
            late = self._serve(arrivals, offered.mix, seconds)
        else:
            self.held += arrivals
            self._held_s += seconds
        self.totals.in_time += arrivals * (1.0 - late)
        return self._sample(offered, 1.0 - late)

    def _members(self) -> None:
        before = len(self.replicas.ready)
        up, finished = self.replicas.turn(self.now)
        self.totals.finished += finished
        if not up:
            return
        after = before + up
        if before:
            self.queues.spread(before, after)
            self._lose(up / after)
        else:
            self.queues, self._lost = Queues(), 1.0

    def _serve(self, arrivals: float, mix: Mix, seconds: float) -> float:
        """One step of engines that are there; the share of its arrivals that will be late."""
        n = len(self.replicas.ready)
        hit_ratio = mix.hit_ratio * (1.0 - self._lost)
        batch = self.running / n
        self.pace = pace = self.settings.engine.pace(mix, hit_ratio, batch, self.queues.busy)
        ends_per_s = 1.0 / (mix.output_tokens * pace.itl_s)
        ended = self.running * -math.expm1(-seconds * ends_per_s)
        prefill_s = pace.prefill_s / self._admission(mix, ended / n, seconds)
        late = self.queues.late(prefill_s, self.settings.slo_ttft_s)
        released, self.held, self._held_s = self.held, 0.0, 0.0
        rate = (arrivals + released) / n / seconds
        depth = self.queues.depth
        flow = self.queues.advance(rate, 1.0 / prefill_s, seconds)
        # What the fluid lost to rounding is settled here, so that nothing is lost over a day.
        served = (arrivals + released) - flow.shed * n - (self.queues.depth - depth) * n
        self.running += served - ended
        self._count(mix, hit_ratio, ended, flow.shed * n)
        return late

    def _admission(self, mix: Mix, ended: float, seconds: float) -> float:
        """Part of the full speed of prefill that room for sequences allows (per server)."""
        room = self.settings.engine.room(mix) - self.running / len(self.replicas.ready) + ended
        wanted = self.queues.busy * seconds / self.pace.prefill_s
        return min(1.0, max(room, 1e-3) / wanted) if wanted > 0 else 1.0

    def _count(self, mix: Mix, hit_ratio: float, ended: float, shed: float) -> None:
        totals = self.totals
        totals.finished += ended
        totals.shed += shed
        totals.prompt_tokens += ended * mix.prompt_tokens
        totals.uncached_tokens += ended * mix.prompt_tokens * (1.0 - hit_ratio)
        totals.output_tokens += ended * mix.output_tokens

    def _lose(self, share: float) -> None:
        """A membership change has moved `share` of the keys to caches that do not know them."""
        self._lost += (1.0 - self._lost) * min(1.0, share)

    def _drain_s(self) -> float:
        """How long a replica takes to finish what it has, at most the deadline."""
        queue_s = self.queues.depth * self.pace.prefill_s
        batch = max(1.0, (self.running / max(1, len(self.replicas.ready))) / _NOBODY)
        tail_s = self.pace.itl_s * Mix().output_tokens * math.log(batch)
        return min(self.settings.drain_deadline_s, queue_s + tail_s)

    def _sample(self, offered: Offered, in_time: float) -> Sample:
        n = len(self.replicas.ready)
        batch = self.running / n if n else 0.0
        idle = math.exp(-batch) * (1.0 - self.queues.busy)  # nobody of a Poisson number
        return Sample(
            at=self.now,
            offered=offered,
            ready=n,
            held_gpus=self.replicas.held,
            queued=self.queues.depth * n,
            waiting=(self.queues.depth - self.queues.busy) * n,
            running=self.running,
            held=self.held,
            in_time=in_time,
            busy=1.0 - idle if n else 0.0,
            pace=self.pace,
        )
