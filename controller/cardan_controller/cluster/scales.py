"""Where a target's `/scale` is, and what targets of kinds that are not watched ask for.

What a kind is called in paths (`LeaderWorkerSet` is `leaderworkersets`) is asked of the API once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec
from cardan_kube.api import ApiError
from cardan_kube.writing import Collection

from cardan_controller.cluster.targets import TargetFacts, TargetRef, read_scale
from cardan_controller.planning import Scaling

if TYPE_CHECKING:
    from collections.abc import Sequence

    from cardan_controller.leading import Api

_KNOWN: Final = {
    ("apps/v1", "Deployment"): "deployments",
    ("apps/v1", "StatefulSet"): "statefulsets",
}


class _Resource(msgspec.Struct):
    name: str
    kind: str


class _Resources(msgspec.Struct):
    resources: list[_Resource] = []


_decode = msgspec.json.Decoder(_Resources).decode


class Scales:
    """Scales of all targets."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._plurals: dict[tuple[str, str], str] = dict(_KNOWN)
        self._found: dict[TargetRef, TargetFacts | str] = {}

    def target(
        self, ref: TargetRef, workload: TargetFacts | None
    ) -> tuple[Scaling, TargetFacts] | str:
        """A target, as its watch (`workload`) or its scale told it; or why it cannot be had."""
        facts: TargetFacts | str = workload or self._found.get(
            ref, f"there is no {ref.kind} {ref.name}"
        )
        plural = self._plurals.get((ref.api_version, ref.kind))
        if isinstance(facts, str) or plural is None:
            return facts if isinstance(facts, str) else f"nobody knows what a {ref.kind} is"
        if facts.leaving:
            return f"the {ref.kind} {ref.name} is being deleted"
        path = _collection(ref, plural).object(ref.name, "scale")
        return Scaling(path, facts.replicas, facts.version), facts

    async def refresh(self, refs: Sequence[TargetRef]) -> None:
        """Ask for the scales of targets that no watch tells of."""
        self._found = {ref: await self._asked(ref) for ref in refs}

    async def _asked(self, ref: TargetRef) -> TargetFacts | str:
        try:
            plural = await self._plural(ref)
            if plural is None:
                return f"{ref.api_version} has no {ref.kind}"
            path = _collection(ref, plural).object(ref.name, "scale")
            return read_scale(await self._api.get(path, {}))
        except ApiError as error:
            return f"the scale of {ref.kind} {ref.name}: {error}"
        except (ValueError, msgspec.DecodeError) as error:
            return f"the scale of {ref.kind} {ref.name} cannot be understood: {error}"

    async def _plural(self, ref: TargetRef) -> str | None:
        kind = (ref.api_version, ref.kind)
        if kind not in self._plurals:
            base = "apis" if "/" in ref.api_version else "api"
            body = await self._api.get(f"/{base}/{ref.api_version}", {})
            for resource in _decode(body).resources:
                if "/" not in resource.name:
                    self._plurals[ref.api_version, resource.kind] = resource.name
        return self._plurals.get(kind)


def _collection(ref: TargetRef, plural: str) -> Collection:
    group, _, version = ref.api_version.rpartition("/")
    return Collection(group, version, plural, ref.namespace)
