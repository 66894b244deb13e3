"""One fleet's decision is carried out: planned, written, told.

Writes of one fleet go out in their order. Scales that grow rely on nothing and are first; then what
gateways are told comes before a scale that relies on it, and the first that fails ends it. Nothing
is remembered or told as done that was not, here and in the status (`remembering`), and what is so
is looked at again.

Before each write stand three questions: do we still lead, is the fleet still there, is there room.
A write that the server does not answer is given up before another replica may lead.
"""

from __future__ import annotations

import asyncio
import enum
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.overlay import ModelOverlay
from cardan.scaling.drain import DrainMemory
from cardan.scaling.orders import orders
from cardan_kube.api import ApiError
from cardan_kube.events import Events, Regarding, Reporter
from cardan_kube.reflector import Fault

from cardan_controller import events, planning, telling
from cardan_controller.conditions import Tick, to_check
from cardan_controller.crds.definitions import API_VERSION, FLEET
from cardan_controller.crds.fleet import Mode
from cardan_controller.disruptions import SharedDisruptions
from cardan_controller.given import in_its_words
from cardan_controller.keeping import operator_name
from cardan_controller.planning import Home, Write
from cardan_controller.remembering import remembered

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from cardan.instants import WallTime
    from cardan.scaling.decision import ScalingDecision
    from cardan.scaling.memory import Memory
    from cardan.scaling.observation import Observation
    from cardan.scaling.orders import Orders

    from cardan_controller.config import OperatorConfig
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.crds.status import FleetStatus
    from cardan_controller.fleets import Fleets, Key
    from cardan_controller.gathering import Part
    from cardan_controller.known import Known
    from cardan_controller.leading import Api
    from cardan_controller.planning import Scaling
    from cardan_controller.telemetry import Telemetry
    from cardan_controller.wakes import Wakes

log = logging.getLogger(__name__)

# Metrics that have not arrived after so many `metrics.short_window_s` will not come by themselves:
# a rate takes one of them, and finding gateways that have just begun hardly another.
NEVER_AFTER: Final = 3
# After these nobody can tell whether the server has done what it was asked.
_UNANSWERED: Final = frozenset({Fault.TIMEOUT, Fault.BROKEN})


class Decided(NamedTuple):
    """A fleet in the middle of a tick. `turn` tells whether another one has taken it since."""

    key: Key
    fleet: Fleet
    spec: FleetSpec
    known: Known
    part: Part
    observation: Observation
    decision: ScalingDecision
    memory: Memory
    turn: int

    @property
    def acts(self) -> bool:
        """May anything of it be written?"""
        return not self.recommends and not self.part.conflict and not self.spec.paused

    @property
    def recommends(self) -> bool:
        """Do others carry it out?"""
        return self.spec.mode is Mode.RECOMMEND


class Result(enum.Enum):
    """How a fleet's writes went."""

    DONE = "done"
    DOUBTFUL = "doubtful"  # nobody has answered: it may have been done
    RACED = "raced"  # what was looked at is not so any more: worth another look, soon
    FAILED = "failed"  # the next tick tries again


class _Outcome(NamedTuple):
    """How a fleet's writes went, why the first that failed did, and which were not made."""

    result: Result
    words: str = ""
    undone: Sequence[Write] = ()


