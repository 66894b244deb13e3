"""What a scenario of scaling may hold: loads, contenders, cold starts, the promise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from cardan.errors import ConfigError
from cardan.scaling.spec import PoolSpec, ScalingSpec, SloSpec

from cardan_sim.scaling import recorded, workloads
from cardan_sim.scaling.baselines.fixed import Fixed
from cardan_sim.scaling.baselines.hpa import Bounds, Utilisation, gpu_busy, kv_cache
from cardan_sim.scaling.baselines.keda import THRESHOLD, Waiting
from cardan_sim.scaling.baselines.knative import CONCURRENCY, Kpa
from cardan_sim.scaling.controllers import Cardan
from cardan_sim.scaling.engines import engine_model
from cardan_sim.scaling.offered import Mix
from cardan_sim.scaling.plant import PlantSettings
from cardan_sim.scaling.sensors import POOL
from cardan_sim.simulate.scenario import read_plain

if TYPE_CHECKING:
    from pathlib import Path

    from cardan_sim.scaling.controllers import Controller
    from cardan_sim.scaling.workloads import Workload

Count = Annotated[int, msgspec.Meta(ge=1)]
Positive = Annotated[float, msgspec.Meta(gt=0)]
Ratio = Annotated[float, msgspec.Meta(gt=0, le=1)]


class _Part(
    msgspec.Struct, frozen=True, forbid_unknown_fields=True, tag_field="type", kw_only=True
):
    """Base of what has a `type`."""


class _Load(_Part, frozen=True, kw_only=True):
    """Base of every load; its own promise in seconds to the first token, if it has one."""

    slo_ttft_s: Positive | None = None


class Diurnal(_Load, frozen=True, tag="diurnal", kw_only=True):
    """Made-up days of one wave each, between `trough` and `peak` requests a second."""

    days: Count = 2
    peak: Positive = 60.0
    trough: Positive = 12.0

    def load(self, root: Path, seed: int) -> Workload:
        """The days of a seed."""
        del root
        return workloads.diurnal(self.days, seed=seed, peak=self.peak, trough=self.trough)


class Bursty(_Load, frozen=True, tag="bursty", kw_only=True):
    """The same with bursts of minutes, steps of hours and spikes of seconds."""

    days: Count = 2
    bursts_per_day: Positive = 8.0

    def load(self, root: Path, seed: int) -> Workload:
        """The days of a seed."""
        del root
        return workloads.bursty(self.days, seed=seed, per_day=self.bursts_per_day)


class ServeGen(_Load, frozen=True, tag="servegen", kw_only=True):
    """Rates of ServeGen in windows of ten minutes, with mean lengths in tokens."""

    path: str
    prompt_tokens: Positive
    output_tokens: Positive
    hit_ratio: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    days: Count = 2
    scale: Positive = 1.0

    def load(self, root: Path, seed: int) -> Workload:
        """The recorded days."""
        del seed
        mix = Mix(self.prompt_tokens, self.hit_ratio, self.output_tokens)
        path = root / self.path
        return recorded.servegen(path, path.name, mix, days=self.days, scale=self.scale)


class Arrivals(_Load, frozen=True, tag="arrivals", kw_only=True):
    """A trace of requests, counted in windows of 15 s and multiplied by `scale`."""

    path: str
    hit_ratio: Annotated[float, msgspec.Meta(ge=0, lt=1)] = 0.0
    scale: Positive = 1.0

    def load(self, root: Path, seed: int) -> Workload:
        """The recorded hours."""
        del seed
        path = root / self.path
        return recorded.arrivals(path, path.name, hit_ratio=self.hit_ratio, scale=self.scale)


AnyLoad = Diurnal | Bursty | ServeGen | Arrivals


class Operator(_Part, frozen=True, tag="cardan", kw_only=True):
    """The operator's own decision, at its defaults."""

    def make(self, scenario: ScalingScenario) -> Controller:
        """One that remembers nothing."""
        pool = PoolSpec(
            name=POOL, min_replicas=scenario.min_replicas, max_replicas=scenario.max_replicas
        )
        slo = SloSpec(ttft_s=scenario.slo_ttft_s, attainment=scenario.attain)
        return Cardan(ScalingSpec(pools=(pool,), slo=slo))


