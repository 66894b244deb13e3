"""Replicas as a tick sees them: pods, what they hold, what runs on them, which is missed least."""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING, Final

from cardan.instants import WallTime

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cardan.endpoint import EndpointId
    from cardan.scaling.observation import EndpointLoad, KeyMass

# A pod with several ranks is an endpoint for each port, `pod:8001`; where gateways watch all
# namespaces, it is `namespace/pod` (their discovery).
_PORT: Final = re.compile(r":\d+$")
_ORDINAL: Final = re.compile(r"-(\d+)$")
# A gateway hears of an overlay within a second; what it was sending then has arrived after five.
SETTLE_S: Final = 5.0


def pod_of(endpoint: EndpointId) -> str:
    """The pod that an endpoint is, or is a rank of, without its namespace."""
    if "//" in endpoint:  # known by its URL: a process of its own
        return endpoint
    return _PORT.sub("", endpoint.rpartition("/")[2])


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


class Replica:
    """A pod of a pool, as this tick sees it: what it holds, and what runs on it."""

    __slots__ = ("cordoned", "deletion_cost", "endpoints", "name", "worth_tokens")

    def __init__(
        self,
        name: str,
        endpoints: Sequence[EndpointLoad],
        keys: Iterable[KeyMass],
        *,
        cordoned: bool = False,
        deletion_cost: int = 0,
    ) -> None:
        self.name = name
        self.cordoned = cordoned
        self.deletion_cost = deletion_cost
        self.endpoints = endpoints
        own = {endpoint.id for endpoint in endpoints}
        self.worth_tokens = round(sum(_worth(key, own) for key in keys if key.endpoints))

    @property
    def ready(self) -> bool:
        """It could serve, by its own word."""
        return bool(self.endpoints) and all(endpoint.ready for endpoint in self.endpoints)

    @property
    def serves(self) -> bool:
        """It is ready, and asked."""
        return self.ready and not self.cordoned

    @property
    def age_s(self) -> float:
        """Since its creation; 0 of one that is not seen yet."""
        return min((endpoint.age_s for endpoint in self.endpoints), default=0.0)

    @property
    def in_flight(self) -> float:
        """Requests that run or wait on it; infinite if that is not known."""
        return sum(map(_work, self.endpoints))

    def running(self) -> str:
        """What runs or waits on it, in words."""
        left = self.in_flight
        return "it is not known what" if math.isinf(left) else f"{left:.0f} requests"

    def losses(self, *, with_cost: bool = True) -> str:
        """What its end would cost, in words; `with_cost`: with what a person has said of that."""
        busy = "unknown" if math.isinf(self.in_flight) else f"{self.in_flight:.0f}"
        held = f"its cache saves {self.worth_tokens} tokens a request, {busy} in flight"
        if with_cost and self.deletion_cost:
            return f"its own deletion cost is {self.deletion_cost}, {held}"
        return held

    def costs_nothing(self) -> bool:
        """Nobody misses it: it is not ready, and has nothing to finish as far as is known."""
        known = (endpoint.in_flight.known or 0.0 for endpoint in self.endpoints)
        return not self.ready and not any(known)

    def is_empty(self, since: WallTime) -> bool:
        """By samples young enough, nothing has run on it since gateways were told of its drain."""
        return all(_is_empty(endpoint, since + SETTLE_S) for endpoint in self.endpoints)


def least_worth(replicas: Iterable[Replica]) -> list[Replica]:
    """Replicas in the order in which they should go. A ReplicaSet takes unready ones first.

    Then those of the lowest deletion cost; that of a person counts here as it does there.
    """
    return sorted(replicas, key=_missed)


def _missed(one: Replica) -> tuple[bool, bool, int, int, float, float, str]:
    worth = one.deletion_cost, one.worth_tokens, one.in_flight, one.age_s
    return one.ready, one.serves, *worth, one.name


def _worth(key: KeyMass, own: set[EndpointId]) -> float:
    """Prompt tokens that a request of the fleet is saved by what these hold of a key."""
    held = len(own.intersection(key.endpoints)) / len(key.endpoints)
    return key.share * key.hit_tokens * held


def _work(endpoint: EndpointLoad) -> float:
    if (in_flight := endpoint.in_flight.known) is not None:
        return in_flight
    running, waiting = endpoint.running.known, endpoint.waiting.known
    return float("inf") if running is None or waiting is None else running + waiting


def _is_empty(endpoint: EndpointLoad, after: float) -> bool:
    told = (endpoint.in_flight, endpoint.running, endpoint.waiting)
    if any(datum.known for datum in told):
        return False
    # Gateways know all they have sent; where none of them tells, the engine's own word does.
    word = told[:1] if endpoint.in_flight.known is not None else told[1:]
    return all(datum.known == 0 and (datum.at or 0.0) >= after for datum in word)