class Carrier:
    """Writes for one leader."""

    def __init__(
        self,
        config: OperatorConfig,
        fleets: Fleets,
        wakes: Wakes,
        api: Api,
        telemetry: Telemetry,
        leads: Callable[[], bool],
        identity: str,
    ) -> None:
        self._wake_url = config.wake_url
        self._name = operator_name(config.lease)
        self._budgets = frozenset(config.budgets)
        self._check = to_check(prometheus=config.metrics.prometheus is not None)
        self._awaited_s = NEVER_AFTER * config.metrics.short_window_s
        self._patience_s = config.lease.duration_s - config.lease.renew_deadline_s
        self._fleets = fleets
        self._wakes = wakes
        self._api = api
        self._telemetry = telemetry
        self._leads = leads
        self.disruptions = SharedDisruptions()
        self._events = Events(Reporter(planning.MANAGER, identity))

    async def carry_out(self, one: Decided, room: asyncio.Semaphore) -> Result:
        """Write what a decision asks for, and tell of it."""
        known, now = one.known, one.observation.at
        limits = self.disruptions.left_for(one.key, one.part.limits)
        given, memory = orders(
            one.spec.scaling(), one.decision, one.observation, one.memory, limits, now
        )
        if one.acts:
            self.disruptions.note(one.key, limits, memory.drains)
        planned = [*_left_behind(one), *self._planned(one, given)]
        held = [write for write in planned if one.part.stale and write.what == "restart"]
        writes = [write for write in planned if write not in held]
        result, words, undone = await self._in_order(one, writes, room)
        undone = [*undone, *held]
        known.memory = remembered(one.memory, memory, undone) if one.acts else _kept(one)
        known.home = one.part.home if result is Result.DONE else known.home
        if one.observation.wake_requested_at is not None and _is_awake(one, result, undone):
            self._wakes.done(one.part.home.gateways, one.spec.model)
            self._telemetry.wakes.inc()
        tick = _told(one, given, words, undone, self._budgets)
        tick = tick._replace(check=self._check, patience_s=self._awaited_s)
        status = telling.told(known.status, tick, now)
        status = msgspec.structs.replace(status, operator=self._name)
        self._telemetry.told(*one.key, status)
        await self._tell(one.part.home, known, status, room, now, acts=one.acts)
        return result

    async def refuse(
        self, fleet: Fleet, known: Known, room: asyncio.Semaphore, now: WallTime
    ) -> Result:
        """A specification that cannot be decided by is told; nothing of the fleet is touched.

        Nor is the fleet claimed: another operator, with other namespaces open, may be able to
        decide for it. What that one has written since the fleet was looked at stays.
        """
        status = telling.refused(known.status, fleet.meta.generation, fleet.problem, now)
        self._telemetry.told(fleet.meta.namespace, fleet.meta.name, status)
        version = fleet.meta.resource_version
        await self._tell(home_of(fleet), known, status, room, now, version=version)
        return Result.DONE

    async def stand_back(
        self, fleet: Fleet, keeper: str, room: asyncio.Semaphore, now: WallTime
    ) -> None:
        """A fleet that another operator keeps: its status is not ours to write, an event is."""
        await self._say(home_of(fleet), events.kept_elsewhere(keeper, self._name), room, now)

    async def take_back(self, writes: Sequence[Write]) -> None:
        """What a fleet that is deleted leaves is removed; raises `ApiError`.

        What this operator may not do at all keeps no fleet from being deleted: it is logged.
        """
        for write in writes:
            try:
                await self._send(write)
            except ApiError as error:
                if error.fault is Fault.FORBIDDEN:
                    log.warning("%s: left behind: %s", write.request.path, error)
                elif error.fault is not Fault.NOT_FOUND:
                    raise

    def _planned(self, one: Decided, given: Orders) -> list[Write]:
        """The difference between what is to be and what is, in the order of its writing."""
        part, overlay = one.part, given.overlay
        if one.spec.paused:
            return []  # nothing is changed, what gateways were told neither
        if overlay.dormant is not None:
            dormant = msgspec.structs.replace(overlay.dormant, wake_url=self._wake_url)
            overlay = msgspec.structs.replace(overlay, dormant=dormant)
        if not one.acts:  # no pod is marked; gateways are told at most that requests are to wait
            sleeps = ModelOverlay(dormant=overlay.dormant if one.recommends else None)
            return [
                *planning.overlays(part.home, one.spec.model, sleeps, part.overlay),
                *planning.costs({}, part.pods),
            ]
        return [
            *planning.overlays(part.home, one.spec.model, overlay, part.overlay),
            *planning.costs(given.costs, part.pods),
            *planning.scales(given.scale, part.scalings),
            *planning.restarts(given.restart, part.pods),
        ]

    async def _in_order(
        self, one: Decided, writes: Sequence[Write], room: asyncio.Semaphore
    ) -> _Outcome:
        """Scales that grow, each for itself: requests wait for them. Then all others, in turn."""
        growing = [write for write in writes if _grows(write, one.part.scalings)]
        others = [write for write in writes if write not in growing]
        before = _Outcome(Result.DONE)
        for place, write in enumerate(growing):
            its = await self._all_written(one.part.home, [write], one.known, room)
            if its.result is Result.DOUBTFUL:  # a server that does not answer is not asked on
                unasked = [*before.undone, *growing[place + 1 :], *others]
                return _Outcome(its.result, its.words, unasked)
            before = _first_failure(before, its)
        after = await self._all_written(one.part.home, others, one.known, room)
        return _first_failure(before, after)

    async def _all_written(
        self, home: Home, writes: Sequence[Write], known: Known, room: asyncio.Semaphore
    ) -> _Outcome:
        """Write one after the other; the first that fails ends it."""
        for place, write in enumerate(writes):
            if write.pool:
                known.asks(write.pool, write.replicas)
            result, words = await self._write(home, write, room)
            if result is Result.DONE and write.pool:
                known.scaled(write.pool, write.replicas)
            elif result is Result.DOUBTFUL and write.what != "overlay":
                if write.pool:
                    known.tried(write.pool, write.replicas)
                return _Outcome(result, words, writes[place + 1 :])
            elif result is not Result.DONE:
                return _Outcome(result, words, writes[place:])
        return _Outcome(Result.DONE)

    async def _tell(
        self,
        home: Home,
        known: Known,
        status: FleetStatus,
        room: asyncio.Semaphore,
        now: WallTime,
        *,
        acts: bool = False,
        version: str = "",
    ) -> None:
        """Write a status that is news, and its events; what could not be written is news again."""
        if not telling.is_news(known.status, status, now - known.told_at):
            return
        result, _ = await self._write(home, planning.statuses(home, status, version), room)
        if result is not Result.DONE:
            return
        before, known.status, known.told_at = known.status, status, now
        for event in events.events_of(before, status, acts=acts):
            await self._say(home, event, room, now)

    async def _say(
        self, home: Home, event: events.Event, room: asyncio.Semaphore, now: WallTime
    ) -> None:
        about = Regarding(API_VERSION, FLEET.kind, home.namespace, home.name, home.uid)
        told = self._events.tell(
            about,
            "Warning" if event.warning else "Normal",
            event.reason,
            event.note,
            now_s=now,
            action="Scale",
        )
        if told is not None:
            await self._write(home, Write("event", told), room)

    async def _send(self, write: Write) -> None:
        """One request, given up before another replica may lead; raises `ApiError`."""
        if not self._leads():
            raise ApiError(Fault.CONFLICT, "this replica leads no more")
        try:
            async with asyncio.timeout(self._patience_s):
                await self._api.send(write.request)
        except TimeoutError as error:
            raise ApiError(Fault.TIMEOUT, f"no answer within {self._patience_s:g} s") from error

    async def _write(self, home: Home, write: Write, room: asyncio.Semaphore) -> tuple[Result, str]:
        """One write, if it may be made still; why it failed, if that is for the fleet's owner."""
        async with room:
            fleet = self._fleets.get((home.namespace, home.name))
            if not self._leads() or fleet is None or fleet.meta.uid != home.uid:
                return Result.FAILED, ""
            try:
                await self._send(write)
            except ApiError as error:
                fault, words = error.fault, str(error)
            else:
                self._telemetry.writes.labels(write.what, "ok").inc()
                return Result.DONE, ""
        if fault is Fault.NOT_FOUND and write.request.method == "DELETE":
            return Result.DONE, ""  # somebody has, or there never was one
        self._telemetry.writes.labels(write.what, fault.value).inc()
        if fault is Fault.CONFLICT:  # as a rule a pod became ready since the scale was looked at
            return Result.RACED, ""
        log.warning("%s/%s: %s not written: %s", home.namespace, home.name, write.what, words)
        result = Result.DOUBTFUL if fault in _UNANSWERED else Result.FAILED
        return result, f"{write.what} not written: {words}"


