"""The few fields of the API's objects that discovery reads.

A pod is 5 to 8 KB of JSON, of which some 300 bytes matter here; msgspec steps over the rest
without making objects of it. What Go leaves out when it is empty has a default, and what Go writes
as `null` (lists without `omitempty`, as in EndpointSlices) may be None.
"""

from __future__ import annotations

import msgspec
from cardan_kube.objects import Meta


class ContainerPort(msgspec.Struct, rename="camel"):
    """A declared port of a container."""

    container_port: int
    name: str = ""


class Container(msgspec.Struct):
    """A container, for the names of its ports."""

    ports: list[ContainerPort] | None = None


class PodSpec(msgspec.Struct, rename="camel"):
    """A sidecar is an init container that goes on, and may have ports too."""

    containers: list[Container] | None = None
    init_containers: list[Container] | None = None


class Condition(msgspec.Struct):
    """One condition; `status` is True, False or Unknown."""

    type: str
    status: str


class PodStatus(msgspec.Struct):
    """Where a pod is and how it does."""

    phase: str = ""
    pod_ip: str = msgspec.field(name="podIP", default="")
    conditions: list[Condition] | None = None


class Pod(msgspec.Struct):
    """v1 Pod."""

    metadata: Meta
    spec: PodSpec = msgspec.field(default_factory=PodSpec)
    status: PodStatus = msgspec.field(default_factory=PodStatus)


class TargetRef(msgspec.Struct):
    """What an endpoint of a slice is."""

    kind: str = ""
    name: str = ""
    uid: str = ""


class EndpointConditions(msgspec.Struct):
    """None is unknown: to be taken for ready, and for not terminating."""

    ready: bool | None = None
    terminating: bool | None = None


class SliceEndpoint(msgspec.Struct, rename="camel"):
    """One endpoint of a slice; its addresses are of one family and mean the same."""

    addresses: list[str] | None = None
    conditions: EndpointConditions = msgspec.field(default_factory=EndpointConditions)
    target_ref: TargetRef | None = None


class SlicePort(msgspec.Struct):
    """A port of all of a slice's endpoints."""

    port: int | None = None
    name: str | None = None
    protocol: str | None = None


class EndpointSlice(msgspec.Struct, rename="camel"):
    """discovery.k8s.io/v1 EndpointSlice."""

    metadata: Meta
    address_type: str = "IPv4"
    endpoints: list[SliceEndpoint] | None = None
    ports: list[SlicePort] | None = None


class PoolSelector(msgspec.Struct, rename="camel"):
    """The pods of a pool."""

    match_labels: dict[str, str] = {}


class TargetPort(msgspec.Struct):
    """One port of each pod of a pool."""

    number: int


class PoolSpec(msgspec.Struct, rename="camel"):
    """What discovery needs of a pool."""

    selector: PoolSelector = msgspec.field(default_factory=PoolSelector)
    target_ports: list[TargetPort] = []


class InferencePool(msgspec.Struct):
    """inference.networking.k8s.io/v1 InferencePool."""

    metadata: Meta
    spec: PoolSpec = msgspec.field(default_factory=PoolSpec)
