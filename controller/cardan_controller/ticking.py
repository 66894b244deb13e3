"""One tick over fleets: observe, decide, share the budgets, then carry out.

Everything up to the writes is pure and takes one clock; fleets are carried out at the same time. A
fleet that cannot be decided for (a fault of ours) takes no other with it: it is logged, counted,
and tried again at the next tick.

A tick may be over some fleets only, while one over all of them is still deciding or writing:
somebody waits for a fleet that sleeps. Deciding holds no fleet. Before anything is written a fleet
is taken (`Known.busy`), and that only if no other tick has taken it since it was decided for;
otherwise it is looked at again.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
from cardan.scaling import budget as budgets
from cardan.scaling.blind import growing_only
from cardan.scaling.decide import decide
from cardan.scaling.observation import Observation

from cardan_controller import gathering, planning
from cardan_controller.carrying import Carrier, Decided, Result, home_of
from cardan_controller.externals import Asker, external_of
from cardan_controller.known import Known
from cardan_controller.observing import HotKeys, demand_of, loads_of
from cardan_controller.pulse import Room
from cardan_controller.sharing import Sharing

if TYPE_CHECKING:
    from collections.abc import (
        Awaitable,
        Callable,
        Collection,
        Coroutine,
        Iterator,
        Sequence,
    )

    from cardan.instants import WallTime
    from cardan.scaling.decision import ScalingDecision
    from cardan.scaling.spec import ScalingSpec

    from cardan_controller.config import OperatorConfig
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.fleets import Fleets, Key
    from cardan_controller.gathering import Cluster
    from cardan_controller.leading import Api
    from cardan_controller.metrics.answers import Answers
    from cardan_controller.recorder import Recorder
    from cardan_controller.telemetry import Telemetry
    from cardan_controller.wakes import Wakes

T = TypeVar("T")

log = logging.getLogger(__name__)

# Writes to the API server that are under way at once; those of a tick over some fleets have room
# of their own, so that they do not wait for five hundred others.
AT_ONCE: Final = 8
AT_ONCE_SOME: Final = 4


class Claim(NamedTuple):
    """A fleet's part of a budget, as it was decided last."""

    budget: str
    spec: ScalingSpec
    decision: ScalingDecision


class Kept(NamedTuple):
    """The other operator that keeps a fleet, and whether that was told."""

    by: str
    told: bool


class Seen(NamedTuple):
    """What a tick looks at, the same for every fleet."""

    cluster: Cluster
    answers: Answers
    hot: HotKeys
    sharing: Sharing
    now: WallTime


