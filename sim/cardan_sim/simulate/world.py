"""One run: put a world together, play the jobs, check that nothing was lost, sum up."""

from __future__ import annotations

from functools import partial
from random import Random
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cardan.candidates.base import splitmix64
from cardan.fleet import Fleet, FleetConfig
from cardan.retries import RetryConfig
from cardan.scheduler import AdmissionConfig, Scheduler

from cardan_sim.simulate import knowledge as known
from cardan_sim.simulate.cluster import Cluster
from cardan_sim.simulate.engines import AnyEngine
from cardan_sim.simulate.faults import AnyFault, plan
from cardan_sim.simulate.gateway import Gateway
from cardan_sim.simulate.jobs import KEY_BLOCK_TOKENS, Naming
from cardan_sim.simulate.kernel import Kernel
from cardan_sim.simulate.knowledge import AnyKnowledge, SeenCache, ToldBlocks
from cardan_sim.simulate.laws import check
from cardan_sim.simulate.predictor import Predictor
from cardan_sim.simulate.recorder import WARM_UP, Recorder
from cardan_sim.simulate.watching import Scraper, observe_now

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from cardan.lifecycle import Exchange
    from cardan.policies import AnyPolicy

    from cardan_sim.simulate.cluster import Seat
    from cardan_sim.simulate.engines.base import EngineModel
    from cardan_sim.simulate.gateway import Flight
    from cardan_sim.simulate.jobs import Job

Count = Annotated[int, msgspec.Meta(ge=1)]
# BLIS's fit of vLLM's API server: what a request takes before the scheduler sees it.
API_S: Final = 0.0156


class Setup(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Everything about a run but the jobs, the policy and the seed.

    `engines` is how many there are at the beginning. `request_s` and `answer_s` are the way to an
    engine and back, its API server included. Clients go to any gateway, or, with `front_blocks`, a
    load balancer in front of them sends prompts that begin with the same so many blocks to the same
    one.
    """

    engines: Count = 8
    engine: AnyEngine
    gateways: Count = 1
    front_blocks: Annotated[int, msgspec.Meta(ge=0)] = 0
    knowledge: AnyKnowledge = known.DEFAULT
    predictor: Predictor = Predictor()
    slo_ttft_s: Annotated[float, msgspec.Meta(gt=0)] = 5.0
    request_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    answer_s: Annotated[float, msgspec.Meta(ge=0)] = 0.0
    admission: AdmissionConfig = AdmissionConfig()
    retry: RetryConfig = RetryConfig()
    fleet: FleetConfig | None = None
    faults: tuple[AnyFault, ...] = ()


class World:
    """A cluster with its gateways, ready to play; afterwards, what there is to ask of it."""

    def __init__(self, setup: Setup, policy: AnyPolicy, seed: int, warm_up: int = WARM_UP) -> None:
        self.setup = setup
        self.kernel = Kernel()
        self.recorder = Recorder(warm_up)
        self.rng = Random(splitmix64(seed))
        self.naming = Naming(splitmix64(seed + 1))
        self.cluster = Cluster(
            self.kernel,
            [self.make_engine(index) for index in range(setup.engines)],
            self.recorder,
            request_s=setup.request_s,
            answer_s=setup.answer_s,
            front_blocks=setup.front_blocks,
            seed=self.rng.getrandbits(64),
        )
        self.scraper = Scraper(self.cluster, setup.knowledge.scrapes, self.rng.getrandbits(64))
        self._add_gateways(policy)
        plan(setup.faults, self)

    def make_engine(self, index: int) -> EngineModel:
        """A fresh engine for a seat; it says the same whatever the run's seed."""
        model = self.setup.engine.make(index)
        model.count_gaps(self.recorder.gaps)
        return model

    def play(self, jobs: Iterable[Job]) -> Recorder:
        """Play the jobs to the last answer. Raises `ConservationError` if something was lost."""
        self.scraper.start()
        self.cluster.play(_counted(jobs))
        check(self.cluster)
        return self.recorder

    @property
    def schedulers(self) -> Sequence[Scheduler]:
        """Each scheduler once."""
        return list({id(g.scheduler): g.scheduler for g in self.cluster.gateways}.values())

    def add_engine(self) -> None:
        """One more engine joins, cold."""
        seat = self.cluster.add(self.make_engine(len(self.cluster.seats)))
        self.members_changed()
        self.see_cache(seat)
        self.scraper.add(seat)

    def members_changed(self) -> None:
        """Discovery tells the gateways who is there now."""
        self.cluster.tell_members()
        for scheduler in self.schedulers:
            self.setup.predictor.mislead(scheduler.fleet)

    def see_cache(self, seat: Seat) -> None:
        """Where gateways see the engines' caches: that of the engine that is there now."""
        knowledge = self.setup.knowledge
        if not knowledge.sees_caches:
            return
        holds = seat.model.holds
        if knowledge.events_delay_s:
            holds = ToldBlocks(self.kernel, seat.model, knowledge.events_delay_s).holds
        capacity_blocks = self.setup.engine.kv_tokens // KEY_BLOCK_TOKENS
        for scheduler in self.schedulers:
            state = scheduler.fleet.endpoints.get(seat.endpoint_id)
            if state is not None:
                state.shadow = SeenCache(holds, self.naming, capacity_blocks)

    def _add_gateways(self, policy: AnyPolicy) -> None:
        setup = self.setup
        shared: Scheduler | None = None
        waiting: dict[Exchange, Flight] = {}
        for _ in range(setup.gateways):
            if shared is None or not setup.knowledge.shares_mind:
                shared, waiting = self._scheduler(policy), {}
            gateway = Gateway(
                self.kernel, shared, self.cluster, self.naming, setup.slo_ttft_s, waiting
            )
            self.cluster.gateways.append(gateway)
        self.members_changed()
        for seat in self.cluster.seats:
            self.see_cache(seat)
        if setup.knowledge.shares_mind and shared is not None:
            self.cluster.on_change = partial(observe_now, shared.fleet, self.kernel)

    def _scheduler(self, policy: AnyPolicy) -> Scheduler:
        setup = self.setup
        config = setup.fleet or FleetConfig(
            cache_tokens=setup.engine.kv_tokens, block_tokens=KEY_BLOCK_TOKENS
        )
        rng = Random(self.rng.getrandbits(64))
        return Scheduler(Fleet(config), policy, rng, retry=setup.retry, admission=setup.admission)


def _counted(jobs: Iterable[Job]) -> Iterator[Job]:
    """The jobs; ValueError where they are not in the order of their times."""
    last_s = 0.0
    for job in jobs:
        if job.due_s < last_s:
            raise ValueError(f"a job is due at {job.due_s}, after one at {last_s}")
        last_s = job.due_s
        yield job
