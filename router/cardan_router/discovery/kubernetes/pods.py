"""Pods: which of them are engines that may be asked, and on which ports.

A pod is listed from the moment it runs at an address; it may be asked while its condition Ready is
True. A pod that is being deleted, or has ended, is gone for good: it is no longer listed, gets
nothing new, and what runs there ends on its own.

With several ports each is an endpoint of its own (data-parallel ranks: one engine process a port),
called `pod:port`. The active-ports annotation of the inference extension says which of them are
live; one that names none of them leaves none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from cardan_router.discovery.kubernetes.objects import Pod
from cardan_router.discovery.kubernetes.sighting import Sighting, Traits, sight, traits_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from cardan_kube.objects import Meta

ACTIVE_PORTS: Final = ("llm-d.ai/active-ports", "inference.networking.k8s.io/active-ports")

_decode = msgspec.json.Decoder(Pod).decode


class PodFacts(msgspec.Struct, frozen=True):
    """All of a pod that discovery keeps. Equal facts are no news."""

    name: str
    namespace: str
    uid: str
    address: str
    ready: bool
    traits: Traits
    named_ports: tuple[tuple[str, int], ...]
    active_ports: frozenset[int] | None


def read_pod(raw: msgspec.Raw) -> PodFacts | None:
    """The facts of a pod; None if it is no engine (any more), `ValueError` if a label is wrong."""
    pod = _decode(raw)
    meta, status = pod.metadata, pod.status
    if meta.deletion_timestamp or status.phase != "Running" or not status.pod_ip:
        return None
    return PodFacts(
        name=meta.name,
        namespace=meta.namespace,
        uid=meta.uid,
        address=status.pod_ip,
        ready=any(c.type == "Ready" and c.status == "True" for c in status.conditions or ()),
        traits=traits_of(meta),
        named_ports=tuple(_named_ports(pod)),
        active_ports=_active_ports(meta),
    )


def pod_sightings(
    facts: PodFacts, ports: Sequence[int | str], *, with_namespace: bool
) -> tuple[Sighting, ...]:
    """The endpoints of a pod. A named port that it does not have is none of its."""
    pod = f"{facts.namespace}/{facts.name}" if with_namespace else facts.name
    named = dict(facts.named_ports)
    numbers = [named.get(port) if isinstance(port, str) else port for port in ports]
    active = facts.active_ports
    return tuple(
        sight(
            facts.traits,
            facts.address,
            number,
            name=pod if len(ports) == 1 else f"{pod}:{number}",
            ready=facts.ready,
            uid=facts.uid,
        )
        for number in dict.fromkeys(numbers)
        if number is not None and (active is None or number in active)
    )


def why_no_pod(found: Collection[PodFacts | None], ports: Sequence[int | str]) -> str:
    """Why none of a selector's pods can be asked; empty if one can."""
    if not found:
        return "the selector matches no pod"
    ready = [facts for facts in found if facts is not None and facts.ready]
    if not ready:
        return f"pods that match: {len(found)}, but none of them is ready"
    if any(pod_sightings(facts, ports, with_namespace=False) for facts in ready):
        return ""
    wanted = ", ".join(map(str, ports))
    return f"pods that are ready: {len(ready)}, but none of them has the port {wanted}"


def _named_ports(pod: Pod) -> Iterator[tuple[str, int]]:
    for container in [*(pod.spec.containers or ()), *(pod.spec.init_containers or ())]:
        for port in container.ports or ():
            if port.name:
                yield port.name, port.container_port


def _active_ports(meta: Meta) -> frozenset[int] | None:
    """The live ports; None where nothing is said, which means all of them."""
    for name in ACTIVE_PORTS:
        if name in meta.annotations:
            words = (word.strip() for word in meta.annotations[name].split(","))
            return frozenset(int(word) for word in words if word.isascii() and word.isdecimal())
    return None
