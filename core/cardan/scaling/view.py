"""What a policy is shown: one role of a fleet, at one moment."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from cardan.endpoint import Role
from cardan.scaling import service
from cardan.scaling.forecast import Foreseen
from cardan.scaling.observation import Observation
from cardan.scaling.service import Learned
from cardan.scaling.spec import ScalingSpec
from cardan.scaling.windows import PolicyMemory

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cardan.scaling.observation import EndpointLoad
    from cardan.scaling.spec import PoolSpec


class RoleView(msgspec.Struct, frozen=True, kw_only=True):
    """One role of a fleet, for one policy.

    `current` is how many replicas of it are asked for now, in units of the role's reference (a pool
    of speed 1). `memory` is this policy's own for this role. `hit_loss` is the share of
    prefix-cache hits that a change of membership would cost, for what-if questions. `credit` is the
    balance of the error budget, -1 to 1.
    """

    spec: ScalingSpec
    role: Role
    observation: Observation
    learned: Learned = Learned()
    foreseen: Foreseen = Foreseen()
    current: float = 0.0
    memory: PolicyMemory = PolicyMemory()
    hit_loss: float = 0.0
    credit: float = 0.0

    @property
    def pools(self) -> tuple[PoolSpec, ...]:
        """The pools of this role."""
        return tuple(pool for pool in self.spec.pools if pool.role is self.role)

    @property
    def endpoints(self) -> Iterator[EndpointLoad]:
        """The ready endpoints of this role."""
        names = {pool.name for pool in self.pools}
        return (load for load in self.observation.endpoints if load.ready and load.pool in names)

    @property
    def ready(self) -> float:
        """Ready replicas, in units of the role's reference."""
        states = self.observation.pools
        return sum(
            states[pool.name].ready * service.speed(self.learned, self.spec, pool)
            for pool in self.pools
            if pool.name in states
        )