def home_of(fleet: Fleet) -> Home:
    """A fleet's name, and where its gateways are."""
    meta = fleet.meta
    gateways = fleet.spec.gateways.namespace if fleet.spec is not None else ""
    return Home(meta.namespace, meta.name, meta.uid, gateways or meta.namespace)


def _kept(one: Decided) -> Memory:
    """What stays of a tick of a fleet that does not act.

    Unless it is only paused it has let its drains go: gateways give their endpoints keys again, and
    a clock that ran on would have them taken at once, in the middle of requests, when it acts.
    """
    if one.spec.paused:
        return one.memory
    released = tuple(v for v in one.memory.drains.victims if v.released_at is not None)
    return msgspec.structs.replace(one.memory, drains=DrainMemory(released))


def _left_behind(one: Decided) -> list[Write]:
    """Gateways that the fleet has left are to forget it."""
    before = one.known.home
    if before is None or before == one.part.home or one.spec.paused:
        return []
    return [planning.forgotten(before)]


def _is_awake(one: Decided, result: Result, undone: Sequence[Write]) -> bool:
    """Has the scale been raised for whoever waits, as far as is to be done here?

    While others have yet to do it the push stands, so that the recommendation does.
    """
    if one.recommends:
        return any(scaling.replicas for scaling in one.part.scalings.values())
    return result is not Result.DOUBTFUL and all(write.what != "scale" for write in undone)


def _grows(write: Write, scalings: Mapping[str, Scaling]) -> bool:
    """Does it raise a scale?"""
    return write.what == "scale" and write.replicas > scalings[write.pool].replicas


def _first_failure(one: _Outcome, other: _Outcome) -> _Outcome:
    """Both together: the result and the words of the first that was not done."""
    worst = other if one.result is Result.DONE else one
    return _Outcome(worst.result, worst.words, [*one.undone, *other.undone])


def _not_begun(decision: ScalingDecision, undone: Sequence[Write]) -> frozenset[str]:
    """The pools that have not been changed: who shrinks has begun when gateways know who drains."""
    deaf = any(write.what == "overlay" for write in undone)
    shrinking = (pool.pool for pool in decision.pools if deaf and pool.desired < pool.current)
    return frozenset((*(write.pool for write in undone if write.what == "scale"), *shrinking))


def _told(
    one: Decided, given: Orders, failure: str, undone: Sequence[Write], budgets: Collection[str]
) -> Tick:
    """What is told of a tick: of what was not to be carried out, only what was decided."""
    budget = one.spec.budget_ref.name if one.spec.budget_ref else ""
    decision = in_its_words(one.spec, one.decision)
    if one.acts:
        decision = msgspec.structs.replace(decision, notes=(*decision.notes, *given.notes))
    return Tick(
        generation=one.fleet.meta.generation,
        spec=one.spec,
        observation=one.observation,
        decision=decision,
        memory=one.known.memory,
        conflict=one.part.conflict,
        failure=failure,
        not_begun=_not_begun(decision, undone) if one.acts else frozenset(),
        stale=one.part.stale,
        selector=one.part.selector,
        no_budget="" if budget in budgets else budget,
        shares_with=one.part.shares_with,
    )
