"""One tick over all fleets: observe, decide, share the budgets, plan, write, tell.

Everything between the questions and the writes is pure and takes one clock; writes of different
fleets go out together, those of one fleet in their order: what gateways are told comes before a
scale that relies on it. A fleet whose writes fail is tried again at the next tick, from what is so
then; nothing is remembered as done that was not.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec
from cardan.overlay import ModelOverlay
from cardan.scaling import budget as budgets
from cardan.scaling.decide import decide
from cardan.scaling.memory import Memory
from cardan.scaling.observation import Observation
from cardan.scaling.orders import orders
from cardan_kube.api import ApiError
from cardan_kube.events import Events, Regarding, Reporter

from cardan_controller import events, gathering, planning, telling
from cardan_controller.crds.definitions import API_VERSION, FLEET
from cardan_controller.crds.fleet import Mode
from cardan_controller.crds.status import FleetStatus
from cardan_controller.observing import demand_of, keys_of, loads_of
from cardan_controller.planning import Home, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan.instants import WallTime
    from cardan.scaling.decision import ScalingDecision
    from cardan.scaling.orders import Orders

    from cardan_controller.config import OperatorConfig
    from cardan_controller.crds.documents import Fleet
    from cardan_controller.crds.fleet import FleetSpec
    from cardan_controller.fleets import Fleets, Key
    from cardan_controller.gathering import Cluster, Part
    from cardan_controller.leading import Api
    from cardan_controller.metrics.answers import Answers
    from cardan_controller.telemetry import Telemetry
    from cardan_controller.wakes import Wakes

log = logging.getLogger(__name__)

# Writes to the API server that are under way at once.
AT_ONCE: Final = 8
HANDS_OFF: Final = "cardan.dev/manual-scale-wins"


class Known(msgspec.Struct):
    """What this process knows of a fleet between ticks; all that must not be lost is in `status`.

    `written` are the replicas that we asked for last, by pool; `manual` who changed them since.
    """

    status: FleetStatus
    memory: Memory
    seen: dict[str, int] = {}
    written: dict[str, int] = {}
    manual: dict[str, str] = {}


class Decided(NamedTuple):
    """A fleet in the middle of a tick."""

    key: Key
    fleet: Fleet
    spec: FleetSpec
    part: Part
    observation: Observation
    decision: ScalingDecision
    memory: Memory


class Ticker:
    """Ticks over all fleets of one leader."""

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
        self._config = config
        self._fleets = fleets
        self._wakes = wakes
        self._api = api
        self._telemetry = telemetry
        self._leads = leads
        self._events = Events(Reporter(planning.MANAGER, identity))
        self._known: dict[Key, Known] = {}
        self._room = asyncio.Semaphore(AT_ONCE)
        self.decisions: dict[Key, ScalingDecision] = {}

    async def tick(self, cluster: Cluster, answers: Answers, now: WallTime) -> None:
        """One tick."""
        self._forget_departed()
        self._telemetry.fleets.set(len(self._fleets))
        decided: list[Decided] = []
        for key, fleet in self._fleets:
            one = self._decided(key, fleet, cluster, answers, now)
            if one is not None:
                decided.append(one)
            await asyncio.sleep(0)  # a lease is to be renewed, gateways push
        shared = self._shared(decided)
        async with asyncio.TaskGroup() as group:
            for one in shared:
                self.decisions[one.key] = one.decision
                group.create_task(self._carry_out(one, now), name=f"fleet-{one.key[1]}")
                await asyncio.sleep(0)

    def _decided(
        self, key: Key, fleet: Fleet, cluster: Cluster, answers: Answers, now: WallTime
    ) -> Decided | None:
        known = self._remembered(key, fleet)
        if fleet.spec is None:
            self._refuse(key, fleet, known, now)
            return None
        spec = fleet.spec
        home = _home(fleet, spec)
        drains = {victim.pod for victim in known.memory.drains.victims}
        part = gathering.gather(cluster, home, spec, drains, known.manual, now)
        self._notice_hands(known, part, cluster, spec)
        stale_after_s = self._config.metrics.stale_after_s
        observation = Observation(
            at=now,
            demand=demand_of(answers, part.subject, stale_after_s),
            pools=part.pools,
            endpoints=loads_of(answers, part.subject, stale_after_s),
            keys=keys_of(answers, part.subject),
            wake_requested_at=self._wakes.requested_at(home.gateways, spec.model, now),
        )
        held = _held(fleet, spec, part, known)
        decision, memory = decide(spec.scaling(), observation, known.memory, now, held)
        return Decided(key, fleet, spec, part, observation, decision, memory)

    def _remembered(self, key: Key, fleet: Fleet) -> Known:
        """What is known; of a fleet that is new here, what its status remembers."""
        known = self._known.get(key)
        if known is None:
            known = Known(fleet.status, _memory(fleet))
            self._known[key] = known
        return known

    def _notice_hands(self, known: Known, part: Part, cluster: Cluster, spec: FleetSpec) -> None:
        """A scale that changed, and not by us, was changed by hand: until we change it again."""
        for pool in spec.pools:
            scaling = part.scalings.get(pool.name)
            if scaling is None:
                continue
            before = known.seen.get(pool.name)
            ours = known.written.get(pool.name)
            if before is not None and scaling.replicas not in (before, ours):
                found = cluster.target(gathering.target_of(part.home.namespace, pool))
                writers = () if isinstance(found, str) else found[1].writers
                who = next((name for name in writers if name != planning.MANAGER), "somebody")
                known.manual[pool.name] = who
            known.seen[pool.name] = scaling.replicas

    def _refuse(self, key: Key, fleet: Fleet, known: Known, now: WallTime) -> None:
        """A specification that cannot be decided by is told; nothing of the fleet is touched."""
        status = telling.refused(known.status, fleet.meta.generation, fleet.problem, now)
        home = Home(fleet.meta.namespace, fleet.meta.name, fleet.meta.uid, fleet.meta.namespace)
        if telling.is_news(known.status, status):
            task = asyncio.ensure_future(self._tell(home, known, status, now))
            task.set_name(f"refuse-{key[1]}")

    def _shared(self, decided: Sequence[Decided]) -> list[Decided]:
        """The decisions that budgets allow."""
        shared = {one.key: one for one in decided}
        for name, limit in self._config.budgets.items():
            mine = {
                f"{one.key[0]}/{one.key[1]}": one
                for one in decided
                if one.spec.budget_ref and one.spec.budget_ref.name == name
            }
            allowed, _ = budgets.share(
                {label: (one.spec.scaling(), one.decision) for label, one in mine.items()},
                msgspec.structs.replace(limit, name=name),
            )
            for label, decision in allowed.items():
                shared[mine[label].key] = mine[label]._replace(decision=decision)
        return list(shared.values())

    async def _carry_out(self, one: Decided, now: WallTime) -> None:
        """Plan and write what one fleet's decision asks for."""
        known = self._known[one.key]
        given, memory = orders(
            one.spec.scaling(), one.decision, one.observation, one.memory, one.part.limits, now
        )
        status = telling.told(
            known.status,
            telling.Tick(
                generation=one.fleet.meta.generation,
                spec=one.spec,
                observation=one.observation,
                decision=msgspec.structs.replace(
                    one.decision, notes=(*one.decision.notes, *given.notes)
                ),
                memory=memory,
                conflict=one.part.conflict,
                selector=one.part.selector,
            ),
            now,
        )
        acts = one.spec.mode is Mode.APPLY and not one.part.conflict
        writes = self._planned(one, given) if acts else self._let_go(one)
        done = await self._all_written(one.key, writes, known, given)
        known.memory = memory if acts and done else one.memory
        if done and one.observation.wake_requested_at is not None:
            self._wakes.done(one.part.home.gateways, one.spec.model)
            self._telemetry.wakes.inc()
        self._telemetry.told(*one.key, status)
        if telling.is_news(known.status, status):
            await self._tell(one.part.home, known, status, now)

    def _planned(self, one: Decided, given: Orders) -> list[Write]:
        """The difference between what is to be and what is, in the order of its writing."""
        part, overlay = one.part, given.overlay
        if overlay.dormant is not None:
            dormant = msgspec.structs.replace(overlay.dormant, wake_url=self._config.wake_url)
            overlay = msgspec.structs.replace(overlay, dormant=dormant)
        return [
            *planning.overlays(part.home, one.spec.model, overlay, part.overlay),
            *planning.costs(given.costs, part.pods),
            *planning.scales(given.scale, part.scalings),
            *planning.restarts(given.restart, part.pods),
        ]

    def _let_go(self, one: Decided) -> list[Write]:
        """Where we only recommend, gateways are told nothing."""
        part = one.part
        return [*planning.overlays(part.home, one.spec.model, ModelOverlay(), part.overlay)]

    async def _all_written(
        self, key: Key, writes: Sequence[Write], known: Known, given: Orders
    ) -> bool:
        """Write one after the other; the first that fails ends it."""
        for write in writes:
            if not await self._write(key, write):
                return False
        for pool, replicas in given.scale.items():
            if any(write.what == "scale" for write in writes):
                known.written[pool] = replicas
                known.manual.pop(pool, None)
        return True

    async def _tell(self, home: Home, known: Known, status: FleetStatus, now: WallTime) -> None:
        """Write the status and its events; what could not be written is news again."""
        key = (home.namespace, home.name)
        if not await self._write(key, planning.statuses(home, status)):
            return
        about = Regarding(API_VERSION, FLEET.kind, home.namespace, home.name, home.uid)
        for event in events.events_of(known.status, status):
            told = self._events.tell(
                about,
                "Warning" if event.warning else "Normal",
                event.reason,
                event.note,
                now_s=now,
                action="Scale",
            )
            if told is not None:
                await self._write(key, Write("event", told))
        known.status = status

    async def _write(self, key: Key, write: Write) -> bool:
        """One write; False if it failed, or if we may not write any more."""
        async with self._room:
            if not self._leads():
                return False
            try:
                await self._api.send(write.request)
            except ApiError as error:
                self._telemetry.writes.labels(write.what, error.fault.value).inc()
                log.warning("%s/%s: %s not written: %s", *key, write.what, error)
                return False
        self._telemetry.writes.labels(write.what, "ok").inc()
        return True

    def _forget_departed(self) -> None:
        for key in self._fleets.departed():
            self._known.pop(key, None)
            self.decisions.pop(key, None)
            self._telemetry.gone(*key)


def _home(fleet: Fleet, spec: FleetSpec) -> Home:
    meta = fleet.meta
    return Home(meta.namespace, meta.name, meta.uid, spec.gateways.namespace or meta.namespace)


def _memory(fleet: Fleet) -> Memory:
    """What the fleet's status remembers; nothing, if another version wrote it."""
    try:
        return msgspec.convert(fleet.status.memory, Memory)
    except msgspec.ValidationError:
        log.warning("%s/%s: its memory cannot be read", fleet.meta.namespace, fleet.meta.name)
        return Memory()


def _held(fleet: Fleet, spec: FleetSpec, part: Part, known: Known) -> str:
    """Why nothing is to be done; empty if something may."""
    if spec.paused:
        return "spec.paused"
    if part.conflict:
        return part.conflict
    if known.manual and fleet.meta.annotations.get(HANDS_OFF) == "true":
        pool, who = next(iter(sorted(known.manual.items())))
        return f"{who} has scaled {pool}, and the annotation {HANDS_OFF} lets that stand"
    return ""
