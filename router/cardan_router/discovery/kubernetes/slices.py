"""EndpointSlices of a Service: the engines behind it.

A Service has several slices (100 endpoints each by default, one set for each address family), and
while they are rearranged an endpoint may stand in two of them. So slices are merged by pod: IPv4
before IPv6, gone if any slice says that it terminates (no pod comes back from that), ready if any
says so. `publishNotReadyAddresses` makes terminating endpoints ready too, so the two conditions are
looked at apart.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from cardan_router.discovery.kubernetes.objects import EndpointSlice
from cardan_router.discovery.kubernetes.sighting import Sighting, Traits, sight, traits_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from cardan_router.discovery.kubernetes.objects import SliceEndpoint

DEFAULT_PORT_NAME = "http"

_decode = msgspec.json.Decoder(EndpointSlice).decode


class Entry(msgspec.Struct, frozen=True):
    """One endpoint of one slice."""

    name: str
    uid: str
    address: str
    ready: bool
    terminating: bool


class SliceFacts(msgspec.Struct, frozen=True):
    """All of a slice that discovery keeps."""

    ipv6: bool
    traits: Traits
    ports: tuple[tuple[str, int], ...]
    entries: tuple[Entry, ...]


def read_slice(raw: msgspec.Raw) -> SliceFacts:
    """The facts of a slice; `ValueError` if a label is wrong."""
    found = _decode(raw)
    return SliceFacts(
        ipv6=found.address_type == "IPv6",
        traits=traits_of(found.metadata),
        ports=tuple(
            (port.name or "", port.port)
            for port in found.ports or ()
            if port.port and port.protocol in (None, "TCP")
        ),
        entries=tuple(_entry(endpoint) for endpoint in found.endpoints or () if endpoint.addresses),
    )


def slice_sightings(
    slices: Iterable[SliceFacts], ports: Sequence[int | str]
) -> tuple[Sighting, ...]:
    """The endpoints of all slices of a Service."""
    ordered = sorted(slices, key=lambda facts: facts.ipv6)
    gone = {_identity(entry) for facts in ordered for entry in facts.entries if entry.terminating}
    found: dict[tuple[str, int], Sighting] = {}
    for facts in ordered:
        numbers = choose_ports(facts.ports, ports)
        several = len(ports) > 1
        for entry in facts.entries:
            if _identity(entry) in gone:
                continue
            for number in numbers:
                name = f"{entry.name}:{number}" if several and entry.name else entry.name
                seen = sight(
                    *(facts.traits, entry.address, number),
                    name=name,
                    ready=entry.ready,
                    uid=entry.uid,
                )
                _merge(found, (_identity(entry), number), seen)
    return tuple(found.values())


def choose_ports(offered: Sequence[tuple[str, int]], wanted: Sequence[int | str]) -> list[int]:
    """Which of a slice's ports are the engines': those wanted, the only one, or `http`."""
    if wanted:
        return [
            number for want in wanted for name, number in offered if want in (name or None, number)
        ]
    if len(offered) == 1:
        return [offered[0][1]]
    return [number for name, number in offered if name == DEFAULT_PORT_NAME]


def _entry(endpoint: SliceEndpoint) -> Entry:
    ref, conditions = endpoint.target_ref, endpoint.conditions
    is_pod = ref is not None and ref.kind == "Pod"
    return Entry(
        name=ref.name if ref and is_pod else "",
        uid=ref.uid if ref and is_pod else "",
        address=(endpoint.addresses or [""])[0],
        ready=conditions.ready is not False,
        terminating=conditions.terminating is True,
    )


def _identity(entry: Entry) -> str:
    return entry.uid or entry.address


def _merge(found: dict[tuple[str, int], Sighting], key: tuple[str, int], seen: Sighting) -> None:
    known = found.get(key)
    if known is None:
        found[key] = seen
    elif seen.ready and not known.ready:
        found[key] = known._replace(ready=True)


def port_complaint(slices: Iterable[SliceFacts], ports: Sequence[int | str]) -> str:
    """Why a Service with endpoints gives none; empty if it gives some or has none."""
    for facts in slices:
        if facts.entries and not choose_ports(facts.ports, ports):
            names = ", ".join(f"{name or 'unnamed'} ({number})" for name, number in facts.ports)
            wanted = ", ".join(map(str, ports)) or f"the only one or {DEFAULT_PORT_NAME!r}"
            return f"ports of the Service are {names or 'none'}; wanted: {wanted}"
    return ""


def why_no_endpoint(slices: Sequence[SliceFacts], ports: Sequence[int | str]) -> str:
    """Why a Service gives nothing that can be asked; empty if it does."""
    if not slices:
        return "it has no EndpointSlice; is there such a Service, and does it have a selector?"
    sightings = slice_sightings(slices, ports)
    if any(sighting.ready for sighting in sightings):
        return ""
    if sightings:
        return f"endpoints: {len(sightings)}, but none of them is ready"
    return port_complaint(slices, ports) or "it has no endpoints; do its labels match any pod?"
