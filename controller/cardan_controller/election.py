"""Who leads: a Lease of `coordination.k8s.io/v1`, as Kubernetes' own controllers elect.

Replicas of the operator look at one Lease. Its holder renews it; the others take it over when it
has not *changed* for as long as it is good for, by their own clock from the moment they saw it
change last: the times written in it are never compared with a clock here, so clocks may differ.
Writes name the version they were made from, so of two that take it at once one fails. A holder that
cannot renew in time stops leading before anybody may take over. This module is the machine;
`leading` drives it.

Numbers and rules: client-go's `leaderelection` (15 s, 10 s, 2 s).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Final, NamedTuple

import msgspec
from cardan.instants import Monotonic, WallTime

if TYPE_CHECKING:
    from random import Random

# client-go's: waits are longer by up to this factor, so that those who wait do not meet.
JITTER: Final = 1.2


class LeaseConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """How long a lease is good for, how long its holder tries to renew it, and how often."""

    name: str = "cardan-controller"
    namespace: str = ""
    duration_s: Annotated[float, msgspec.Meta(ge=1)] = 15.0
    renew_deadline_s: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    retry_s: Annotated[float, msgspec.Meta(gt=0)] = 2.0

    def __post_init__(self) -> None:
        if not self.duration_s > self.renew_deadline_s > JITTER * self.retry_s:
            raise ValueError(
                "duration_s must be over renew_deadline_s, and that over 1.2 times retry_s"
            )


class Lease(NamedTuple):
    """What a Lease says. `version` is its resourceVersion; empty for one that is to be made."""

    holder: str
    duration_s: float
    acquired_at: WallTime
    renewed_at: WallTime
    transitions: int
    version: str = ""


class Write(NamedTuple):
    """Write this (create it if it has no version), then tell `written` or `failed`."""

    lease: Lease


class Look(NamedTuple):
    """Read the Lease, then tell `seen` or `failed`."""


class Rest(NamedTuple):
    """Nothing to do for so long."""

    seconds: float


class Election:
    """One replica's view of the election. It asks for one thing at a time: `step` says what."""

    def __init__(self, identity: str, config: LeaseConfig, rng: Random) -> None:
        self.identity = identity
        self.holder = ""
        self._config = config
        self._rng = rng
        self._lease: Lease | None = None
        self._changed_at = Monotonic(float("-inf"))  # when the lease was last seen to be another
        self._renewed_at: Monotonic | None = None  # when we began the last write that succeeded
        self._begun_at = Monotonic(0.0)
        self._looked = False
        self._rest_until = Monotonic(0.0)

    def leads(self, now: Monotonic) -> bool:
        """Whether this replica may act."""
        renewed_at = self._renewed_at
        return renewed_at is not None and now - renewed_at < self._config.renew_deadline_s

    def quiet_s(self, now: Monotonic) -> float:
        """How long the lease has not changed: nobody is known to have led since."""
        return now - self._changed_at

    def step(self, now: Monotonic, wall: WallTime) -> Write | Look | Rest:
        """What to do next."""
        if now < self._rest_until:
            return Rest(self._rest_until - now)
        if not self._looked:
            return Look()
        self._looked = False
        lease = self._lease
        if lease is None:
            return self._write(now, Lease(self.identity, self._duration_s, wall, wall, 0))
        ours = lease.holder == self.identity
        if ours:
            return self._write(now, lease._replace(renewed_at=wall, duration_s=self._duration_s))
        if lease.holder and now - self._changed_at < lease.duration_s:
            return self._rest(now)
        taken = Lease(
            self.identity, self._duration_s, wall, wall, lease.transitions + 1, lease.version
        )
        return self._write(now, taken)

    def seen(self, lease: Lease | None, now: Monotonic) -> None:
        """The Lease as it is; None if there is none."""
        if lease != self._lease:
            self._lease, self._changed_at = lease, now
        self.holder = lease.holder if lease else ""
        if self.holder != self.identity:
            self._renewed_at = None
        self._looked = True

    def written(self, lease: Lease, now: Monotonic) -> None:
        """Our write has succeeded: `lease` is what the server made of it."""
        self._lease, self._changed_at, self.holder = lease, now, lease.holder
        self._renewed_at = self._begun_at if lease.holder == self.identity else None
        # Nobody else writes to a lease that is held: it need not be read again before each renewal.
        self._looked = self._renewed_at is not None
        self._rest(now)

    def failed(self, now: Monotonic) -> None:
        """Reading or writing has failed, or somebody else was faster: look again, soon."""
        self._looked = False
        self._rest(now)

    def resignation(self, wall: WallTime) -> Lease | None:
        """What to write when leaving, so that another need not wait; None if we do not hold it."""
        lease = self._lease
        if lease is None or lease.holder != self.identity:
            return None
        return lease._replace(holder="", duration_s=1.0, renewed_at=wall)

    @property
    def _duration_s(self) -> float:
        return self._config.duration_s

    def _write(self, now: Monotonic, lease: Lease) -> Write:
        self._begun_at = now
        return Write(lease)

    def _rest(self, now: Monotonic) -> Rest:
        seconds = self._config.retry_s * (1.0 + (JITTER - 1.0) * self._rng.random())
        self._rest_until = Monotonic(now + seconds)
        return Rest(seconds)
