"""Where a target's `/scale` is, and what targets of kinds that are not watched are like."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec
from cardan_kube.api import ApiError
from cardan_kube.kinds import Kinds
from cardan_kube.reflector import Fault
from cardan_kube.writing import Collection

from cardan_controller.cluster.selectors import Operator
from cardan_controller.cluster.targets import (
    BY_ORDINAL,
    TargetFacts,
    TargetRef,
    read_rollout,
    read_scale,
)
from cardan_controller.planning import Scaling

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from cardan_controller.cluster.selectors import Selector
    from cardan_controller.leading import Api


# What workloads are called in paths that a watch tells of: nobody has to be asked.
WATCHED: Final = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "StatefulSet"): "statefulsets",
}
# A scale that cannot be read now is most probably what it was: for so long it counts as that. A
# target that seemed gone for a moment would be taken for a fleet of nothing.
REMEMBERED_S: Final = 120.0
# Who may read scales of a kind, and not its objects, is asked for these so seldom.
REFUSED_S: Final = 600.0
# By these the chart tells what is Cardan's own; simulated engines (`engine`) may be scaled.
NAME: Final = "app.kubernetes.io/name"
COMPONENT: Final = "app.kubernetes.io/component"
OWN: Final = frozenset({"router", "controller"})
# Questions to the API server that are under way at once.
AT_ONCE: Final = 8


class Scales:
    """Scales of all targets."""

    def __init__(self, api: Api, clock: Callable[[], float]) -> None:
        self._api = api
        self._kinds = Kinds(api, clock)
        self._plurals = dict(WATCHED)
        self._clock = clock
        self._found: dict[TargetRef, TargetFacts | str] = {}
        self._read_at: dict[TargetRef, float] = {}
        self._refused_at: dict[tuple[str, str], float] = {}

    def target(
        self, ref: TargetRef, workload: TargetFacts | None
    ) -> tuple[Scaling, TargetFacts] | str:
        """A target, as its watch (`workload`) or its scale told it; or why it cannot be had."""
        facts = workload or self._found.get(ref, f"there is no {ref.kind} {ref.name}")
        if isinstance(facts, str):
            return facts
        if facts.leaving:
            return f"the {ref.kind} {ref.name} is being deleted"
        if _is_cardans(facts.selector):
            return f"the {ref.kind} {ref.name} is Cardan's own: fleets scale engines"
        path = _path(ref, self._plurals[ref.api_version, ref.kind])
        return Scaling(path, facts.replicas, facts.version, facts.writers), facts

    async def refresh(self, refs: Sequence[TargetRef], *, whole: bool = True) -> None:
        """Ask for the scales of targets that no watch tells of; `whole`: there are no others."""
        room = asyncio.Semaphore(AT_ONCE)
        async with asyncio.TaskGroup() as group:
            tasks = {ref: group.create_task(self._asked(ref, room)) for ref in refs}
        found = {ref: task.result() for ref, task in tasks.items()}
        self._found = found if whole else {**self._found, **found}
        self._read_at = {ref: at for ref, at in self._read_at.items() if ref in self._found}

    async def _asked(self, ref: TargetRef, room: asyncio.Semaphore) -> TargetFacts | str:
        try:
            async with room:
                kind = await self._kinds.find(ref.api_version, ref.kind)
                if not kind.scalable:
                    return f"a {ref.kind} has no scale"
                self._plurals[ref.api_version, ref.kind] = kind.collection.plural
                facts = read_scale(await self._api.get(_path(ref, kind.collection.plural), {}))
                self._read_at[ref] = self._clock()
                rollout = await self._rollout(ref, kind.collection.plural)
                return msgspec.structs.replace(facts, rollout=rollout)
        except ApiError as error:
            before = self._found.get(ref)
            young = self._clock() - self._read_at.get(ref, float("-inf")) <= REMEMBERED_S
            if error.fault is not Fault.NOT_FOUND and young and before is not None:
                return before
            return f"the scale of {ref.kind} {ref.name}: {error}{_remedy(error)}"
        except (ValueError, msgspec.DecodeError) as error:
            return f"the scale of {ref.kind} {ref.name} cannot be understood: {error}"

    async def _rollout(self, ref: TargetRef, plural: str) -> str:
        """How far a rollout has come: none that is known of where the object may not be read."""
        kind, never = (ref.api_version, ref.kind), float("-inf")
        if ref.kind in BY_ORDINAL or self._clock() - self._refused_at.get(kind, never) < REFUSED_S:
            return ""
        try:
            return read_rollout(await self._api.get(_path(ref, plural, ""), {}))
        except ApiError as error:
            if error.fault is Fault.FORBIDDEN:
                self._refused_at[kind] = self._clock()
                return ""
            before = self._found.get(ref)
            return before.rollout if isinstance(before, TargetFacts) else ""


def _remedy(error: ApiError) -> str:
    """What to do about a refusal, if that is known."""
    if error.fault is not Fault.FORBIDDEN:
        return ""
    return " (the chart gives rights to other kinds with controller.extraTargets)"


def _is_cardans(selector: Selector) -> bool:
    """Are these pods gateways or the operator, by the labels that the chart gives them?"""
    asked = {one.label: one.values for one in selector.requirements if one.operator is Operator.IN}
    name, component = (asked.get(label, frozenset()) for label in (NAME, COMPONENT))
    return name == {"cardan"} and len(component) == 1 and component <= OWN


def _path(ref: TargetRef, plural: str, subresource: str = "scale") -> str:
    group, _, version = ref.api_version.rpartition("/")
    return Collection(group, version, plural, ref.namespace).object(ref.name, subresource)
