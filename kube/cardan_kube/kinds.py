"""Which path a kind has, and whether it can be scaled: as the API server itself tells.

A reference names `apiVersion` and `kind`; a path needs the plural, which is nobody's to guess. What
a version of a group has is asked once and remembered. A kind that is not in it is asked for again
after a while, for its definition may be installed any time.

https://kubernetes.io/docs/concepts/overview/kubernetes-api/#unaggregated-discovery
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec

from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault
from cardan_kube.writing import Collection

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

# Somebody who installs a definition after its fleet waits this long at most.
ASK_AGAIN_S: Final = 30.0


class Kind(NamedTuple):
    """A kind of objects; `collection` is of no namespace yet. `scalable`: they have a `/scale`."""

    collection: Collection
    namespaced: bool
    scalable: bool


class _Resource(msgspec.Struct):
    name: str
    kind: str = ""
    namespaced: bool = True


class _Resources(msgspec.Struct):
    resources: list[_Resource] | None = None


_decode = msgspec.json.Decoder(_Resources).decode


def read_kinds(body: bytes, api_version: str) -> dict[str, Kind]:
    """The kinds of one version of a group; `ValueError` if it is no answer of discovery."""
    group, _, version = api_version.rpartition("/")
    listed = _decode(body).resources or []
    subresources = {one.name for one in listed if "/" in one.name}
    return {
        one.kind: Kind(
            Collection(group, version, one.name),
            one.namespaced,
            f"{one.name}/scale" in subresources,
        )
        for one in listed
        if "/" not in one.name
    }


class _Gets(Protocol):
    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """See `cardan_kube.api.Api`."""


class Kinds:
    """What has been asked of one API server; `clock` is in seconds that only grow."""

    def __init__(self, api: _Gets, clock: Callable[[], float]) -> None:
        self._api = api
        self._clock = clock
        self._known: dict[str, tuple[float, dict[str, Kind]]] = {}

    async def find(self, api_version: str, kind: str) -> Kind:
        """A kind; `ApiError` if there is none, or if the server cannot be asked."""
        asked_at, kinds = self._known.get(api_version, (float("-inf"), {}))
        if kind not in kinds and self._clock() - asked_at >= ASK_AGAIN_S:
            kinds = await self._ask(api_version)
        if kind not in kinds:
            raise ApiError(Fault.NOT_FOUND, f"the API server knows no {kind} of {api_version}")
        return kinds[kind]

    async def _ask(self, api_version: str) -> dict[str, Kind]:
        path = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        try:
            kinds = read_kinds(await self._api.get(path, {}), api_version)
        except ApiError as error:
            if error.fault is not Fault.NOT_FOUND:
                raise
            kinds = {}  # no such group or version: as good as one without kinds
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise ApiError(Fault.GARBAGE, f"{path} cannot be read: {error}") from error
        self._known[api_version] = (self._clock(), kinds)
        return kinds
