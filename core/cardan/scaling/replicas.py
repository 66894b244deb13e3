"""Names of replicas, and moments as memory keeps them."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from cardan.instants import WallTime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from cardan.endpoint import EndpointId
    from cardan.scaling.observation import EndpointLoad

# A pod with several ranks is an endpoint for each port: `pod:8001` (the gateways' discovery).
_PORT: Final = re.compile(r"(?<!/):\d+$")
_ORDINAL: Final = re.compile(r"-(\d+)$")


def pod_of(endpoint: EndpointId) -> str:
    """The pod that an endpoint is, or is a rank of."""
    if "//" in endpoint:  # known by its URL: a process of its own
        return endpoint
    return _PORT.sub("", endpoint)


def by_pod(endpoints: Iterable[EndpointLoad]) -> Mapping[str, list[EndpointLoad]]:
    """Endpoints under their pods' names, in the order of the names."""
    pods: dict[str, list[EndpointLoad]] = {}
    for endpoint in sorted(endpoints, key=lambda endpoint: endpoint.id):
        pods.setdefault(pod_of(endpoint.id), []).append(endpoint)
    return pods


def ordinal_of(pod: str) -> int:
    """The number at the end of a StatefulSet's pod; -1 where there is none."""
    found = _ORDINAL.search(pod)
    return int(found[1]) if found else -1


def moment(now: WallTime) -> WallTime:
    """An instant as memory keeps it: whole seconds, so that it reads well, and never too early."""
    return WallTime(float(math.ceil(now)))