class Ticker:
    """Ticks over the fleets of one leader. `decisions` are the last ones, by fleet."""

    def __init__(
        self,
        config: OperatorConfig,
        fleets: Fleets,
        wakes: Wakes,
        api: Api,
        telemetry: Telemetry,
        leads: Callable[[], bool],
        identity: str,
        recorder: Recorder,
    ) -> None:
        self._config = config
        self._recorder = recorder
        self._fleets = fleets
        self._wakes = wakes
        self._telemetry = telemetry
        self._carrier = Carrier(config, fleets, wakes, api, telemetry, leads, identity)
        self._known: dict[Key, Known] = {}
        self._claims: dict[Key, Claim] = {}
        self._elsewhere: dict[Key, Kept] = {}
        self.decisions: dict[Key, ScalingDecision] = {}

    async def tick(
        self,
        cluster: Cluster,
        answers: Answers,
        now: WallTime,
        only: Collection[Key] | None = None,
        beat: Callable[[], None] = lambda: None,
    ) -> set[Key]:
        """One tick, over all fleets or over these; returns those to look at again soon.

        `beat` is called as it gets on.
        """
        self._forget_departed()
        sharing = Sharing((fleet for _, fleet in self._fleets), cluster, answers)
        seen = Seen(cluster, answers.seen(now), HotKeys(answers), sharing, now)
        room = Room(AT_ONCE if only is None else AT_ONCE_SOME, beat)
        again: set[Key] = set()
        decided: list[Decided] = []
        async with asyncio.TaskGroup() as group:
            for key, fleet in self._fleets.some(only):
                known = self._remembered(key, fleet)
                if known.busy.locked():
                    again.add(key)
                    continue
                keeper = cluster.kept_elsewhere(fleet)
                if self._is_news(key, keeper, alive=cluster.is_alive(keeper)):
                    told = partial(self._carrier.stand_back, fleet, keeper, room, now)
                    group.create_task(self._guarded_work(key, told), name=f"fleet-{key[1]}")
                if keeper:
                    continue
                one = self._guarded(key, fleet, known, seen)
                if one is not None:
                    decided.append(one)
                elif fleet.problem:
                    await known.take()
                    refusal = partial(self._carrier.refuse, fleet, known, room, now)
                    self._begin(group, key, known, self._guarded_work(key, refusal))
                beat()
                await asyncio.sleep(0)  # a lease is to be renewed, gateways push
            self._count()
            for one in self._shared(await self._taken(decided, again), cluster):
                self.decisions[one.key] = one.decision
                self._begin(group, one.key, one.known, self._carried(one, room, again))
        return again

    def _is_news(self, key: Key, keeper: str, *, alive: bool) -> bool:
        """Does another operator keep a fleet, and is that to be told now?

        All that is known of it is forgotten: its status tells when it is ours again. One that was
        not seen alive may be our own predecessor elsewhere: nobody is to be warned of that.
        """
        before = self._elsewhere.pop(key, None)
        if not keeper:
            if before is not None:
                words = "%s/%s: kept from now on; the operator %s has given it up"
                log.info(words, *key, before.by)
            return False
        self._recorder.interrupt(key)
        self._forget_one(key)
        told = before is not None and before == Kept(keeper, told=True)
        self._elsewhere[key] = Kept(keeper, told or alive)
        if told or not alive:
            return False
        log.warning("%s/%s: the operator %s keeps it, this one stands back", *key, keeper)
        return True

    async def forget(self, fleet: Fleet, look: Callable[[], Awaitable[Cluster]]) -> None:
        """A fleet is deleted, and `Fleets` knows: gateways forget it, and its pods lose our marks.

        After what is under way for it: `look` tells of the cluster then. Raises `ApiError`; then it
        is to be asked again.
        """
        known = self._known.get((fleet.meta.namespace, fleet.meta.name))
        if known is None or known.uid != fleet.meta.uid:
            await self._take_back(fleet, Known(fleet), await look())
            return
        async with known.busy:
            await self._take_back(fleet, known, await look())

    async def _take_back(self, fleet: Fleet, known: Known, cluster: Cluster) -> None:
        """Remove all that it leaves; what is its successor's under the same name stays."""
        home = home_of(fleet)
        successor = self._fleets.get((home.namespace, home.name))
        spared = "" if successor is None else home_of(successor).gateways
        homes = dict.fromkeys(one for one in (known.home, home) if one is not None)
        writes = [planning.forgotten(one) for one in homes if one.gateways != spared]
        if fleet.spec is not None:
            victims = {victim.pod for victim in known.memory.drains.victims}
            pods = gathering.pods_of(cluster, home, fleet.spec)
            writes += planning.unmarked(victims, pods)
        await self._carrier.take_back(writes)

    # Deciding

    def _guarded(
        self,
        key: Key,
        fleet: Fleet,
        known: Known,
        seen: Seen,
    ) -> Decided | None:
        """What is decided; None for a fleet that cannot be decided for."""
        if fleet.spec is None:
            return None
        try:
            return self._decided(key, fleet, fleet.spec, known, seen)
        except Exception as error:  # noqa: BLE001 - the boundary of one fleet
            self._failed(key, error)
            return None

    def _decided(
        self,
        key: Key,
        fleet: Fleet,
        spec: FleetSpec,
        known: Known,
        seen: Seen,
    ) -> Decided:
        cluster, answers, now = seen.cluster, seen.answers, seen.now
        home = home_of(fleet)
        drains = {victim.pod for victim in known.memory.drains.victims}
        part = gathering.gather(cluster, home, spec, drains, now)
        part = part._replace(shares_with=seen.sharing.others(home, spec))
        subject = part.subject._replace(share=seen.sharing.part(home, spec))
        known.look(part, spec.mode)
        self._carrier.disruptions.note(key, part.limits, known.memory.drains)
        stale_after_s = self._config.metrics.stale_after_s
        asker = Asker(home.namespace, home.name, spec.model)
        observation = Observation(
            at=now,
            demand=demand_of(answers, subject, stale_after_s),
            pools=part.with_hands(known.manual),
            endpoints=loads_of(answers, part.subject, stale_after_s),
            keys=seen.hot.of(part.subject),
            external=external_of(answers, spec, asker, stale_after_s),
            wake_requested_at=self._wakes.requested_at(home.gateways, spec.model, now),
        )
        held = known.held(fleet, spec, part)
        self._recorder.took(fleet, observation, known.memory, held=held, stale=cluster.stale)
        decision, memory = decide(spec.scaling(), observation, known.memory, now, held)
        if cluster.stale and not held:
            decision = growing_only(decision, cluster.stale)
        return Decided(key, fleet, spec, known, part, observation, decision, memory, known.turn)

    def _remembered(self, key: Key, fleet: Fleet) -> Known:
        """What is known; of a fleet that is new here, what its status remembers."""
        known = self._known.get(key)
        if known is None or known.uid != fleet.meta.uid:
            known = self._known[key] = Known(fleet)
        return known

    async def _taken(self, decided: Sequence[Decided], again: set[Key]) -> list[Decided]:
        """Those that no other tick has taken since they were decided for: now each is ours."""
        mine: list[Decided] = []
        for one in decided:
            if self._known.get(one.key) is not one.known:
                continue  # it has gone, or is another by now
            if one.known.busy.locked() or one.known.turn != one.turn:
                again.add(one.key)
            else:
                await one.known.take()
                mine.append(one)
        return mine

    def _shared(self, decided: Sequence[Decided], cluster: Cluster) -> list[Decided]:
        """The decisions that budgets allow; others that share them stand as they did last."""
        try:
            return self._within_budgets(decided, cluster)
        except Exception:
            for one in decided:
                one.known.busy.release()
            raise

    def _within_budgets(self, decided: Sequence[Decided], cluster: Cluster) -> list[Decided]:
        shared = {one.key: one for one in decided}
        for name, limit in self._config.budgets.items():
            mine = {one.key: one for one in decided if _budget_of(one) == name}
            if not mine:
                continue
            taken = {
                "/".join(key): (claim.spec, gathering.in_use(claim.decision))
                for key, claim in self._claims.items()
                if claim.budget == name and key not in mine
            }
            taken |= {
                "/".join(key): (spec.scaling(), gathering.standing(cluster, fleet, spec))
                for key, fleet, spec in self._unheard(name)
                if key not in mine
            }
            asked = {"/".join(key): (one.spec.scaling(), one.decision) for key, one in mine.items()}
            allowed, _ = budgets.share(
                {**taken, **asked}, msgspec.structs.replace(limit, name=name)
            )
            for key, one in mine.items():
                shared[key] = one._replace(decision=allowed["/".join(key)])
        for key, one in shared.items():
            self._claims[key] = Claim(_budget_of(one), one.spec.scaling(), one.decision)
        return list(shared.values())

    def _unheard(self, budget: str) -> Iterator[tuple[Key, Fleet, FleetSpec]]:
        """Fleets with a part of a budget that nothing was decided for yet: who leads is new."""
        for key, fleet in self._fleets:
            spec = fleet.spec
            if spec is not None and key not in self._claims and _budget_ref(spec) == budget:
                yield key, fleet, spec

    # Carrying out

    @staticmethod
    def _begin(
        group: asyncio.TaskGroup, key: Key, known: Known, work: Coroutine[None, None, object]
    ) -> None:
        """Work on a fleet that is taken: it is let go when the task ends, though it never began.

        A task that is cancelled before its first step runs none of its code.
        """
        task = group.create_task(work, name=f"fleet-{key[1]}")
        task.add_done_callback(lambda _: known.busy.release())

    async def _carried(self, one: Decided, room: asyncio.Semaphore, again: set[Key]) -> None:
        work = partial(self._carrier.carry_out, one, room)
        if await self._guarded_work(one.key, work) is Result.RACED:
            again.add(one.key)

    async def _guarded_work(self, key: Key, work: Callable[[], Awaitable[T]]) -> T | Result:
        try:
            return await work()
        except Exception as error:  # noqa: BLE001 - the boundary of one fleet
            self._failed(key, error)
            return Result.FAILED

    def _failed(self, key: Key, error: Exception) -> None:
        self._telemetry.failures.inc()
        words = "%s/%s: a fault of the operator's own; the next tick tries again"
        log.error(words, *key, exc_info=error)

    def _count(self) -> None:
        """How many fleets are looked after here, and how many elsewhere."""
        elsewhere = sum(key in self._elsewhere for key, _ in self._fleets)
        self._telemetry.fleets.set(len(self._fleets) - elsewhere)
        self._telemetry.elsewhere.set(elsewhere)

    def _forget_departed(self) -> None:
        for key in self._fleets.departed():
            self._elsewhere.pop(key, None)
            self._recorder.forget(key)
            self._forget_one(key)

    def _forget_one(self, key: Key) -> None:
        self._known.pop(key, None)
        self._claims.pop(key, None)
        self._carrier.disruptions.forget(key)
        self.decisions.pop(key, None)
        self._telemetry.gone(*key)


def _budget_of(one: Decided) -> str:
    return _budget_ref(one.spec)


def _budget_ref(spec: FleetSpec) -> str:
    return spec.budget_ref.name if spec.budget_ref else ""
