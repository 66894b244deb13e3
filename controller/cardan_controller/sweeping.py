"""Overlays that nobody looks after any more are removed.

While an operator runs, an overlay goes with what it was made for. One that was made before, for a
fleet whose gateways have become others (or that went without its finalizer) while no operator ran,
is known to nobody: so who leads looks, at once and every few minutes, at all overlays that bear the
operator's label, and removes those whose fleet is not there or has its gateways elsewhere. What
belongs to a fleet that is not this operator's to look after, that another one keeps, or that is
paused, stays.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar

import msgspec
from cardan_kube.api import ApiError
from cardan_kube.frames import GarbageError, read_page
from cardan_kube.objects import Bare
from cardan_kube.reflector import Fault
from cardan_kube.writing import Collection, delete

from cardan_controller import consent
from cardan_controller.carrying import home_of
from cardan_controller.crds.definitions import FLEET, GROUP, OVERLAY, VERSION
from cardan_controller.crds.documents import read_fleet
from cardan_controller.planning import FLEET_LABEL, FLEET_NAMESPACE_LABEL, MANAGER, overlay_name

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Iterable, Mapping, Sequence
    from collections.abc import Collection as Some

    from cardan_kube.api import Request
    from cardan_kube.frames import Reading

    from cardan_controller.crds.documents import Fleet
    from cardan_controller.fleets import Key
    from cardan_controller.leading import Api
    from cardan_controller.telemetry import Telemetry

T = TypeVar("T")

log = logging.getLogger(__name__)

# What was left is harm that nobody sees; two lists every ten minutes are nothing to an API server.
EVERY_S: Final = 600.0
# After a failure.
AGAIN_S: Final = 15.0
PAGE_SIZE: Final = 250
OURS: Final = f"app.kubernetes.io/managed-by={MANAGER},{FLEET_LABEL},{FLEET_NAMESPACE_LABEL}"

_decode = msgspec.json.Decoder(Bare).decode


class Left(NamedTuple):
    """An overlay with our labels: where it is, and whose."""

    namespace: str
    name: str
    uid: str
    fleet: Key

    @property
    def removal(self) -> Request:
        """The request that removes this very one."""
        place = Collection(GROUP, VERSION, OVERLAY.plural, self.namespace)
        return delete(place.object(self.name), uid=self.uid)


def read_left(raw: msgspec.Raw) -> Left:
    """An overlay, by its labels."""
    meta = _decode(raw).metadata
    fleet = meta.labels.get(FLEET_NAMESPACE_LABEL, ""), meta.labels.get(FLEET_LABEL, "")
    return Left(meta.namespace, meta.name, meta.uid, fleet)


def orphans(
    overlays: Iterable[Left],
    fleets: Mapping[Key, Fleet | None],
    looked_after: Container[str],
    open_namespaces: Some[str],
    own: str,
) -> list[Left]:
    """The overlays that are to go.

    `fleets` are all there are, None where one cannot be read, in the namespaces `looked_after`.
    `own` is this operator's name: where another one's fleets have their gateways, that one says.
    """
    return [
        one
        for one in overlays
        if one.fleet[0] in looked_after
        and (
            one.fleet not in fleets
            or _has_another_home(one, fleets[one.fleet], open_namespaces, own)
        )
    ]


def _has_another_home(
    overlay: Left, fleet: Fleet | None, open_namespaces: Some[str], own: str
) -> bool:
    if fleet is None or fleet.spec is None or fleet.spec.paused or fleet.meta.deletion_timestamp:
        return False  # nobody can tell, it is to stay, it goes with the fleet
    if fleet.status.operator not in ("", own):
        return False  # another operator may have other namespaces open
    home = home_of(consent.admitted(fleet, open_namespaces))
    return (home.gateways, overlay_name(home)) != (overlay.namespace, overlay.name)


class Sweeper:
    """Removes them, while `leads`. `own` is this operator's name."""

    def __init__(
        self,
        api: Api,
        own: str,
        namespaces: Sequence[str],
        open_namespaces: Some[str],
        leads: Callable[[], bool],
        telemetry: Telemetry,
    ) -> None:
        self._api = api
        self._own = own
        self._namespaces = namespaces
        self._open = open_namespaces
        self._leads = leads
        self._telemetry = telemetry

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            try:
                await self.sweep()
                pause_s = EVERY_S
            except (ApiError, GarbageError) as error:
                log.warning("what former fleets have left could not be looked for: %s", error)
                pause_s = AGAIN_S
            await asyncio.sleep(pause_s)

    async def sweep(self) -> None:
        """Once. Overlays first: a fleet that is made after that has none among them."""
        overlays: list[Left] = []
        fleets: dict[Key, Fleet | None] = {}
        for namespace in self._namespaces or ("",):
            found = await self._all(OVERLAY.plural, namespace, read_left, labelSelector=OURS)
            overlays += [one.value for one in found if one.value is not None]
        if not overlays:
            return
        for namespace in self._namespaces or ("",):
            for reading in await self._all(FLEET.plural, namespace, read_fleet):
                place, _, name = reading.key.partition("/")
                fleets[place, name] = reading.value
        looked_after = self._namespaces or {one.fleet[0] for one in overlays}
        for left in orphans(overlays, fleets, looked_after, self._open, self._own):
            await self._remove(left)

    async def _all(
        self,
        plural: str,
        namespace: str,
        read: Callable[[msgspec.Raw], T | None],
        **selection: str,
    ) -> list[Reading[T]]:
        path = Collection(GROUP, VERSION, plural, namespace).path
        query = {**selection, "limit": str(PAGE_SIZE)}
        found: list[Reading[T]] = []
        while True:
            page = read_page(await self._api.get(path, query), read)
            found += page.readings
            if not page.token:
                return found
            query["continue"] = page.token

    async def _remove(self, left: Left) -> None:
        if not self._leads():
            return
        try:
            await self._api.send(left.removal)
        except ApiError as error:
            if error.fault not in (Fault.NOT_FOUND, Fault.CONFLICT):
                raise
            return
        self._telemetry.writes.labels("overlay", "ok").inc()
        words = "%s/%s: what the fleet %s/%s had told gateways there is taken back"
        log.info(words, left.namespace, left.name, *left.fleet)