class Hpa(_Part, frozen=True, tag="hpa", kw_only=True):
    """Kubernetes' autoscaler on a mean of the replicas, to be near `target`."""

    target: Positive
    metric: Literal["gpu-utilisation", "kv-cache"] = "gpu-utilisation"

    def make(self, scenario: ScalingScenario) -> Controller:
        """One that has seen nothing."""
        metric = gpu_busy if self.metric == "gpu-utilisation" else kv_cache
        return Utilisation(metric, self.target, scenario.bounds)


class Keda(_Part, frozen=True, tag="keda", kw_only=True):
    """KEDA on the number of waiting requests, `threshold` for each replica."""

    threshold: Positive = THRESHOLD

    def make(self, scenario: ScalingScenario) -> Controller:
        """One that has seen nothing."""
        return Waiting(scenario.bounds, threshold=self.threshold)


class Knative(_Part, frozen=True, tag="knative", kw_only=True):
    """Knative's autoscaler on requests in flight, 70 % of `concurrency` for each replica."""

    concurrency: Positive = CONCURRENCY

    def make(self, scenario: ScalingScenario) -> Controller:
        """One that has seen nothing."""
        return Kpa(scenario.bounds, concurrency=self.concurrency)


class FixedFleet(_Part, frozen=True, tag="fixed", kw_only=True):
    """So many replicas, always."""

    replicas: Count

    def make(self, scenario: ScalingScenario) -> Controller:
        """It looks at nothing."""
        del scenario
        return Fixed(self.replicas)


AnyContender = Operator | Hpa | Keda | Knative | FixedFleet


class ScalingScenario(
    msgspec.Struct,
    frozen=True,
    forbid_unknown_fields=True,
    tag_field="type",
    tag="scaling",
    kw_only=True,
):
    """An experiment: every contender on every load, with every cold start and seed.

    Beside them an oracle plays, which knows the load to come. Figures are of the second half of
    each load: the first is there to be learned from. `attain` is the promised share of first tokens
    within `slo_ttft_s`. Recorded loads are the same for every seed, but not the times of starts.
    """

    title: str
    loads: Annotated[dict[str, AnyLoad], msgspec.Meta(min_length=1)]
    contenders: Annotated[dict[str, AnyContender], msgspec.Meta(min_length=1)]
    about: str = ""
    cold_starts_s: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1)] = (30.0, 150.0)
    slo_ttft_s: Positive = 1.0
    attain: Ratio = 0.95
    min_replicas: Count = 1
    max_replicas: Count = 64
    model: str = "llama-3.1-8b"
    gpu: str = "h100"
    seeds: Count = 1
    quick: dict[str, object] = {}

    @property
    def bounds(self) -> Bounds:
        """Between how many replicas everybody may choose."""
        return Bounds(self.min_replicas, self.max_replicas)

    def of_load(self, name: str) -> ScalingScenario:
        """The same with the promise of a load that has one of its own."""
        slo_ttft_s = self.loads[name].slo_ttft_s or self.slo_ttft_s
        return msgspec.structs.replace(self, slo_ttft_s=slo_ttft_s)

    def plant(self, cold_start_s: float, seed: int) -> PlantSettings:
        """The fleet, before anybody has said how many replicas it begins with."""
        return PlantSettings(
            cold_start_s=cold_start_s,
            slo_ttft_s=self.slo_ttft_s,
            seed=seed,
            engine=engine_model(self.model, self.gpu),
        )


def read(path: Path, *, quick: bool = False) -> ScalingScenario:
    """A scenario file of scaling, or its short form. Raises ConfigError, naming file and place."""
    try:
        return msgspec.convert(read_plain(path, quick=quick), ScalingScenario)
    except msgspec.ValidationError as error:
        raise ConfigError(f"{path}: {error}") from error
