"""Which operator keeps a fleet, where several lead: each by a Lease of its own.

Two releases in different namespaces that look after the same fleets each have a leader, and would
undo each other's work. So a fleet's status names the operator that keeps it, by its Lease. Another
one that finds it there looks at that Lease, and stands back from the fleet while it is renewed:
nothing of the fleet is decided or written. It takes the fleet over when the Lease is gone, or has
not changed for as long as it is good for, by its own clock and its own readings. Whoever is named
last keeps it, so two that begin at once agree after one tick.

A Lease that may not be read keeps nobody back: a fleet that nobody looks after is worse than one
that two do, and these are noticed (`known`). Nor does one whose operator looks elsewhere.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault

from cardan_controller.leading import LEASES, read_holder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from cardan_controller.crds.documents import Fleet
    from cardan_controller.election import Lease, LeaseConfig
    from cardan_controller.leading import Api, Holder

log = logging.getLogger(__name__)

# What these say of a Lease is said for good: nobody can be waited for.
_UNKNOWABLE: Final = frozenset({Fault.NOT_FOUND, Fault.FORBIDDEN, Fault.GARBAGE})


def operator_name(config: LeaseConfig) -> str:
    """An operator by its Lease, whichever of its replicas leads."""
    return f"{config.namespace}/{config.name}"


class _Seen(NamedTuple):
    """An operator by its Lease: unchanged since then, and looked at last (s); `changed` before."""

    holder: Holder
    since: float
    at: float
    changed: bool


class Keepers:
    """The other operators that fleets' statuses name. `own` is this one's name."""

    def __init__(self, api: Api, own: str, clock: Callable[[], float]) -> None:
        self._api = api
        self._own = own
        self._clock = clock
        self._seen: dict[str, _Seen | None] = {}  # None: nobody that could be waited for

    async def refresh(self, fleets: Iterable[Fleet]) -> None:
        """Look at the Leases of all that these fleets name; as a rule that is nobody."""
        named = {fleet.status.operator for fleet in fleets} - {"", self._own}
        self._seen = {name: seen for name, seen in self._seen.items() if name in named}
        for name in sorted(named):
            try:
                holder = await self._read(name)
            except ApiError as error:
                if error.fault in _UNKNOWABLE:
                    self._cannot_know(name, error)
            else:
                self._note(name, holder)

    def elsewhere(self, fleet: Fleet) -> str:
        """The other operator that keeps a fleet; empty if it is this one's to look after."""
        name = fleet.status.operator
        if name in ("", self._own):
            return ""
        if name not in self._seen:
            return name  # nobody could be asked yet
        seen = self._seen[name]
        if seen is None or seen.at - seen.since >= seen.holder.lease.duration_s:
            return ""
        looked_after = seen.holder.namespaces
        return "" if looked_after and fleet.meta.namespace not in looked_after else name

    def is_alive(self, name: str) -> bool:
        """Was this operator's Lease seen to be renewed?

        After an operator was moved to another namespace the former one's Lease may be there still.
        """
        seen = self._seen.get(name)
        return seen is not None and seen.changed

    async def _read(self, name: str) -> Holder:
        namespace, _, lease = name.partition("/")
        if not namespace or not lease:
            raise ApiError(Fault.NOT_FOUND, f"{name!r} names no Lease")
        path = LEASES._replace(namespace=namespace).object(lease)
        return read_holder(await self._api.get(path, {}))

    def _note(self, name: str, holder: Holder) -> None:
        now, before = self._clock(), self._seen.get(name)
        same = before is not None and _said(before.holder.lease) == _said(holder.lease)
        since = before.since if same and before is not None else now
        renewed = not same and holder.lease.holder != ""
        changed = before is not None and (before.changed or renewed)
        self._seen[name] = _Seen(holder, since, now, changed)

    def _cannot_know(self, name: str, error: ApiError) -> None:
        known_so_far = name in self._seen and self._seen[name] is None
        if error.fault is not Fault.NOT_FOUND and not known_so_far:
            words = "fleets of the operator %s are looked after here too: its Lease cannot be read"
            log.warning("%s: %s", words % name, error)
        self._seen[name] = None


def _said(lease: Lease) -> tuple[str, str]:
    """What a renewal changes."""
    return lease.holder, lease.version
