"""Drives an election over the API: reads and writes the Lease, tells when leading begins and ends.

Whoever stops leading in the middle of a tick must not write any more: `Leader.leads` is asked
before every write, and becomes False by the clock alone.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from typing import TYPE_CHECKING, Final, NamedTuple, Protocol

import msgspec
from cardan_kube.api import ApiError
from cardan_kube.reflector import Fault
from cardan_kube.writing import Collection, create, replace

from cardan_controller.cluster.pods import instant
from cardan_controller.election import Lease, Look, Rest, Write

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from cardan.instants import Monotonic, WallTime
    from cardan_kube.api import Request

    from cardan_controller.election import Election, LeaseConfig

log = logging.getLogger(__name__)

MANAGER: Final = "cardan-controller"
# Where the holder's own port is reached; others send gateways there.
ADDRESS: Final = "cardan.dev/address"
# The namespaces that the holder looks after, with commas between them; empty: all.
NAMESPACES: Final = "cardan.dev/namespaces"
LEASES: Final = Collection("coordination.k8s.io", "v1", "leases")


class _Meta(msgspec.Struct, rename="camel"):
    resource_version: str = ""
    annotations: dict[str, str] = {}


class _Spec(msgspec.Struct, rename="camel"):
    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None


class _Object(msgspec.Struct):
    metadata: _Meta = msgspec.field(default_factory=_Meta)
    spec: _Spec = msgspec.field(default_factory=_Spec)


_decode = msgspec.json.Decoder(_Object).decode


class Api(Protocol):
    """What is needed of an API server."""

    async def get(self, path: str, query: Mapping[str, str]) -> bytes:
        """A whole answer; raises `ApiError`."""

    async def send(self, request: Request) -> bytes:
        """A write; raises `ApiError`."""


class Holder(NamedTuple):
    """What a Lease says: the Lease, and of its holder where it listens and looks (empty: all)."""

    lease: Lease
    address: str
    namespaces: tuple[str, ...]


def read_holder(body: bytes) -> Holder:
    """A Lease of an operator; raises `ApiError` for what is none."""
    try:
        found = _decode(body)
    except msgspec.DecodeError as error:
        raise ApiError(Fault.GARBAGE, f"what it says cannot be read: {error}") from error
    spec, told = found.spec, found.metadata.annotations
    lease = Lease(
        holder=spec.holder_identity or "",
        duration_s=float(spec.lease_duration_seconds or 0),
        acquired_at=instant(spec.acquire_time or ""),
        renewed_at=instant(spec.renew_time or ""),
        transitions=spec.lease_transitions or 0,
        version=found.metadata.resource_version,
    )
    places = told.get(NAMESPACES, "").split(",")
    return Holder(lease, told.get(ADDRESS, ""), tuple(filter(None, places)))


class Leader:
    """One replica in the election. `run` it; ask `leads`."""

    def __init__(
        self,
        election: Election,
        api: Api,
        config: LeaseConfig,
        address: str,
        namespaces: Sequence[str] = (),
        *,
        monotonic: Callable[[], Monotonic],
        wall: Callable[[], WallTime],
    ) -> None:
        self._election = election
        self._api = api
        self._name = config.name
        self._leases = LEASES._replace(namespace=config.namespace)
        self._told_of_us = {ADDRESS: address, NAMESPACES: ",".join(namespaces)}
        self._monotonic = monotonic
        self._wall = wall
        # As client-go: a question that is not answered leaves time for another before the deadline.
        self._patience_s = config.renew_deadline_s / 2
        self._leader_address = ""
        self._led = False
        self.began = asyncio.Event()
        self.ended = asyncio.Event()

    def leads(self) -> bool:
        """May this replica act, at this moment?"""
        return self._election.leads(self._monotonic())

    def leader_url(self) -> str:
        """Where the leader listens; empty while nobody is known to lead."""
        return self._leader_address if self._election.holder else ""

    def quiet_s(self) -> float:
        """How long nobody is known to have led."""
        return self._election.quiet_s(self._monotonic())

    async def run(self) -> None:
        """Take part until cancelled, then let go of the lease."""
        try:
            while True:
                await self._once()
                self._tell()
        finally:
            await self._resign()

    async def _once(self) -> None:
        step = self._election.step(self._monotonic(), self._wall())
        if isinstance(step, Rest):
            await asyncio.sleep(step.seconds)
            return
        try:
            async with asyncio.timeout(self._patience_s):
                await self._do(step)
        except ApiError as error:
            if error.fault is not Fault.CONFLICT:
                log.warning("the lease %s: %s", self._name, error)
            self._election.failed(self._monotonic())
        except TimeoutError:
            log.warning("the lease %s: no answer within %g s", self._name, self._patience_s)
            self._election.failed(self._monotonic())

    async def _do(self, step: Look | Write) -> None:
        if isinstance(step, Look):
            self._election.seen(await self._read(), self._monotonic())
        else:
            self._election.written(await self._write(step.lease), self._monotonic())

    def _tell(self) -> None:
        """Say when leading begins, and when it ends: whoever waits for either may go on."""
        leads = self.leads()
        if leads is not self._led:
            self._led = leads
            log.info("%s %s", self._election.identity, "leads" if leads else "leads no more")
            (self.began if leads else self.ended).set()

    async def _read(self) -> Lease | None:
        try:
            body = await self._api.get(self._leases.object(self._name), {})
        except ApiError as error:
            if error.fault is Fault.NOT_FOUND:
                return None
            raise
        return self._told(body)

    async def _write(self, lease: Lease) -> Lease:
        manifest = _manifest(self._name, lease, self._told_of_us)
        if lease.version:
            request = replace(self._leases.object(self._name), manifest, MANAGER)
        else:
            request = create(self._leases.path, manifest, MANAGER)
        return self._told(await self._api.send(request))

    def _told(self, body: bytes) -> Lease:
        holder = read_holder(body)
        self._leader_address = holder.address
        return holder.lease

    async def _resign(self) -> None:
        lease = self._election.resignation(self._wall())
        if lease is not None:
            try:
                async with asyncio.timeout(self._patience_s):
                    await self._write(lease)
            except (ApiError, TimeoutError) as error:
                log.warning("the lease %s could not be let go: %s", self._name, error)


def _manifest(name: str, lease: Lease, told: Mapping[str, str]) -> dict[str, object]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {
            "name": name,
            "resourceVersion": lease.version,
            "annotations": told,
        },
        "spec": {
            "holderIdentity": lease.holder,
            "leaseDurationSeconds": max(1, round(lease.duration_s)),
            "acquireTime": _micro_time(lease.acquired_at),
            "renewTime": _micro_time(lease.renewed_at),
            "leaseTransitions": lease.transitions,
        },
    }


def _micro_time(at: WallTime) -> str:
    """A `MicroTime` of the API."""
    moment = datetime.datetime.fromtimestamp(at, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
