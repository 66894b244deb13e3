"""How evenly a fleet's work lies on its endpoints.

An endpoint's load is what it has in flight, as all gateways together count it: it grows with what
is sent there and with how long that takes, so a queue shows at once. Where no gateway tells, it is
what the engine runs and has waiting. A faster engine (`prefill_tokens_per_s`) carries more at the
same load, in proportion. One endpoint of which nothing is known makes the mean unknown, and then
nobody is said to be hot.

That tells a hot endpoint, and not how much must go: what is in flight grows much faster than the
work does near saturation. Work is weighed by `traffic`, each one's share of the prompt tokens.

Counts scatter by their square root. So an endpoint is hot if its load is over the mean by the
factor that was asked for *and* by three standard deviations: three requests against a mean of one
are chance. With less than `LEAST_LOAD` it makes nobody wait, however little the others have.
"""

from __future__ import annotations

from math import sqrt
from typing import TYPE_CHECKING, Final

from cardan.endpoint import Role

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from cardan.endpoint import EndpointId
    from cardan.scaling.observation import EndpointLoad, Observation

# Shares of traffic are measured over half a minute; a tenth over its part is noise.
POPULAR: Final = 1.1
DEVIATIONS: Final = 3.0
# Engines batch: four prompts and streams at once cost none of them as much as a cold prefill does.
LEAST_LOAD: Final = 4.0


class Balance:
    """The loads of those that serve, and what moves would make of them."""

    def __init__(self, serving: Sequence[EndpointLoad], imbalance: float) -> None:
        self.serving = {endpoint.id: endpoint for endpoint in serving}
        self.n = len(serving)
        self._imbalance = imbalance
        loads = _loads(serving)
        self.is_known = loads is not None
        self.loads = loads or dict.fromkeys(self.serving, 0.0)
        self.total = sum(self.loads.values())
        self.mean = self.total / self.n if self.n else 0.0
        self.traffic = _shares({e.id: e.prompt_tokens_per_s.known for e in serving})

    def is_hot(self, load: float) -> bool:
        """It is over the mean by more than is asked for, and more than by chance."""
        return self._is_over(load, 1.0)

    def is_calm(self, load: float) -> bool:
        """It is over the mean by less than half of what makes it hot: the hysteresis."""
        return not self._is_over(load, 0.5)

    def _is_over(self, load: float, part: float) -> bool:
        over = load - self.mean
        by_factor = over > part * (self._imbalance - 1.0) * self.mean
        return by_factor and over > part * DEVIATIONS * sqrt(self.mean) and load > LEAST_LOAD

    def is_popular(self, id_: EndpointId) -> bool:
        """It is asked more than its part; one that is not, and hot all the same, is slow."""
        return self.traffic.get(id_, 1.0) * self.n > POPULAR

    def gap(self, busy: EndpointId, idle: EndpointId) -> float:
        """The difference of two shares of the fleet's work, by traffic, else by loads."""
        shares = self.traffic or {
            id_: load / (self.total or 1.0) for id_, load in self.loads.items()
        }
        return shares[busy] - shares[idle]

    def hottest_first(self) -> list[EndpointId]:
        """The endpoints that are hot."""
        hot = [id_ for id_, load in self.loads.items() if self.is_known and self.is_hot(load)]
        return sorted(hot, key=lambda id_: (-self.loads[id_], id_))

    def saved_tokens_per_s(self, id_: EndpointId) -> float:
        """What its cache saves; all of its prompts, where it is not known what it computes."""
        endpoint = self.serving[id_]
        prompt = endpoint.prompt_tokens_per_s.known or 0.0
        return max(0.0, prompt - (endpoint.uncached_tokens_per_s.known or 0.0))

    def coolest(self, but: Collection[EndpointId]) -> EndpointId | None:
        """The least loaded of all but these."""
        free = [id_ for id_ in self.serving if id_ not in but]
        return min(free, key=lambda id_: (self.loads[id_], id_), default=None)

    def shift(self, share: float, to: EndpointId) -> None:
        """So much of the fleet's work will come there: the next move looks elsewhere.

        Where loads are unknown, shares alone are counted.
        """
        self.loads[to] += share * (self.total or 1.0)
        if to in self.traffic:
            self.traffic[to] += share


def prefilling(
    observation: Observation, avoid: Collection[EndpointId], roles: Mapping[str, Role]
) -> list[EndpointLoad]:
    """The endpoints that may be sent prompts: ready, not leaving, and not those to avoid.

    `roles` are those of the pools by name.
    """
    leaving = {id_ for pool in observation.pools.values() for id_ in pool.draining}
    return [
        endpoint
        for endpoint in observation.endpoints
        if endpoint.ready and endpoint.id not in leaving and endpoint.id not in avoid
        if roles.get(endpoint.pool) is not Role.DECODE
    ]


def _shares(tokens: Mapping[EndpointId, float | None]) -> dict[EndpointId, float]:
    """Parts of the sum; nothing if one is unknown, or all are zero."""
    known = {id_: number for id_, number in tokens.items() if number is not None}
    total = sum(known.values())
    if len(known) < len(tokens) or total <= 0:
        return {}
    return {id_: number / total for id_, number in known.items()}


def _loads(serving: Sequence[EndpointLoad]) -> dict[EndpointId, float] | None:
    """Each one's load, at the fleet's mean speed; None if one of them is unknown."""
    loads: dict[EndpointId, float] = {}
    for endpoint in serving:
        load = _load(endpoint)
        if load is None:
            return None
        loads[endpoint.id] = load
    speeds = [endpoint.prefill_tokens_per_s.known or 0.0 for endpoint in serving]
    if speeds and min(speeds) > 0:
        mean = sum(speeds) / len(speeds)
        for endpoint, speed in zip(serving, speeds, strict=True):
            loads[endpoint.id] *= mean / speed
    return loads


def _load(endpoint: EndpointLoad) -> float | None:
    if endpoint.in_flight.known is not None:
        return endpoint.in_flight.known
    running, waiting = endpoint.running.known, endpoint.waiting.known
    return None if running is None or waiting is None else running + waiting
